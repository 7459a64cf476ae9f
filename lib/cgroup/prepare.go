package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// prepare sees to it that the group in p has the files of its limits, and that a
// process can enter it.
func (g *Group) prepare(p *place) error {
	if p.tree.V2 {
		for _, o := range p.open[:len(p.open)-1] {
			if err := g.enable(o.fd, o.dir, p.controllers); err != nil {
				return err
			}
			wish(o.fd, p.wishes)
		}
		return nil
	}
	if slices.Contains(p.tree.Controllers, "cpuset") {
		for i, o := range p.open[1:] {
			if err := inheritCPUSet(p.open[i].fd, o.fd); err != nil {
				return fmt.Errorf("prepare group %s: %w", o.dir, err)
			}
		}
	}
	return nil
}

// inheritCPUSet gives a group of v1 the CPUs and memory nodes of the group above it:
// it is made with none, and then nothing can enter it (cpuset(7)).
func inheritCPUSet(parent, child int) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		list, err := readFile(child, file)
		if err == nil && list == "" {
			if list, err = readFile(parent, file); err == nil {
				err = writeFile(child, file, list)
			}
		}
		if err != nil {
			return fmt.Errorf("inherit %s: %w", file, err)
		}
	}
	return nil
}

// enable has the v2 group dir pass controllers on to the groups in it. The kernel
// allows a group to have either processes or controllers passed on, but for the real
// root (cgroups(7), "no internal processes" rule). It does not hold threaded
// controllers to that: it makes the group threaded, which spoils the groups in it. So
// the rule is kept here, and domain controllers come first.
func (g *Group) enable(fd int, dir string, controllers []string) error {
	if len(controllers) == 0 {
		return nil
	}
	text, err := readFile(fd, "cgroup.subtree_control")
	if err != nil {
		return fmt.Errorf("read %s/cgroup.subtree_control: %w", dir, err)
	}
	enabled := strings.Fields(text)
	needed := slices.DeleteFunc(domainFirst(controllers), func(c string) bool { return slices.Contains(enabled, c) })
	if len(needed) == 0 {
		return nil
	}
	if exists(fd, "cgroup.events") { // all groups but the real root have it
		if err := g.vacate(fd, dir, needed); err != nil {
			return err
		}
	}
	for _, c := range needed {
		if err := writeFile(fd, "cgroup.subtree_control", "+"+c); err != nil {
			return fmt.Errorf("enable controller %s in %s/cgroup.subtree_control: %w", c, dir, err)
		}
	}
	return nil
}

// wish enables what it can of controllers that are not needed, where that cannot make the
// group threaded: there are no processes in it.
func wish(fd int, controllers []string) {
	if exists(fd, "cgroup.events") {
		if pids, err := readFile(fd, procsFile); err != nil || pids != "" {
			return
		}
	}
	for _, c := range domainFirst(controllers) {
		_ = writeFile(fd, "cgroup.subtree_control", "+"+c)
	}
}

// domainFirst sorts controllers that work on whole processes before those that can
// work on threads.
func domainFirst(controllers []string) []string {
	var domain, threaded []string
	for _, c := range controllers {
		switch c {
		case "cpu", "cpuset", "perf_event", "pids":
			threaded = append(threaded, c)
		default:
			domain = append(domain, c)
		}
	}
	return append(domain, threaded...)
}

// A BusyError tells that a v2 group can pass no controllers on, since there are
// processes in it.
type BusyError struct {
	Dir         string
	Made        bool // it was made here, for an earlier program
	Controllers []string
	Pids        []string
}

func (e *BusyError) Error() string {
	pids := e.Pids
	more := ""
	if len(pids) > 3 {
		pids, more = pids[:3], " and more"
	}
	return fmt.Sprintf("enable controller %s in %s/cgroup.subtree_control: there are processes in that group (%s%s): %v",
		strings.Join(e.Controllers, ", "), e.Dir, strings.Join(pids, ", "), more, unix.EBUSY)
}

func (e *BusyError) Unwrap() error { return unix.EBUSY }

// aside begins the name of a group that a process steps aside into.
const aside = "waiter-"

// vacate sees to it that no process is in the group: if it is this one alone, it steps
// aside, into a group of its own next to the one that is being made.
func (g *Group) vacate(fd int, dir string, controllers []string) error {
	text, err := readFile(fd, procsFile)
	if err != nil {
		return fmt.Errorf("read %s/cgroup.procs: %w", dir, err)
	}
	pids := strings.Fields(text)
	if len(pids) == 0 {
		return nil
	}
	if len(pids) > 1 || pids[0] != strconv.Itoa(unix.Getpid()) {
		return &BusyError{Dir: dir, Made: madeHere(dir, ""), Controllers: controllers, Pids: pids}
	}
	for try := 0; ; try++ {
		name := aside + freshName(try)
		leaf := filepath.Join(dir, name)
		ours, err := g.makeOwned(fd, name, true, false)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if ours {
			g.Made = append([]string{leaf}, g.Made...) // removed last: it is where the waiter is
		}
		if err != nil {
			return fmt.Errorf("make group %s: %w", leaf, err)
		}
		if err := writeFile(fd, name+"/cgroup.procs", "0"); err != nil {
			return fmt.Errorf("enter group %s: %w", leaf, err)
		}
		g.leaf = leaf
		return nil
	}
}
