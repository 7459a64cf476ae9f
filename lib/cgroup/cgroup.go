// Package cgroup makes control groups, limits them, enters and removes them:
// cgroups(7), and the kernel's Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
//
// Which version a controller belongs to is asked for each controller, not for the
// machine: on a hybrid one, memory may be v1's and hugetlb v2's. So a group may be a
// directory in several hierarchies; and it is one in that of v2 wherever there is one,
// since cgroup.kill is there.
//
// Limits are set before anything enters the group. Nothing is ever removed that is
// not an empty group.
//
// When not to use this package: to run a service that systemd is to know of (it owns
// the tree where it runs; ask it with systemd-run), or to read statistics.
package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A Request says what group is wanted.
type Request struct {
	// Name is the group's path below the group that groups are made in, which must
	// pass [CheckName]; "" asks for a fresh group. Parent is a path before it, [Top] to
	// have it at the top also in a group that Make made.
	Name, Parent string
	Limits       []Limit
	// Controllers are those that the group must have beside those of its limits, Observe
	// those that it should have where that changes nothing for others.
	Controllers, Observe []string
	// Keep tells that the group stays, and Exact that it is made from the top of the tree,
	// in the hierarchies of its controllers and limits alone.
	Keep, Exact bool
	// Enter tells that this process is to enter the group: its state must allow that.
	Enter bool
}

// path is the group's path, "" for a fresh group at the top.
func (r *Request) path() string { return strings.Trim(r.Parent+"/"+r.Name, "/") }

// A Group is a group that was made or found: a directory in each hierarchy that it
// needs.
type Group struct {
	Dirs []string
	// Made are the directories that [Make] made, in that order, the groups above the
	// group included: what [Remove] is to be given.
	Made []string
	// Written are the files of limits that were written, Dropped the limits that were not.
	Written []Written
	Dropped []Dropped

	procs []int // cgroup.procs of each of Dirs, open for writing
	locks []int // see Locks
	old   undo
	leaf  string // where this process stepped aside to: see vacate
}

// A Dropped is a limit that was asked for with May, and why it is not in force.
type Dropped struct {
	Name string
	Err  error
}

// Make makes the group, or finds it, and sets its limits. Whatever can be found wrong
// is found before anything is changed, and after an error nothing is left behind.
func Make(trees []*Tree, req Request) (_ *Group, err error) {
	for _, name := range []string{req.Name, req.Parent} {
		if name != "" && (name != Top || name != req.Parent) {
			if err := CheckName(name); err != nil {
				return nil, err
			}
		}
	}
	if err := req.nest(trees); err != nil {
		return nil, err
	}
	places, dropped, err := plan(trees, req)
	if err != nil {
		return nil, err
	}
	g := &Group{Dropped: dropped}
	defer func() {
		for _, p := range places {
			p.close()
		}
		if err != nil {
			if left := Remove(g.Made); left != nil {
				err = fmt.Errorf("%w; %w", err, left)
			}
			if changed := g.old.revert(); changed != nil {
				err = fmt.Errorf("%w; %w", err, changed)
			}
			g.Close()
		}
	}()
	for _, p := range places {
		if req.path() != "" {
			if err := p.check(req); err != nil {
				return nil, err
			}
		}
	}
	if err := g.directories(places, req); err != nil {
		return nil, err
	}
	for _, p := range places {
		if err := g.limit(p); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// directories makes the group's directories in all places, or finds them.
func (g *Group) directories(places []*place, req Request) error {
	fresh := req.Name == ""
	for try := 0; ; try++ {
		if fresh {
			req.Name = freshName(try)
		}
		err := g.tryName(places, req, fresh)
		if !fresh || !errors.Is(err, unix.EEXIST) {
			return err
		}
		// Left by a process with the number that this one has now, that was killed.
		if err := Remove(g.Made); err != nil {
			return err
		}
		g.Close()
		g.Made, g.Dirs = nil, nil
	}
}

func (g *Group) tryName(places []*place, req Request, fresh bool) error {
	for _, p := range places {
		p.dir = filepath.Join(p.parent, req.Parent, req.Name)
		if p.optional && len(g.Made) == 0 && !isDir(p.dir) {
			continue // the group was found as it is: nothing is added to it
		}
		err := g.descend(p, req.path(), fresh, req.Keep)
		if err != nil && p.optional && !errors.Is(err, unix.EEXIST) {
			p.close()
			continue
		} else if err != nil {
			return err
		}
		g.Dirs = append(g.Dirs, p.dir)
	}
	return nil
}

// descend goes down from p's parent to the group, and makes what is missing on the
// way. It leaves every directory open in p.open.
func (g *Group) descend(p *place, name string, fresh, keep bool) error {
	p.close()
	dir := p.parent
	fd, err := openDir(unix.AT_FDCWD, dir)
	if err != nil {
		return fmt.Errorf("open group %s: %w", dir, err)
	}
	p.open = append(p.open, opened{fd, dir})
	components := strings.Split(name, "/")
	for i, c := range components {
		dir += "/" + c
		ours, err := g.makeOwned(fd, c, fresh && i == len(components)-1, keep)
		if ours {
			g.Made = append(g.Made, dir)
		}
		if err != nil {
			return fmt.Errorf("make group %s: %w", dir, err)
		}
		if fd, err = openDir(fd, c); err != nil {
			return fmt.Errorf("open group %s: %w", dir, err)
		}
		p.open = append(p.open, opened{fd, dir})
	}
	return nil
}

// limit gives the group in p its limits, and opens its door.
func (g *Group) limit(p *place) error {
	if !slices.Contains(g.Dirs, p.dir) {
		return nil
	}
	if err := g.prepare(p); err != nil {
		return err
	}
	fd := p.open[len(p.open)-1].fd
	for _, l := range p.limits {
		written, err := l.apply(fd, p.dir, p.tree.V2, &g.old)
		if err != nil && l.May {
			g.Dropped = append(g.Dropped, Dropped{l.name, err})
		} else if err != nil {
			return err
		}
		for _, w := range written { // with May another value is in force, and told
			if w.Err != nil && !l.May {
				return w.Err
			}
		}
		g.Written = append(g.Written, written...)
	}
	procs, err := openat(fd, procsFile, unix.O_WRONLY|unix.O_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("open %s/%s: %w", p.dir, procsFile, err)
	}
	g.procs = append(g.procs, procs)
	return nil
}

// Procs are the open descriptors through which a process enters the group: each wants
// "0" written to it, which stands for the process that writes.
func (g *Group) Procs() []int { return g.procs }

// Enter moves this process, all its threads, into the group.
func (g *Group) Enter() error {
	for i, fd := range g.procs {
		if _, err := unix.Write(fd, []byte("0")); err != nil {
			return fmt.Errorf("enter group %s: %w", g.Dirs[i], err)
		}
	}
	if g.leaf != "" {
		g.Made = slices.DeleteFunc(g.Made, func(dir string) bool { return dir == g.leaf })
		if err := unix.Rmdir(g.leaf); err != nil {
			return fmt.Errorf("remove group %s: %w", g.leaf, err)
		}
		g.leaf = ""
	}
	return nil
}

// Close closes the descriptors of Procs and Locks.
func (g *Group) Close() {
	for _, fd := range append(g.procs, g.locks...) {
		unix.Close(fd)
	}
	g.procs, g.locks = nil, nil
}

func isDir(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}
