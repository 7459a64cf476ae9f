package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Limit is one thing that a group is to be held to: for each version of cgroups, the
// files to write, in order.
type Limit struct {
	Controller string
	v1, v2     []setting
}

// A setting is one file of a controller's, and what to write to it.
type setting struct {
	file, value string
	check       check
	optional    bool // a kernel without the file does without
}

// check is how what the kernel kept is compared with what was written.
type check int

const (
	checkText   check = iota // the same text
	checkBytes               // rounded down to a page
	checkList                // the same set of numbers
	checkNumber              // the same number, if both are one
	checkNone
)

// Memory limits memory to so many bytes, swap included: once they are used up the
// kernel reclaims, then kills. (With a limit on memory alone, a group swaps.)
func Memory(bytes int64) Limit {
	if bytes == Max {
		return Limit{
			"memory",
			[]setting{{"memory.limit_in_bytes", "-1", checkNone, false}, {"memory.memsw.limit_in_bytes", "-1", checkNone, true}},
			[]setting{{"memory.max", "max", checkText, false}, {"memory.swap.max", "max", checkText, true}},
		}
	}
	n := strconv.FormatInt(bytes, 10)
	return Limit{
		"memory",
		[]setting{{"memory.limit_in_bytes", n, checkBytes, false}, {"memory.memsw.limit_in_bytes", n, checkBytes, true}},
		[]setting{{"memory.max", n, checkBytes, false}, {"memory.swap.max", "0", checkText, true}},
	}
}

// CPUs limits CPU time to so many billionths of one CPU ([ParseCPUs]): a quota in each
// period of 100 ms. Below 0.01 the period is stretched, since a quota has at least 1 ms.
func CPUs(nano int64) Limit {
	const period = 100_000 // µs
	if nano == Max {
		return Limit{
			"cpu",
			[]setting{{"cpu.cfs_quota_us", "-1", checkText, false}},
			[]setting{{"cpu.max", "max", checkNone, false}},
		}
	}
	p, q := int64(period), nano/(1e9/period)
	if q < 1000 {
		p, q = 1000*1e9/nano, 1000
	}
	ps, qs := strconv.FormatInt(p, 10), strconv.FormatInt(q, 10)
	return Limit{
		"cpu",
		[]setting{{"cpu.cfs_period_us", ps, checkText, false}, {"cpu.cfs_quota_us", qs, checkText, false}},
		[]setting{{"cpu.max", qs + " " + ps, checkText, false}},
	}
}

// Pids limits the number of processes, threads counted. More than PID_MAX_LIMIT is
// refused by the kernel.
func Pids(n int64) Limit {
	value := "max"
	if n != Max {
		value = strconv.FormatInt(n, 10)
	}
	s := []setting{{"pids.max", value, checkText, false}}
	return Limit{"pids", s, s}
}

// CPUSet limits the group to the CPUs of a list: see [ParseList].
func CPUSet(list string) Limit {
	s := []setting{{"cpuset.cpus", list, checkList, false}}
	return Limit{"cpuset", s, s}
}

// Set is any file of a controller's, by the name that it has on this kernel, and the
// text to write to it as it stands. The controller is what comes before the first dot
// of key. Where the text is a number, and the kernel shows another one afterwards, it
// was not kept: that is an error.
func Set(key, value string) (Limit, error) {
	controller, rest, ok := strings.Cut(key, ".")
	bad := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	}
	switch {
	case !ok || controller == "" || rest == "" || strings.ContainsFunc(key, bad):
		return Limit{}, fmt.Errorf("%q is no file of a group: CONTROLLER.NAME, as in memory.max", key)
	case controller == "cgroup" && !strings.HasPrefix(rest, "max.") && rest != "pressure":
		return Limit{}, fmt.Errorf("%s is no limit", key)
	case value == "":
		return Limit{}, fmt.Errorf("%s: the value is empty", key)
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return Limit{}, fmt.Errorf("%s: control characters have no place in a value", key)
	}
	if _, err := parseNumber(value, kernelSuffixes); err != nil && !errors.Is(err, errSyntax) {
		return Limit{}, fmt.Errorf("%s: %w", key, err)
	}
	s := []setting{{key, value, checkNumber, false}}
	return Limit{controller, s, s}, nil
}

// kernelSuffixes are those of the kernel's memparse.
const kernelSuffixes = "KMGTPE"

// Clash tells which file both limits write, "" if there is none. What a limit writes
// only where it exists another one may write again.
func (l Limit) Clash(m Limit) string {
	for _, a := range [][]setting{l.v1, l.v2} {
		for _, b := range [][]setting{m.v1, m.v2} {
			for _, s := range a {
				for _, t := range b {
					if s.file == t.file && !s.optional && !t.optional {
						return s.file
					}
				}
			}
		}
	}
	return ""
}

func (l Limit) settings(v2 bool) []setting {
	if v2 {
		return l.v2
	}
	return l.v1
}

// apply writes the limit to the group that is open as fd, and reads it back.
func (l Limit) apply(fd int, dir string, v2 bool) error {
	list := l.settings(v2)
	for i, s := range list {
		err := s.write(fd)
		if errors.Is(err, unix.EINVAL) && i+1 < len(list) && list[i+1].write(fd) == nil {
			// Two files that bound each other, in a group that has limits already: which
			// comes first depends on whether they rise or fall.
			err = s.write(fd)
		}
		if err != nil {
			return s.failed(dir, err)
		}
	}
	for _, s := range list {
		if err := s.verify(fd, dir); err != nil {
			return err
		}
	}
	return nil
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
	return fmt.Sprintf("set %s to %s: %v", e.File, e.Value, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

func (s setting) failed(dir string, err error) error {
	return &FileError{Dir: dir, File: s.file, Value: s.value, Err: err}
}

// verify reads back what the kernel kept.
func (s setting) verify(fd int, dir string) error {
	if s.check == checkNone {
		return nil
	}
	kept, err := readFile(fd, s.file)
	switch {
	case err == nil:
	case s.check == checkNumber || s.optional && errors.Is(err, unix.ENOENT):
		return nil // some files can only be written
	default:
		return s.failed(dir, fmt.Errorf("read it back: %w", err))
	}
	if !s.check.same(s.value, kept) {
		return s.failed(dir, fmt.Errorf("the kernel kept %s", kept))
	}
	return nil
}

func (c check) same(value, kept string) bool {
	switch c {
	case checkBytes, checkNumber:
		v, errV := parseNumber(value, kernelSuffixes)
		k, errK := parseNumber(kept, "")
		if errV != nil || errK != nil {
			return c == checkNumber
		}
		return v == k || k != 0 && k == v&^int64(unix.Getpagesize()-1)
	case checkList:
		v, errV := ParseList(value)
		k, errK := ParseList(kept)
		return errV == nil && errK == nil && maps.Equal(v, k)
	default:
		return value == kept
	}
}
