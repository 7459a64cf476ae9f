package cgroup

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// freezing is how long a group may take to freeze: a process in the middle of something
// with a disk freezes when that is done.
const freezing = 10 * time.Second

// SetFrozen freezes a group, or thaws it, and waits until that is so: freezer of v1,
// cgroup.freeze of v2.
func SetFrozen(found []Found, frozen bool) error {
	any := false
	for _, f := range found {
		file, value, want := "freezer.state", "THAWED", "THAWED"
		if f.Tree.V2 {
			file, value = "cgroup.freeze", "0"
		}
		if frozen && f.Tree.V2 {
			value = "1"
		} else if frozen {
			value, want = "FROZEN", "FROZEN"
		}
		err := writeFile(unix.AT_FDCWD, f.Dir+"/"+file, value)
		if errors.Is(err, unix.ENOENT) {
			continue
		} else if err != nil {
			return fmt.Errorf("write %s/%s: %w", f.Dir, file, err)
		}
		any = true
		deadline := time.Now().Add(freezing)
		for pause := time.Millisecond; ; pause = min(2*pause, 64*time.Millisecond) {
			now := statistics{f.Dir}
			if f.Tree.V2 && now.field("frozen", "cgroup.events") == map[bool]int64{true: 1}[frozen] {
				break
			}
			if text, _ := now.text(file); !f.Tree.V2 && text == want {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("write %s/%s: the group does not get there: %w", f.Dir, file, unix.ETIMEDOUT)
			}
			entry.Pause(pause)
			if !f.Tree.V2 { // v1 freezes what was there when it was written to
				_ = writeFile(unix.AT_FDCWD, f.Dir+"/"+file, value)
			}
		}
	}
	if !any {
		return errors.New("the group is in no hierarchy that can freeze it")
	}
	return nil
}

// Frozen tells whether a group is frozen, itself or with one above it.
func Frozen(found []Found) bool {
	for _, f := range found {
		now := statistics{f.Dir}
		if text, ok := now.text("freezer.state"); ok && text != "THAWED" {
			return true
		}
		if f.Tree.V2 && now.field("frozen", "cgroup.events") == 1 {
			return true
		}
	}
	return false
}
