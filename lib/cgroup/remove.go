package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// patience is how long [Remove] goes on trying.
const patience = time.Second

// Remove removes groups that [Make] made, in the order that it made them. What is
// still in a group, or in groups within it, is killed. But a group that was made only
// for another one to lie in may have become home to somebody else's: it then stays.
//
// A process dies some time after it is killed, and a group is busy until then, so
// Remove tries again, for up to a second.
func Remove(dirs []string) error {
	left := slices.Clone(dirs)
	slices.Reverse(left)
	deadline := time.Now().Add(patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 64*time.Millisecond) {
		var busy []string
		var last error
		for _, dir := range left {
			if !isAbove(dir, busy) {
				err := remove(dir, isAbove(dir, dirs))
				if err == nil {
					continue
				}
				last = err
			}
			busy = append(busy, dir)
		}
		if len(busy) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return last
		}
		left = busy
		entry.Pause(pause)
	}
}

// isAbove tells whether dir is above another one of dirs.
func isAbove(dir string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return strings.HasPrefix(d, dir+"/") })
}

// remove tries once to remove a group: as it is; else with what is in it.
func remove(dir string, shared bool) error {
	err := unix.Rmdir(dir)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if shared && errors.Is(err, unix.EBUSY) {
		return nil // what we had in it is gone: this is somebody else's
	}
	pids := kill(dir)
	for _, sub := range within(dir) {
		if err := remove(sub, false); err != nil {
			return err
		}
	}
	if err = unix.Rmdir(dir); err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if len(pids) > 0 {
		return fmt.Errorf("remove group %s: in it are %s: %w", dir, strings.Join(pids, ", "), err)
	}
	return fmt.Errorf("remove group %s: %w", dir, err)
}

// within returns the groups in dir.
func within(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, filepath.Join(dir, e.Name()))
		}
	}
	return dirs
}

// kill kills the processes in the group dir, and returns their numbers. If this
// process is one of them it leaves the group instead.
func kill(dir string) []string {
	pids := members(dir)
	if slices.Contains(pids, strconv.Itoa(os.Getpid())) {
		stepBack(dir)
		return pids
	}
	if writeFile(unix.AT_FDCWD, dir+"/cgroup.kill", "1") == nil {
		return pids
	}
	// v1, or v2 before Linux 5.14. What is frozen does not die before it is thawed.
	_ = writeFile(unix.AT_FDCWD, dir+"/freezer.state", "THAWED")
	_ = writeFile(unix.AT_FDCWD, dir+"/cgroup.freeze", "0")
	held := map[string]int{}
	for _, pid := range pids {
		n, err := strconv.Atoi(pid)
		if err != nil || n <= 0 { // 0: in a pid namespace that is not ours to see
			continue
		}
		if fd, err := unix.PidfdOpen(n, 0); err == nil {
			held[pid] = fd
		}
	}
	// A number may have gone to another process since it was read. The pidfds were
	// opened after that: whoever is still listed now is who they refer to.
	for _, pid := range members(dir) {
		if fd, ok := held[pid]; ok {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
	}
	for _, fd := range held {
		unix.Close(fd)
	}
	return pids
}

// members returns the numbers of the processes in a group, none if it is gone.
func members(dir string) []string {
	text, err := readFile(unix.AT_FDCWD, dir+"/cgroup.procs")
	if err != nil {
		return nil
	}
	return strings.Fields(text)
}

// stepBack moves this process from the group dir into the one above it. It undoes
// [Group.vacate]: where that group passes controllers on, it stops, unless other
// groups rely on them.
func stepBack(dir string) {
	above := filepath.Dir(dir)
	if writeFile(unix.AT_FDCWD, above+"/cgroup.procs", "0") == nil {
		return
	}
	if slices.ContainsFunc(within(above), func(d string) bool { return d != dir }) {
		return
	}
	list, _ := readFile(unix.AT_FDCWD, above+"/cgroup.subtree_control")
	for c := range strings.FieldsSeq(list) {
		_ = writeFile(unix.AT_FDCWD, above+"/cgroup.subtree_control", "-"+c)
	}
	_ = writeFile(unix.AT_FDCWD, above+"/cgroup.procs", "0")
}

// A PopulatedError tells that a group cannot be removed for what is in it.
type PopulatedError struct {
	Dir    string
	Pids   []string
	Groups []string
}

func (e *PopulatedError) Error() string {
	switch {
	case len(e.Pids) > 0:
		return fmt.Sprintf("remove group %s: there are processes in it (%s): %v", e.Dir, strings.Join(e.Pids, ", "), unix.EBUSY)
	case len(e.Groups) > 0:
		return fmt.Sprintf("remove group %s: there are groups in it (%s): %v", e.Dir, strings.Join(e.Groups, ", "), unix.EBUSY)
	}
	return fmt.Sprintf("remove group %s: %v", e.Dir, unix.EBUSY)
}

func (e *PopulatedError) Unwrap() error { return unix.EBUSY }

// dying is how long a process may take to die that is listed in a group still.
const dying = 200 * time.Millisecond

// RemoveEmpty removes a group that nothing runs in, with the groups in it if deep is set.
// What runs in it is left alone, and makes it fail before anything is removed.
func RemoveEmpty(dir string, deep bool) error {
	deadline := time.Now().Add(dying)
	for pause := time.Millisecond; ; pause = min(2*pause, 32*time.Millisecond) {
		err := removeEmpty(dir, deep)
		var full *PopulatedError
		if !errors.As(err, &full) || full.Groups != nil || time.Now().After(deadline) {
			return err
		}
		entry.Pause(pause)
	}
}

// CheckEmpty is a *PopulatedError if something runs in a group, or in one in it, or with
// deep unset if there is a group in it.
func CheckEmpty(dir string, deep bool) error {
	deadline := time.Now().Add(dying)
	for {
		if groups := names(within(dir)); !deep && len(groups) > 0 {
			return &PopulatedError{Dir: dir, Groups: groups}
		}
		err := checkEmpty(dir)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		entry.Pause(4 * time.Millisecond)
	}
}

func checkEmpty(dir string) error {
	if pids := members(dir); len(pids) > 0 {
		return &PopulatedError{Dir: dir, Pids: pids}
	}
	for _, sub := range within(dir) {
		if err := checkEmpty(sub); err != nil {
			return err
		}
	}
	return nil
}

// names are the last components of groups.
func names(dirs []string) []string {
	list := make([]string, len(dirs))
	for i, d := range dirs {
		list[i] = filepath.Base(d)
	}
	return list
}

func removeEmpty(dir string, deep bool) error {
	all := []string{dir}
	for i := 0; i < len(all); i++ {
		groups := within(all[i])
		if pids := members(all[i]); len(pids) > 0 {
			return &PopulatedError{Dir: all[i], Pids: pids}
		}
		if !deep && len(groups) > 0 {
			return &PopulatedError{Dir: dir, Groups: names(groups)}
		}
		all = append(all, groups...)
	}
	for _, d := range slices.Backward(all) {
		err := unix.Rmdir(d)
		if errors.Is(err, unix.EBUSY) {
			return &PopulatedError{Dir: d, Pids: members(d)}
		} else if err != nil && (d == dir || !errors.Is(err, unix.ENOENT)) {
			return fmt.Errorf("remove group %s: %w", d, err)
		}
	}
	return nil
}
