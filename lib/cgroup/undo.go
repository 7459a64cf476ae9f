package cgroup

import (
	"fmt"
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

// revert puts back what was there, of groups that still are. Files that bound each other want
// a certain order, which the second round has if the first has not.
func (u *undo) revert() error {
	var failed error
	for range 2 {
		failed = nil
		for _, h := range slices.Backward(u.files) {
			path := h.dir + "/" + h.file
			if now, err := readFile(unix.AT_FDCWD, path); err != nil || now == h.text {
				continue
			}
			if err := writeFile(unix.AT_FDCWD, path, h.text); err != nil && failed == nil {
				failed = fmt.Errorf("put %s back to %s: %w", path, h.text, err)
			}
		}
	}
	return failed
}
