package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Groups that are there, by their path from the top of the tree: "" is the topmost.

// CheckPath is [CheckName] for a group that is looked for from the top: a slash may stand
// at its beginning and end, and alone it is the topmost. It returns the path without them.
func CheckPath(path string) (string, error) {
	path = strings.Trim(path, "/")
	if path == "" {
		return "", nil
	}
	return path, CheckName(path)
}

// A Found is a group in one hierarchy.
type Found struct {
	Tree *Tree
	Dir  string
}

// Lookup returns the group's directory in the hierarchy that has a controller. The error is
// a *ControllerError, or the errno of what is wrong with the group.
func Lookup(trees []*Tree, controller, path string) (Found, error) {
	t, _ := home(trees, controller)
	if t == nil {
		return Found{}, missing(trees, controller)
	}
	f := Found{t, filepath.Join(t.Dir, path)}
	if !isDir(f.Dir) {
		return f, fmt.Errorf("find group %s: %w", f.Dir, unix.ENOENT)
	}
	return f, nil
}

// LookupAll returns the group's directories in all hierarchies that it is in.
func LookupAll(trees []*Tree, path string) []Found {
	var all []Found
	for _, t := range trees {
		if dir := filepath.Join(t.Dir, path); isDir(dir) {
			all = append(all, Found{t, dir})
		}
	}
	return all
}

// Dirs are the directories of a group.
func Dirs(found []Found) []string {
	var dirs []string
	for _, f := range found {
		dirs = append(dirs, f.Dir)
	}
	return dirs
}

// Own returns the path of the nearest group from this process's own upwards in which there
// is one called name, and that one's: ordinary users have theirs somewhere below.
func Own(trees []*Tree, name string) (string, bool) {
	for _, t := range trees {
		own, ok, err := t.ownGroup()
		if err != nil || !ok {
			continue
		}
		for dir := own; dir != ""; dir = dir[:max(0, strings.LastIndexByte(dir, '/'))] {
			if isDir(filepath.Join(t.Dir, dir, name)) {
				return dir + "/" + name, true
			}
		}
	}
	return "", false
}

// Below returns the groups in a group, as paths below it, each before those in it.
func (f Found) Below() ([]string, error) {
	var paths []string
	err := filepath.WalkDir(f.Dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // removed in the meantime
		case err != nil:
			return err
		case d.IsDir() && path != f.Dir:
			paths = append(paths, path[len(f.Dir)+1:])
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list group %s: %w", f.Dir, err)
	}
	return paths, nil
}

// Read returns what the file called key holds, converted where the hierarchy is of the
// version that has it under another name. The error is the bare errno.
func (f Found) Read(key string) (string, error) {
	fd, err := openDir(unix.AT_FDCWD, f.Dir)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return read(fd, f.Tree.V2, key)
}

// Keys are the files of a controller's in the group, sorted, and whether each can be
// written.
func (f Found) Keys(controller string) (names []string, writable map[string]bool, err error) {
	entries, err := os.ReadDir(f.Dir)
	if err != nil {
		return nil, nil, err
	}
	if f.Tree.V2 && !slices.Contains(f.Tree.Controllers, controller) && alias(controller) != "" {
		controller = alias(controller)
	}
	writable = map[string]bool{}
	for _, e := range entries {
		if prefix, _, ok := strings.Cut(e.Name(), "."); e.IsDir() || !ok || prefix != controller {
			continue
		}
		names = append(names, e.Name())
		if info, err := e.Info(); err == nil {
			writable[e.Name()] = info.Mode()&0o200 != 0
		}
	}
	return names, writable, nil
}

// Version1 are the names that cgroup v1 has for files of a controller's and that can be
// read in a group of v2.
func Version1(controller string) []string {
	return namesOf(controller, func(p pair) string { return p.v1 })
}

// Version2 are the names that cgroup v2 has.
func Version2(controller string) []string {
	return namesOf(controller, func(p pair) string { return p.v2 })
}

