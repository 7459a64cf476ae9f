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
	// controllers must be enabled all the way down, on v2; wishes are if they can be.
	controllers, wishes []string
	// optional tells that the group is whole without the place; ifThere that it is one
	// only if the group is there already, or one that it lies in.
	optional, ifThere bool

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

func (p *place) enable(controller string) {
	if controller != "" && !slices.Contains(p.controllers, controller) {
		p.controllers = append(p.controllers, controller)
	}
}

// plan decides in which hierarchies the group is made, and below which groups there. It
// changes nothing. Limits that may be missing, and are, are dropped.
func plan(trees []*Tree, req Request) ([]*place, []Dropped, error) {
	var places []*place
	var dropped []Dropped
	at := func(t *Tree) *place {
		for _, p := range places {
			if p.tree == t {
				return p
			}
		}
		p := &place{tree: t, optional: true}
		places = append(places, p)
		return p
	}
	for _, l := range combineDevices(req.Limits) {
		t, enable := home(trees, l.Controller)
		err := l.possible(trees, t)
		if err != nil && l.May {
			dropped = append(dropped, Dropped{l.name, err})
			continue
		} else if err != nil {
			return nil, nil, err
		}
		p := at(t)
		p.optional = false
		p.limits = append(p.limits, l)
		p.enable(enable)
	}
	for _, c := range req.Controllers {
		t, enable := home(trees, c)
		if t == nil {
			return nil, nil, missing(trees, c)
		}
		p := at(t)
		p.optional = false
		p.enable(enable)
	}
	for _, c := range req.Observe {
		if t, enable := home(trees, c); t != nil {
			p := at(t)
			if enable != "" {
				p.wishes = append(p.wishes, enable)
			}
		}
	}
	if core, _ := home(trees, Core); core != nil && !req.Exact {
		at(core) // where a group can be frozen, and on v2 killed
	}
	if len(places) == 0 && !req.Exact {
		at(mainTree(trees))
	}
	// A group that is there is entered wherever it is: it may have limits there. So may one
	// that it lies in.
	for _, t := range trees {
		known := slices.ContainsFunc(places, func(p *place) bool { return p.tree == t })
		if path := req.path(); path != "" && !req.Exact && !known {
			at(t).ifThere = true
		}
	}
	places, err := located(places, req)
	// The places that the group must have come first: see tryName.
	slices.SortStableFunc(places, func(a, b *place) int {
		switch {
		case a.optional == b.optional:
			return 0
		case b.optional:
			return -1
		}
		return 1
	})
	return places, dropped, err
}

// Writes lists what limits write on this machine, as FILE=VALUE in the order of writing,
// for whoever wants to be told: a file that a kernel may lack as [FILE=VALUE], a value that
// is found when it is written as "...". What cannot be had here is left out.
func Writes(trees []*Tree, limits []Limit) []string {
	var all []string
	for _, l := range limits {
		t, _ := home(trees, l.Controller)
		if t == nil {
			continue
		}
		if l.devices != nil && t.V2 {
			all = append(all, "a BPF program for devices")
			continue
		}
		for _, s := range l.settings(t.V2) {
			text := s.file + "=" + s.value
			if s.from != nil {
				text = s.file + "=..."
			}
			if s.optional {
				text = "[" + text + "]"
			}
			all = append(all, text)
		}
	}
	return all
}

// possible tells why a limit cannot be had, on a machine where t has its controller.
func (l Limit) possible(trees []*Tree, t *Tree) error {
	switch {
	case t == nil:
		return missing(trees, l.Controller)
	case !l.here(t.V2):
		return &UnsupportedError{Name: l.name, V2: t.V2}
	case !t.V2 && l.devices != nil:
		return onV1(l.devices)
	}
	for _, s := range l.settings(t.V2) {
		if s.err != nil {
			return fmt.Errorf("set %s: %w", l.name, s.err)
		}
	}
	return nil
}

// located finds the groups to make the group in. Places that the group can do without
// are dropped where that fails, as long as there are others.
func located(places []*place, req Request) ([]*place, error) {
	var found []*place
	var first error
	for _, p := range places {
		p.parent = p.tree.Dir
		var err error
		if !req.Exact {
			err = p.findParent()
		}
		if err == nil {
			err = p.checkControllers()
		}
		there := isDir(filepath.Join(p.parent, req.path()))
		inside := !req.Exact && p.inside(req)
		switch {
		case p.ifThere && (err != nil || !there && !inside):
		case err == nil:
			// Without it here, nothing that it lies in would hold who enters it.
			p.optional = p.optional && !(inside && (!there || req.Name == ""))
			found = append(found, p)
		case !p.optional:
			return nil, err
		case first == nil:
			first = err
		}
	}
	if len(found) == 0 {
		return nil, first
	}
	// One of them is where the group is to be: v2's, else the first.
	if !slices.ContainsFunc(found, func(p *place) bool { return !p.optional }) {
		i := max(0, slices.IndexFunc(found, func(p *place) bool { return p.tree.V2 }))
		found[i].optional = false
	}
	return found, nil
}

// inside tells whether the group will lie, in this hierarchy, in one that is there.
func (p *place) inside(req Request) bool {
	first, _, deeper := strings.Cut(req.path(), "/")
	return first != "" && (deeper || req.Name == "") && isDir(filepath.Join(p.parent, first))
}

// mainTree is the hierarchy for a group with no limits: v2's, where processes can be
// killed by group; else one where they can be frozen, or counted; else any.
func mainTree(trees []*Tree) *Tree {
	for _, c := range []string{Core, "pids"} {
		if t, _ := home(trees, c); t != nil {
			return t
		}
	}
	return trees[0]
}

// findParent finds the group to make groups in: the topmost for root; for others the
// deepest, from their own group upwards, that they may make groups in.
func (p *place) findParent() error {
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
	p.wishes = slices.DeleteFunc(p.wishes, func(c string) bool {
		return lacks(p.parent, c) || slices.Contains(p.controllers, c)
	})
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
