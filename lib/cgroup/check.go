package cgroup

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A StateError tells that no process should enter a group as it is.
type StateError struct {
	Dir, Group string // the group's directory, and its path from the top
	State      string
	Err        error // the errno that the kernel has for it, or would have
}

func (e *StateError) Error() string { return fmt.Sprintf("enter group %s: %s", e.Dir, e.State) }
func (e *StateError) Unwrap() error { return e.Err }

// check finds, before anything is changed, what speaks against the group in p: the
// state of a group that is there already, or of those on the way to it.
func (p *place) check(req Request) error {
	freeze := slices.ContainsFunc(req.Limits, func(l Limit) bool { return l.Controller == Core })
	dir := p.parent
	components := strings.Split(req.path(), "/")
	for i, c := range components {
		dir = filepath.Join(dir, c)
		fd, err := openDir(unix.AT_FDCWD, dir)
		if err != nil {
			return nil // nothing there yet, or making it will tell
		}
		last := req.Name != "" && i == len(components)-1
		err = p.checkState(fd, dir, req.Enter, last, freeze)
		if err == nil && last {
			for _, l := range p.limits {
				if err = l.belowUse(fd, dir, p.tree.V2); err != nil && !l.May {
					break
				}
				err = nil
			}
		}
		unix.Close(fd)
		if err != nil {
			return err
		}
	}
	return nil
}

// checkState finds what speaks against a group, or with last unset against groups in it.
// With freeze, who enters it is to stop.
func (p *place) checkState(fd int, dir string, enter, last, freeze bool) error {
	now := readerOf(fd)
	group := strings.Trim(strings.TrimPrefix(dir, p.tree.Dir), "/")
	if p.tree.V2 {
		switch kind := now("cgroup.type"); {
		case kind == "threaded" && (enter || !last), kind == "domain invalid":
			return &StateError{dir, group, "it is " + kind + ", for threads of other groups' processes", unix.EOPNOTSUPP}
		case kind == "domain threaded" && !last:
			return &StateError{dir, group, "groups in it can be threaded only", unix.EOPNOTSUPP}
		}
	}
	if !enter {
		return nil
	}
	state := now("freezer.state")
	frozen := field(now("cgroup.events"), "frozen") == 1 || now("cgroup.freeze") == "1" || state != "" && state != "THAWED"
	if frozen && !(freeze && last) {
		return &StateError{dir, group, "it is frozen, and who enters it stops", unix.EBUSY}
	}
	limit, err := parseNumber(now("pids.max"), "")
	if err == nil && (last || !p.counted(group)) {
		if n, err := parseNumber(now("pids.current"), ""); err == nil && n >= limit {
			return &StateError{dir, group, fmt.Sprintf("it is full: %d of %d processes (pids.max)", n, limit), unix.EAGAIN}
		}
	}
	return nil
}

// counted tells whether this process is in a group, or in one in it: it then takes up no
// more of what that one has when it goes deeper.
func (p *place) counted(group string) bool {
	own, ok, err := p.tree.ownGroup()
	return err == nil && ok && strings.HasPrefix(own+"/", group+"/")
}