func namesOf(controller string, side func(pair) string) []string {
	var names []string
	for _, p := range pairs {
		name := side(p)
		if prefix, _, _ := strings.Cut(name, "."); prefix == controller && !strings.Contains(name, "*") && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Change gives a group that is there limits. What can be found wrong is found before
// anything is changed. That the kernel made another value of one is told in what is
// returned, not as the error.
func Change(trees []*Tree, path string, limits []Limit) (written []Written, err error) {
	type target struct {
		Found
		limit Limit
	}
	var targets []target
	for _, l := range combineDevices(limits) {
		t, _ := home(trees, l.Controller)
		if err := l.possible(trees, t); err != nil {
			if l.May {
				continue
			}
			return nil, err
		}
		f, err := Lookup(trees, l.Controller, path)
		if err != nil && l.May && len(LookupAll(trees, path)) > 0 {
			continue
		} else if err != nil {
			return nil, err
		}
		fd, err := openDir(unix.AT_FDCWD, f.Dir)
		if err != nil {
			return nil, fmt.Errorf("open group %s: %w", f.Dir, err)
		}
		err = l.belowUse(fd, f.Dir, t.V2)
		unix.Close(fd)
		if err != nil {
			return nil, err
		}
		targets = append(targets, target{f, l})
	}
	var old undo
	defer func() {
		if err == nil {
			return
		}
		if changed := old.revert(); changed != nil {
			err = fmt.Errorf("%w; %w", err, changed)
		}
	}()
	for _, t := range targets {
		fd, err := openDir(unix.AT_FDCWD, t.Dir)
		if err != nil {
			return written, fmt.Errorf("open group %s: %w", t.Dir, err)
		}
		w, err := t.limit.apply(fd, t.Dir, t.Tree.V2, &old)
		unix.Close(fd)
		if written = append(written, w...); err != nil && !t.limit.May {
			return written, err
		}
	}
	return written, nil
}

// Copy gives a group the values of another one in the same hierarchy, of all files that can
// be read and written, where they differ and are one line.
func Copy(from, to Found) error {
	for _, c := range to.Tree.names() {
		keys, writable, err := from.Keys(c)
		if err != nil {
			return fmt.Errorf("list group %s: %w", from.Dir, err)
		}
		for _, k := range keys {
			if !writable[k] {
				continue
			}
			value, errFrom := readFile(unix.AT_FDCWD, from.Dir+"/"+k)
			now, errTo := readFile(unix.AT_FDCWD, to.Dir+"/"+k)
			if errFrom != nil || errTo != nil || value == now || value == "" || strings.Contains(value, "\n") {
				continue
			}
			if err := writeFile(unix.AT_FDCWD, to.Dir+"/"+k, value); err != nil {
				return &FileError{Dir: to.Dir, File: k, Value: value, Err: err}
			}
		}
	}
	return nil
}

// names are the controllers whose files the groups of a hierarchy may have.
func (t *Tree) names() []string {
	if t.V2 && !slices.Contains(t.Controllers, "cpu") {
		return append(slices.Clone(t.Controllers), "cpu")
	}
	return t.Controllers
}

// Move moves a process, all its threads, into a group; 0 is this process.
func Move(dir string, pid int) error {
	if err := writeFile(unix.AT_FDCWD, dir+"/"+procsFile, strconv.Itoa(pid)); err != nil {
		return fmt.Errorf("enter group %s: %w", dir, err)
	}
	return nil
}

// CheckEnter finds what speaks against a process entering a group: its own state, or that of
// the groups that it lies in.
func (f Found) CheckEnter() error {
	p := &place{tree: f.Tree}
	for dir, last := f.Dir, true; last || len(dir) > len(f.Tree.Dir); dir, last = filepath.Dir(dir), false {
		fd, err := openDir(unix.AT_FDCWD, dir)
		if err != nil {
			return fmt.Errorf("open group %s: %w", dir, err)
		}
		err = p.checkState(fd, dir, true, last, false)
		unix.Close(fd)
		if err != nil {
			return err
		}
	}
	return nil
}

// Holds tells whether a process is in the group itself.
func (f Found) Holds(pid int) bool { return slices.Contains(members(f.Dir), strconv.Itoa(pid)) }

// An Ownership is to whom files are given, -1 for no change, and their mode, which gives
// group and others no more than the owner has; 0 for no change.
type Ownership struct {
	UID, GID int
	Mode     uint32
}

// Give gives a group's directory and files to somebody: those through which processes
// enter it by procs, the others by files.
func Give(dir string, dirs, files, procs Ownership) error {
	fd, err := openat(unix.AT_FDCWD, dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("open group %s: %w", dir, err)
	}
	defer unix.Close(fd)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list group %s: %w", dir, err)
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		o := files
		switch e.Name() {
		case "tasks", procsFile, "cgroup.threads":
			o = procs
		}
		if err := o.give(fd, e.Name()); err != nil {
			return fmt.Errorf("change %s/%s: %w", dir, e.Name(), err)
		}
	}
	if err := dirs.give(fd, "."); err != nil {
		return fmt.Errorf("change group %s: %w", dir, err)
	}
	return nil
}

func (o Ownership) give(at int, name string) error {
	if o.UID >= 0 || o.GID >= 0 {
		if err := unix.Fchownat(at, name, o.UID, o.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
	}
	if o.Mode == 0 {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	owner := st.Mode & 0o700
	return unix.Fchmodat(at, name, o.Mode&(owner|owner>>3|owner>>6), 0)
}
