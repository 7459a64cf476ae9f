package cgroup

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Set is any file of a controller's, by the name that it has on v1 or on v2, and what is
// to be in it. The controller is what comes before the first dot of key. Where the
// kernel has the controller on the other version, name and value are those of that one:
// memory.limit_in_bytes is memory.max there. A value that the kernel would misread is
// refused, and where it is a number, and the kernel shows another one afterwards, it was
// not kept: that is an error.
func Set(key, value string) (Limit, error) {
	l, err := Raw(key, value)
	if err != nil {
		return Limit{}, err
	}
	if err := misread(value); err != nil {
		return Limit{}, fmt.Errorf("%s: %w", key, err)
	}
	own := l.v1
	own[0].check = checkNumber
	if key == devicesAllow || key == devicesDeny {
		r, err := ParseDeviceRule(value, key == devicesAllow)
		if err != nil {
			return Limit{}, err
		}
		return Limit{Controller: l.Controller, name: key, v1: own, devices: []DeviceRule{r}}, nil
	}
	if up := upSettings(key, value); up != nil {
		l.v2 = up
	} else if down := downSettings(key, value); down != nil {
		l.v1 = down
	}
	return l, nil
}

// Raw is Set with neither conversion nor a look at the value, which the kernel reads as
// it will.
func Raw(key, value string) (Limit, error) {
	controller, rest, ok := strings.Cut(key, ".")
	bad := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	}
	switch {
	case !ok || controller == "" || rest == "" || strings.ContainsFunc(key, bad):
		return Limit{}, fmt.Errorf("%q is no file of a group: CONTROLLER.NAME, as in memory.max", key)
	case controller == Core && !strings.HasPrefix(rest, "max.") && rest != "pressure" && rest != "freeze":
		return Limit{}, fmt.Errorf("%s is no limit", key)
	case value == "":
		return Limit{}, fmt.Errorf("%s: the value is empty", key)
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return Limit{}, fmt.Errorf("%s: control characters have no place in a value", key)
	}
	s := func() []setting { return []setting{{file: key, value: value, check: checkNone}} }
	return Limit{Controller: controller, name: key, v1: s(), v2: s()}, nil
}

// misread finds numbers that the kernel takes for others: with a leading zero it reads
// them as octal, and what does not fit into 64 bits it cuts off.
func misread(value string) error {
	for word := range strings.FieldsSeq(value) {
		if i := strings.IndexByte(word, '='); i >= 0 {
			word = word[i+1:]
		}
		if _, err := parseNumber(word, kernelSuffixes); err != nil && !errors.Is(err, errSyntax) {
			return err
		}
	}
	return nil
}

// kernelSuffixes are those of the kernel's memparse.
const kernelSuffixes = "KMGTPE"

// A BelowUseError tells that a limit is below what the group uses already: v1 refuses it,
// and v2 would kill.
type BelowUseError struct {
	Dir, File    string
	Limit, InUse int64
}

func (e *BelowUseError) Error() string {
	return fmt.Sprintf("set %s to %d: the group uses %d already", e.File, e.Limit, e.InUse)
}

func (e *BelowUseError) Unwrap() error { return unix.EBUSY }

// inUse names, for the file of a limit, the file of what is in use.
func inUse(file string) string {
	switch file {
	case "memory.max":
		return "memory.current"
	case "memory.limit_in_bytes":
		return "memory.usage_in_bytes"
	case "pids.max":
		return "pids.current"
	}
	return ""
}

// belowUse finds, before anything is written, that a limit is below what the group that
// is open as fd uses. Memory that only holds files the kernel can take back.
func (l Limit) belowUse(fd int, dir string, v2 bool) error {
	now := readerOf(fd)
	for _, s := range l.settings(v2) {
		use := inUse(s.file)
		if use == "" || s.from != nil || s.check == checkNone {
			continue
		}
		limit, err := parseNumber(s.value, kernelSuffixes)
		if err != nil {
			continue // "max"
		}
		n, err := parseNumber(now(use), "")
		if err != nil {
			continue
		}
		if l.Controller == "memory" {
			stat := now("memory.stat")
			if v2 {
				n -= field(stat, "inactive_file") + field(stat, "active_file")
			} else {
				n -= field(stat, "total_inactive_file") + field(stat, "total_active_file")
			}
		}
		if limit < n {
			return &BelowUseError{Dir: dir, File: s.file, Limit: limit, InUse: n}
		}
	}
	return nil
}

// field returns the number after a key in a file of lines "KEY NUMBER", 0 if it is not
// there.
func field(text, key string) int64 {
	for line := range strings.SplitSeq(text, "\n") {
		if k, v, ok := strings.Cut(line, " "); ok && k == key {
			n, _ := parseNumber(v, "")
			return n
		}
	}
	return 0
}
