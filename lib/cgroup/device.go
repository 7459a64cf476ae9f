package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Which devices a group may use: v1's controller devices (cgroup-v1/devices.rst); v2
// has none, but asks a BPF program (BPF_PROG_TYPE_CGROUP_DEVICE): see bpf.go.

// A DeviceRule allows or denies access to devices.
type DeviceRule struct {
	Allow        bool
	Type         byte  // 'c', 'b', or 'a' for both
	Major, Minor int64 // -1 for any
	Access       uint8 // AccessRead, AccessWrite and AccessMknod
}

// What is done with a device: BPF_DEVCG_ACC_* of linux/bpf.h.
const (
	AccessMknod = 1 << iota
	AccessRead
	AccessWrite

	accessAll = AccessMknod | AccessRead | AccessWrite
)

const (
	devicesAllow = "devices.allow"
	devicesDeny  = "devices.deny"
)

// ParseDeviceRule reads a rule as v1's files take it, "c 1:3 rwm" or "b 8:* r", where the
// last word is rwm by default; "a" for all devices; or a device by its path, "/dev/null"
// or "/dev/null:rw".
func ParseDeviceRule(s string, allow bool) (DeviceRule, error) {
	r := DeviceRule{Allow: allow, Major: -1, Minor: -1, Access: accessAll}
	bad := func(why string) (DeviceRule, error) {
		return DeviceRule{}, fmt.Errorf("%q is no rule for devices (%s): 'c 1:3 rwm', 'b 8:* r', a, or /dev/null:rw", s, why)
	}
	var access string
	if strings.HasPrefix(s, "/") {
		path, tail, _ := strings.Cut(s, ":")
		access = tail
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			return DeviceRule{}, fmt.Errorf("look at %s: %w", path, err)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFCHR:
			r.Type = 'c'
		case unix.S_IFBLK:
			r.Type = 'b'
		default:
			return bad("it is no device")
		}
		r.Major, r.Minor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	} else {
		f := strings.Fields(s)
		if len(f) == 0 || len(f) > 3 || len(f[0]) != 1 || !strings.Contains("abc", f[0]) {
			return bad("it begins with a, b or c")
		}
		r.Type = f[0][0]
		if len(f) == 1 && r.Type != 'a' {
			return bad("MAJOR:MINOR is missing")
		}
		if len(f) > 1 {
			major, minor, ok := strings.Cut(f[1], ":")
			a, okA := deviceNumber(major, 1<<12)
			b, okB := deviceNumber(minor, 1<<20)
			if !ok || !okA || !okB {
				return bad("numbers are MAJOR:MINOR")
			}
			r.Major, r.Minor = a, b
		}
		if len(f) > 2 {
			access = f[2]
		}
	}
	if access == "" {
		return r, nil
	}
	r.Access = 0
	for _, c := range access {
		i := strings.IndexRune("mrw", c)
		if i < 0 {
			return bad("access is of r, w and m")
		}
		r.Access |= 1 << i
	}
	return r, nil
}

func deviceNumber(s string, end int64) (n int64, ok bool) {
	if s == "*" {
		return -1, true
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && digits(s) && n < end
}

// text is the rule as v1's files take it. Of all devices they know no less than all.
func (r DeviceRule) text() string {
	if r.all() {
		return "a"
	}
	number := func(n int64) string {
		if n < 0 {
			return "*"
		}
		return strconv.FormatInt(n, 10)
	}
	access := ""
	for i, c := range "mrw" {
		if r.Access&(1<<i) != 0 {
			access += string(c)
		}
	}
	return fmt.Sprintf("%c %s:%s %s", r.Type, number(r.Major), number(r.Minor), access)
}

func (r DeviceRule) all() bool {
	return r.Type == 'a' && r.Major < 0 && r.Minor < 0 && r.Access == accessAll
}

// same tells whether two rules are about the same numbers.
func (r DeviceRule) same(q DeviceRule) bool {
	return r.Type == q.Type && r.Major == q.Major && r.Minor == q.Minor
}

// Devices has a group use the devices that rules allow. A later rule overrides those
// before it. What no rule is about is denied if the first rule allows something, and
// allowed if it denies something.
func Devices(rules []DeviceRule) Limit {
	l := Limit{Controller: "devices", name: "the devices", devices: rules}
	add := func(file, text string) {
		l.v1 = append(l.v1, setting{file: file, value: text, check: checkNone})
	}
	if rules[0].Allow {
		add(devicesDeny, "a")
	}
	for _, r := range rules {
		if r.Allow {
			add(devicesAllow, r.text())
		} else {
			add(devicesDeny, r.text())
		}
	}
	return l
}

// onV1 tells whether v1 can express the rules: it keeps one list of exceptions from one
// default, and takes an exception back only by its own numbers.
func onV1(rules []DeviceRule) error {
	byDefault := !rules[0].Allow
	for i, r := range rules {
		if r.all() {
			byDefault = r.Allow
			continue
		}
		if r.Type == 'a' {
			return fmt.Errorf("%s: cgroup v1 has no rule for both kinds of devices but for all: write one for c and one for b", r.text())
		}
		if r.Allow != byDefault {
			continue
		}
		for _, q := range rules[:i] {
			if q.Allow != r.Allow && !q.all() && !q.same(r) && (q.Type == 'a' || q.Type == r.Type) {
				return errors.New(r.text() + ": cgroup v1 takes back an earlier rule only by the very same numbers")
			}
		}
	}
	return nil
}

// combineDevices makes one limit of all that are about devices.
func combineDevices(limits []Limit) []Limit {
	var out []Limit
	at := -1
	for _, l := range limits {
		if l.devices == nil {
			out = append(out, l)
			continue
		}
		if at < 0 {
			at = len(out)
			out = append(out, l)
			continue
		}
		m := &out[at]
		m.v1 = append(m.v1[:len(m.v1):len(m.v1)], l.v1...)
		m.devices = append(m.devices[:len(m.devices):len(m.devices)], l.devices...)
	}
	return out
}
