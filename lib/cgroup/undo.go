package cgroup

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// An undo holds what files of groups had in them before they were written, so that a group
// that was there is as it was after a failure.
type undo struct{ files []heldFile }

type heldFile struct{ dir, file, text string }

// note is called before a file is written. What a file of several lines has, one for each
// device, cannot be put back by one write, and is not.
func (u *undo) note(fd int, dir, file string) {
	if slices.ContainsFunc(u.files, func(h heldFile) bool { return h.dir == dir && h.file == file }) {
		return
	}
	text, err := readFile(fd, file)
	if err == nil && text != "" && !strings.Contains(text, "\n") {
		u.files = append(u.files, heldFile{dir, file, text})
	}
}

// revert puts back what was there. Files that bound each other want a certain order, which
// the second round has if the first has not.
func (u *undo) revert() {
	for range 2 {
		for _, h := range slices.Backward(u.files) {
			if now, err := readFile(unix.AT_FDCWD, h.dir+"/"+h.file); err == nil && now != h.text {
				_ = writeFile(unix.AT_FDCWD, h.dir+"/"+h.file, h.text)
			}
		}
	}
}
