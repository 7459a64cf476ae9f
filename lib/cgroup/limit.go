package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"golang.org/x/sys/unix"
)

// A Limit is one thing that a group is to be held to: for each version of cgroups, the
// files to write, in order.
type Limit struct {
	Controller string
	// May tells that the group is made without the limit where it cannot be had.
	May bool

	name    string // what it is called in an error: "memory.low"
	v1, v2  []setting
	devices []DeviceRule
}

// A setting is one file of a controller's, and what to write to it.
type setting struct {
	file, value string
	// from, where it is set, finds the value out of what the group has when it is written.
	from     func(now reader) (string, error)
	check    check
	optional bool     // a kernel without the file does without
	or       *setting // in place of this one where the group has no such file
	err      error    // why there is no value
}

// A reader returns what a file of a group holds, "" if it cannot be read.
type reader func(file string) string

// check is how what the kernel kept is compared with what was written.
type check int

const (
	checkText   check = iota // the same text
	checkBytes               // rounded down to a page
	checkList                // the same set of numbers
	checkNumber              // the same number, if both are one
	checkWeight              // the same number, behind a word: "default 100"
	checkNone
)

// A Written is a file that was written, and what the kernel keeps in it: "" where that
// cannot be told. Err, a *FileError of a *KeptError, tells that it is something else.
type Written struct {
	File, Value, Kept string
	Err               error
}

// Clash tells which file both limits write, "" if there is none. What a limit writes
// only where it exists another one may write again, and one that finds its value in the
// group adds to what is there.
func (l Limit) Clash(m Limit) string {
	for _, v2 := range []bool{true, false} {
		for _, s := range l.settings(v2) {
			for _, t := range m.settings(v2) {
				if s.file == t.file && s.only() && t.only() {
					return s.file
				}
			}
		}
	}
	return ""
}

// only tells whether a file cannot be written for two limits: rules for devices add up.
func (s setting) only() bool {
	return !s.optional && s.from == nil && s.file != devicesAllow && s.file != devicesDeny
}

func (l Limit) settings(v2 bool) []setting {
	if v2 {
		return l.v2
	}
	return l.v1
}

// here tells whether a version of cgroups has anything like the limit.
func (l Limit) here(v2 bool) bool {
	return len(l.settings(v2)) > 0 || l.devices != nil
}

// apply writes the limit to the group that is open as fd, and reads it back.
func (l Limit) apply(fd int, dir string, v2 bool, old *undo) ([]Written, error) {
	if v2 && l.devices != nil {
		return attachDevices(fd, dir, l.devices)
	}
	list := l.settings(v2)
	for i, s := range list {
		s, err := s.resolve(fd, dir)
		if err == nil {
			old.note(fd, dir, s.file)
			if i+1 < len(list) {
				old.note(fd, dir, list[i+1].file)
			}
			if err = s.write(fd); errors.Is(err, unix.EINVAL) && i+1 < len(list) && list[i+1].write(fd) == nil {
				// Two files that bound each other, in a group that has limits already: which
				// comes first depends on whether they rise or fall.
				err = s.write(fd)
			}
		}
		if err != nil {
			return nil, s.failed(dir, err)
		}
		list[i] = s
	}
	var written []Written
	for _, s := range list {
		kept, err := s.verify(fd, dir)
		var differs *KeptError
		if err != nil && !errors.As(err, &differs) {
			return written, err
		}
		if !s.optional || exists(fd, s.file) {
			written = append(written, Written{dir + "/" + s.file, s.value, kept, err})
		}
	}
	return written, nil
}

// resolve chooses the file that the group has, and finds the value for it.
func (s setting) resolve(fd int, dir string) (setting, error) {
	for s.or != nil && !exists(fd, s.file) {
		s = *s.or
	}
	if s.from == nil {
		return s, nil
	}
	value, err := s.from(readerOf(fd))
	if err != nil {
		return s, err
	}
	s.value, s.from = value, nil
	return s, nil
}

func readerOf(fd int) reader {
	return func(file string) string {
		text, err := readFile(fd, file)
		if err != nil {
			return ""
		}
		return text
	}
}

func (s setting) write(fd int) error {
	err := writeFile(fd, s.file, s.value)
	if s.optional && errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// A FileError is a limit that could not be set.
type FileError struct {
	Dir, File, Value string
	Err              error
}

func (e *FileError) Error() string {
	if e.Value == "" { // it could not even be told what to write
		return fmt.Sprintf("set %s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("set %s to %s: %v", e.File, e.Value, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

func (s setting) failed(dir string, err error) error {
	return &FileError{Dir: dir, File: s.file, Value: s.value, Err: err}
}

// A KeptError tells that the kernel took a value, but made another one of it.
type KeptError struct{ Kept string }

func (e *KeptError) Error() string { return "the kernel kept " + e.Kept }

// An UnsupportedError tells that the version of cgroups that has a limit's controller
// on this machine has nothing like the limit.
type UnsupportedError struct {
	Name string
	V2   bool
}

func (e *UnsupportedError) Error() string {
	version := 1
	if e.V2 {
		version = 2
	}
	return fmt.Sprintf("set %s: cgroup v%d, which has the controller here, has nothing like it", e.Name, version)
}

// verify reads back what the kernel kept.
func (s setting) verify(fd int, dir string) (kept string, err error) {
	kept, err = readFile(fd, s.file)
	switch {
	case err == nil:
	case s.check == checkNumber || s.check == checkNone || s.optional && errors.Is(err, unix.ENOENT):
		return "", nil // some files can only be written
	default:
		return "", s.failed(dir, fmt.Errorf("read it back: %w", err))
	}
	if !s.check.same(s.value, kept) {
		return kept, s.failed(dir, &KeptError{kept})
	}
	if s.check == checkWeight {
		return s.value, nil
	}
	return kept, nil
}

func (c check) same(value, kept string) bool {
	switch c {
	case checkNone:
		return true
	case checkBytes, checkNumber:
		v, errV := parseNumber(value, kernelSuffixes)
		k, errK := parseNumber(kept, "")
		if errV != nil || errK != nil {
			return c == checkNumber && (errV == nil || errors.Is(errV, errSyntax))
		}
		return v == k || k != 0 && k == v&^int64(unix.Getpagesize()-1)
	case checkWeight:
		weight, err := lastDown(kept, nil)
		return err == nil && weight == value
	case checkList:
		v, errV := ParseList(value)
		k, errK := ParseList(kept)
		return errV == nil && errK == nil && maps.Equal(v, k)
	default:
		return value == strings.TrimSpace(kept)
	}
}
