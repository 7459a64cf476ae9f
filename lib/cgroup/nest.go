package cgroup

import (
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Top is the parent of a group that is to be at the top of the tree.
const Top = "/"

// nest puts a group that root makes into the one that this process is in, if that one was
// made here: at the top it would be held to none of the first one's limits. A name that a
// group above has in it is that one's.
func (r *Request) nest(trees []*Tree) error {
	if r.Parent == Top {
		r.Parent = ""
		return nil
	}
	if r.Exact || unix.Geteuid() != 0 {
		return nil // others make groups in their own anyway
	}
	first, _, _ := strings.Cut(r.path(), "/")
	nest := ""
	for _, t := range trees {
		own, ok, err := t.ownGroup()
		if err != nil {
			return err
		}
		if !ok || (&place{tree: t}).delegated(t.Dir) != nil {
			continue
		}
		for dir := own; dir != "" && len(dir) > len(nest); dir = dir[:max(0, strings.LastIndexByte(dir, '/'))] {
			if madeHere(t.Dir, dir) {
				nest = dir
			}
		}
	}
	// Aside is a group of its own beside what is made: see vacate.
	if above, leaf := filepath.Split(nest); strings.HasPrefix(leaf, aside) {
		nest = strings.TrimSuffix(above, "/")
	}
	for dir := nest; first != "" && dir != ""; {
		dir = dir[:max(0, strings.LastIndexByte(dir, '/'))]
		if slices.ContainsFunc(trees, func(t *Tree) bool { return isDir(filepath.Join(t.Dir, dir, first)) }) {
			nest = dir
			break
		}
	}
	r.Parent = strings.Trim(nest+"/"+r.Parent, "/")
	return nil
}

// madeHere tells whether a group has the mark of those made here: that of one that is to be
// removed, or of one that was made to stay.
func madeHere(top, group string) bool {
	return mode(unix.AT_FDCWD, filepath.Join(top, group))&(unix.S_ISVTX|unix.S_ISGID) != 0
}
