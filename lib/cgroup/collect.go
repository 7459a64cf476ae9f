package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// An Owner tells who is to remove a group: see owned.go.
type Owner int

// The owners of a group.
const (
	Nobody Owner = iota // of this package's: it stays until it is deleted
	Alive               // somebody who lives
	Dead                // somebody who died: Collect removes the group
)

// Owner tells who is to remove the group.
func (f Found) Owner() Owner {
	if !owned(unix.AT_FDCWD, f.Dir) {
		return Nobody
	}
	fd, err := lock(unix.AT_FDCWD, f.Dir)
	if err != nil {
		return Alive // or gone, or not for us to ask
	}
	unix.Close(fd)
	return Dead
}

// Collect removes the groups of owners that have died, with what runs in them: what was
// to be done when the payload ends, by somebody who was killed. It never touches a group
// that it does not find to be a dead one under its own lock; one in which there are groups
// of others it leaves, and so it does one that this process is in, or that is for another
// user to remove. It looks below each of tops, the directories of groups, and returns those
// that it removed.
func Collect(tops []string) (removed []string, err error) {
	var failed []error
	for _, top := range tops {
		var st unix.Stat_t
		if err := unix.Stat(top, &st); err != nil {
			return removed, fmt.Errorf("look at %s: %w", top, err)
		}
		c := collector{dev: st.Dev}
		if fd, err := openDir(unix.AT_FDCWD, top); err == nil {
			c.within(fd, top)
		}
		removed = append(removed, c.removed...)
		failed = append(failed, c.failed...)
	}
	return removed, errors.Join(failed...)
}

type collector struct {
	dev     uint64 // of the hierarchy: what is mounted within is not its
	removed []string
	failed  []error
}

// within collects in the groups of the group that is open as fd, which it closes.
func (c *collector) within(fd int, dir string) {
	defer unix.Close(fd)
	for _, sub := range within(dir) {
		name := filepath.Base(sub)
		child, err := openDir(fd, name)
		if err != nil {
			continue // gone, or not for us to look into
		}
		var st unix.Stat_t
		if unix.Fstat(child, &st) != nil || st.Dev != c.dev {
			unix.Close(child)
			continue
		}
		c.within(child, sub) // the inner ones first: an outer one is removed when it is empty
		uid := unix.Geteuid()
		if st.Mode&unix.S_ISVTX == 0 || uid != 0 && uid != int(st.Uid) {
			continue
		}
		held, err := lock(fd, name)
		if err != nil {
			continue // alive, or gone
		}
		err = unix.Fchmod(held, modeCondemned)
		if err == nil {
			err = removeDead(sub)
		}
		if err == nil {
			c.removed = append(c.removed, sub)
		} else {
			_ = unix.Fchmod(held, modeOwned) // the owner's, or root's, to do, like the one before
			if !errors.Is(err, errOthers) {
				c.failed = append(c.failed, err)
			}
		}
		unix.Close(held)
	}
}

// errOthers tells that a dead group is in use by others.
var errOthers = errors.New("others are in it")

func removeDead(dir string) error {
	deadline := time.Now().Add(patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 64*time.Millisecond) {
		err := unix.Rmdir(dir)
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
			return nil
		case len(within(dir)) > 0, slices.Contains(members(dir), strconv.Itoa(os.Getpid())):
			return errOthers
		}
		pids := kill(dir)
		if time.Now().After(deadline) {
			return &PopulatedError{Dir: dir, Pids: pids}
		}
		entry.Pause(pause)
	}
}

// Kill kills all that runs in a group and the groups in it, in all its hierarchies, and
// waits until it is gone.
func Kill(found []Found) error {
	deadline := time.Now().Add(patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 64*time.Millisecond) {
		var last *PopulatedError
		for _, f := range found {
			below, err := f.Below()
			if err != nil {
				return err
			}
			for _, path := range append(below, "") {
				dir := filepath.Join(f.Dir, path)
				pids := members(dir)
				if slices.Contains(pids, strconv.Itoa(os.Getpid())) {
					return fmt.Errorf("kill group %s: this process is in it", dir)
				}
				if len(pids) > 0 {
					last = &PopulatedError{Dir: dir, Pids: kill(dir)}
				}
			}
		}
		if last == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return last
		}
		entry.Pause(pause)
	}
}

// Processes are the numbers of the processes in a group, in any of its hierarchies, sorted.
func Processes(found []Found) []int {
	var pids []int
	for _, f := range found {
		for _, m := range members(f.Dir) {
			if n, err := strconv.Atoi(m); err == nil && !slices.Contains(pids, n) {
				pids = append(pids, n)
			}
		}
	}
	slices.Sort(pids)
	return pids
}

// Migrate moves what runs in a group, and in the groups in it, to the group above.
func Migrate(found []Found) error {
	for _, f := range found {
		below, err := f.Below()
		if err != nil {
			return err
		}
		for _, path := range append(below, "") {
			for _, pid := range members(filepath.Join(f.Dir, path)) {
				n, err := strconv.Atoi(pid)
				if err == nil {
					err = Move(filepath.Dir(f.Dir), n)
				}
				if err != nil && !errors.Is(err, unix.ESRCH) {
					return err
				}
			}
		}
	}
	return nil
}
