package cgroup

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A place is one hierarchy that the group is to be made in.
type place struct {
	tree   *Tree
	parent string // the group to make groups in, as a path
	limits []Limit
	// controllers are those of the limits, on v2: they must be enabled all the way down.
	controllers []string
	// optional tells that no limit needs the place.
	optional bool

	dir string // the group
	// open are the directories from parent to dir.
	open []opened
}

type opened struct {
	fd  int
	dir string
}

func (p *place) close() {
	for _, o := range p.open {
		unix.Close(o.fd)
	}
	p.open = nil
}

// plan decides in which hierarchies a group with these limits is made, and below
// which groups there. It changes nothing.
func plan(trees []*Tree, limits []Limit) ([]*place, error) {
	var places []*place
	at := func(t *Tree) *place {
		for _, p := range places {
			if p.tree == t {
				return p
			}
		}
		p := &place{tree: t}
		places = append(places, p)
		return p
	}
	for _, l := range limits {
		t := find(trees, l.Controller)
		if t == nil {
			return nil, missing(trees, l.Controller)
		}
		p := at(t)
		p.limits = append(p.limits, l)
		if t.V2 && l.Controller != "cgroup" && !slices.Contains(p.controllers, l.Controller) {
			p.controllers = append(p.controllers, l.Controller)
		}
	}
	main := mainTree(trees)
	if p := at(main); p.limits == nil && (main.V2 || len(places) == 1) {
		p.optional = len(places) > 1
	} else if p.limits == nil {
		places = places[:len(places)-1] // v1's trees are needed for limits only
	}
	for i := 0; i < len(places); i++ {
		p := places[i]
		err := p.findParent()
		if err == nil {
			err = p.checkControllers()
		}
		if err != nil && !p.optional {
			return nil, err
		} else if err != nil {
			places = slices.Delete(places, i, i+1)
			i--
		}
	}
	return places, nil
}

// mainTree is the hierarchy for a group with no limits: v2's, where processes can be
// killed by group; else one that counts processes; else any.
func mainTree(trees []*Tree) *Tree {
	for _, t := range trees {
		if t.V2 {
			return t
		}
	}
	if t := find(trees, "pids"); t != nil {
		return t
	}
	return trees[0]
}

// findParent finds the group to make groups in: the topmost for root; for others the
// deepest, from their own group upwards, that they may make groups in.
func (p *place) findParent() error {
	p.parent = p.tree.Dir
	refused := p.delegated(p.parent)
	if refused == nil && unix.Geteuid() == 0 {
		return nil
	}
	own, ok, err := p.tree.ownGroup()
	if err != nil {
		return err
	}
	for dir := own; ok; dir = dir[:max(0, strings.LastIndexByte(dir, '/'))] {
		p.parent = filepath.Join(p.tree.Dir, dir)
		if p.delegated(p.parent) == nil {
			return nil
		}
		ok = dir != ""
	}
	return &DelegationError{Dir: p.tree.Dir, Own: own, V2: p.tree.V2, Err: refused}
}

// delegated tells whether this process may make groups in dir, and move itself from
// below dir into them. On v2 that takes write access to the cgroup.procs of the group
// that both lie in.
func (p *place) delegated(dir string) error {
	err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, 0)
	if err == nil && p.tree.V2 {
		err = unix.Faccessat(unix.AT_FDCWD, dir+"/cgroup.procs", unix.W_OK, 0)
	}
	return err
}

// A DelegationError tells that this user may make no group in a hierarchy.
type DelegationError struct {
	Dir string // where the hierarchy is mounted
	Own string // the group of this process, below Dir
	V2  bool
	Err error
}

func (e *DelegationError) Error() string {
	return fmt.Sprintf("make a group in %s: %v", e.Dir, e.Err)
}

func (e *DelegationError) Unwrap() error { return e.Err }

// A ControllerError tells that a limit's controller is not to be had.
type ControllerError struct {
	Controller string
	// Dir is the group that lacks it, "" if no hierarchy has it; Above is the group
	// above Dir that does not pass it on, "" if Dir is the topmost.
	Dir, Above string
	Have       []string // the controllers there are
}

func (e *ControllerError) Error() string {
	switch {
	case e.Dir == "":
		return fmt.Sprintf("no mounted cgroup hierarchy has the controller %s", e.Controller)
	case e.Above == "":
		return fmt.Sprintf("the controller %s is not in %s/cgroup.controllers", e.Controller, e.Dir)
	}
	return fmt.Sprintf("the controller %s is not in %s/cgroup.controllers: %s/cgroup.subtree_control does not pass it on", e.Controller, e.Dir, e.Above)
}

func missing(trees []*Tree, controller string) error {
	e := &ControllerError{Controller: controller}
	for _, t := range trees {
		e.Have = append(e.Have, t.Controllers...)
	}
	if len(trees) == 1 && trees[0].V2 {
		e.Dir = trees[0].Dir
	}
	return e
}

// checkControllers tells which of the controllers does not reach p.parent, and where
// it is lost. (v2: a group has the controllers that the one above it passes on.)
func (p *place) checkControllers() error {
	for _, c := range p.controllers {
		for dir := p.parent; lacks(dir, c); dir = filepath.Dir(dir) {
			if dir == p.tree.Dir {
				return &ControllerError{Controller: c, Dir: dir, Have: p.tree.Controllers}
			}
			if above := filepath.Dir(dir); !lacks(above, c) {
				return &ControllerError{Controller: c, Dir: p.parent, Above: above}
			}
		}
	}
	return nil
}

// lacks tells whether the v2 group dir has no such controller. One that cannot be
// asked does not lack it: what it cannot do it will say.
func lacks(dir, controller string) bool {
	list, err := readFile(unix.AT_FDCWD, dir+"/cgroup.controllers")
	return err == nil && !slices.Contains(strings.Fields(list), controller)
}
