package cgroup

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/probe"
)

// A Tree is one hierarchy of groups, where it is mounted. A machine with cgroup v2 has
// one; with v1 it has one for each controller, or for a few mounted together; a
// hybrid has v1's and one of v2 that may have no controllers at all.
type Tree struct {
	Dir         string // the mount point
	V2          bool
	Controllers []string

	root string // the group that is mounted, as /proc/self/cgroup would name it
	dev  string // MAJOR:MINOR of the file system
	// own is the text of /proc/self/cgroup; it is read when it is first needed.
	own string
}

// Trees returns the hierarchies that are mounted, one for each, with v1's first.
func Trees() ([]*Tree, error) {
	text, err := probe.ReadProc("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var trees []*Tree
	for _, t := range parseMounts(text) {
		var st unix.Stat_t
		if unix.Stat(t.Dir, &st) != nil || fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)) != t.dev {
			continue // another mount lies over it
		}
		same := func(u *Tree) bool { return u.dev == t.dev }
		if i := slices.IndexFunc(trees, same); i >= 0 {
			if trees[i].root != "/" && t.root == "/" {
				trees[i] = t
			}
			continue
		}
		trees = append(trees, t)
	}
	for _, t := range trees {
		if t.V2 {
			list, err := readFile(unix.AT_FDCWD, t.Dir+"/cgroup.controllers")
			if err != nil {
				return nil, fmt.Errorf("read %s/cgroup.controllers: %w", t.Dir, err)
			}
			t.Controllers = strings.Fields(list)
		}
	}
	slices.SortStableFunc(trees, func(a, b *Tree) int {
		switch {
		case a.V2 == b.V2:
			return 0
		case b.V2:
			return -1
		}
		return 1
	})
	if trees == nil {
		return nil, errors.New("no cgroup file system is mounted")
	}
	return trees, nil
}

// parseMounts finds the mounts of cgroupfs in a mountinfo file (proc(5)).
func parseMounts(mountinfo string) []*Tree {
	var trees []*Tree
	for line := range strings.SplitSeq(mountinfo, "\n") {
		mount, fs, ok := strings.Cut(line, " - ")
		if !ok || !strings.HasPrefix(fs, "cgroup") {
			continue
		}
		m, f := strings.Fields(mount), strings.Fields(fs)
		if len(m) < 6 || len(f) < 3 {
			continue
		}
		t := &Tree{Dir: probe.Unescape(m[4]), root: probe.Unescape(m[3]), dev: m[2]}
		switch f[0] {
		case "cgroup2":
			t.V2 = true
		case "cgroup":
			for option := range strings.SplitSeq(f[2], ",") {
				if isController(option) {
					t.Controllers = append(t.Controllers, option)
				}
			}
		default:
			continue
		}
		trees = append(trees, t)
	}
	return trees
}

// isController tells a controller from the other mount options of cgroup v1.
func isController(option string) bool {
	switch option {
	case "rw", "ro", "none", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods", "seclabel":
		return false
	}
	return option != "" && !strings.Contains(option, "=")
}

// Core stands for the files that every group of v2 has, whatever controllers it has.
const Core = "cgroup"

// home returns the hierarchy that has a controller, nil if none has, and the name by
// which it must be passed on to a group there: "" where every group has it. The names of
// one version stand for those of the other: blkio is io, and what cpuacct, freezer and
// devices do on v1 is part of v2 itself.
func home(trees []*Tree, controller string) (t *Tree, enable string) {
	for _, name := range []string{controller, alias(controller)} {
		for _, t := range trees {
			if name != "" && slices.Contains(t.Controllers, name) {
				if t.V2 {
					return t, name
				}
				return t, ""
			}
		}
	}
	switch controller {
	case Core, "cpuacct", "freezer", "devices", "perf_event":
		for _, t := range trees {
			if t.V2 {
				return t, ""
			}
		}
	}
	if controller == Core {
		return home(trees, "freezer") // all that v1 has of it
	}
	return nil, ""
}

// alias is the other version's name of a controller.
func alias(controller string) string {
	switch controller {
	case "io":
		return "blkio"
	case "blkio":
		return "io"
	}
	return ""
}

// ownGroup returns the group that this process is in, as a path below t.Dir: "" for
// the group that is mounted. ok is false if it lies elsewhere.
func (t *Tree) ownGroup() (path string, ok bool, err error) {
	if t.own == "" {
		if t.own, err = probe.ReadProc("/proc/self/cgroup"); err != nil {
			return "", false, err
		}
	}
	path, ok = t.groupIn(t.own)
	return path, ok, nil
}

// GroupsOf returns the directories of the groups that a process is in, one for each
// hierarchy in which it is seen from here.
func GroupsOf(pid int) (dirs []string, err error) {
	trees, err := Trees()
	if err != nil {
		return nil, err
	}
	text, err := probe.ReadProc(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, err
	}
	for _, t := range trees {
		if path, ok := t.groupIn(text); ok {
			dirs = append(dirs, strings.TrimSuffix(t.Dir+"/"+path, "/"))
		}
	}
	return dirs, nil
}

// groupIn finds a process's group in its cgroup file, as a path below t.Dir.
func (t *Tree) groupIn(text string) (path string, ok bool) {
	for line := range strings.SplitSeq(text, "\n") {
		// cgroups(7): hierarchy-ID:controller-list:cgroup-path
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 {
			continue
		}
		if t.V2 && f[0] != "0" || !t.V2 && !slices.Equal(controllersOf(f[1]), t.Controllers) {
			continue
		}
		below, ok := strings.CutPrefix(f[2]+"/", strings.TrimSuffix(t.root, "/")+"/")
		path = strings.Trim(below, "/")
		// "/.." is what lies above the root of this cgroup namespace.
		return path, ok && path != ".." && !strings.HasPrefix(path, "../")
	}
	return "", false
}

func controllersOf(list string) []string {
	var c []string
	for s := range strings.SplitSeq(list, ",") {
		if isController(s) {
			c = append(c, s)
		}
	}
	return c
}
