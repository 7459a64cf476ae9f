package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The controllers io (v2) and blkio (v1): cgroup-v2.rst "IO", blkio-controller.rst.

// ioKeys are the keys of io.max, with v1's file for each.
var ioKeys = []struct{ key, v1 string }{
	{"rbps", "blkio.throttle.read_bps_device"},
	{"wbps", "blkio.throttle.write_bps_device"},
	{"riops", "blkio.throttle.read_iops_device"},
	{"wiops", "blkio.throttle.write_iops_device"},
}

// IOMax limits what a group reads from and writes to a block device each second, in
// bytes and in operations. dev is MAJOR:MINOR; values are those of [ParseIOMax].
func IOMax(dev string, values []IOValue) Limit {
	l := Limit{Controller: "io", name: "io.max"}
	text := dev
	for _, v := range values {
		text += " " + v.Key + "=" + bytes(v.N)
		for _, k := range ioKeys {
			if k.key == v.Key {
				n := v.N
				if n == Max {
					n = 0
				}
				l.v1 = append(l.v1, setting{file: k.v1, value: dev + " " + strconv.FormatInt(n, 10), check: checkNone})
			}
		}
	}
	l.v2 = []setting{{file: "io.max", value: text, check: checkNone}}
	return l
}

// An IOValue is one of io.max's: rbps, wbps, riops or wiops.
type IOValue struct {
	Key string
	N   int64 // Max for no limit
}

// ParseIOMax reads "DEV:rbps=1M,wiops=100": the device as in [Device], numbers with K, M,
// G, T as in [ParseSize], or max.
func ParseIOMax(s string) (dev string, values []IOValue, err error) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || !strings.Contains(s[i:], "=") {
		return "", nil, fmt.Errorf("%q: DEVICE:rbps=N,wiops=N", s)
	}
	for kv := range strings.SplitSeq(s[i+1:], ",") {
		key, text, _ := strings.Cut(kv, "=")
		v := IOValue{Key: key, N: Max}
		known := false
		for _, k := range ioKeys {
			known = known || k.key == key
		}
		if !known {
			return "", nil, fmt.Errorf("%q is none of rbps, wbps, riops, wiops", key)
		}
		for _, w := range values {
			if w.Key == key {
				return "", nil, fmt.Errorf("%s is given twice", key)
			}
		}
		if text != "max" {
			if v.N, err = ParseSize(text); err != nil {
				return "", nil, err
			}
			if v.N == 0 {
				return "", nil, fmt.Errorf("%s=0: with nothing nothing could run; max lifts a limit", key)
			}
		}
		values = append(values, v)
	}
	dev, err = Device(s[:i])
	return dev, values, err
}

// Device returns the numbers, MAJOR:MINOR, of a block device that is given by them or
// by its path. A partition stands for its whole disk: limits are on those.
func Device(s string) (string, error) {
	if !strings.Contains(s, "/") {
		major, minor, ok := strings.Cut(s, ":")
		if !ok || !digits(major) || !digits(minor) {
			return "", fmt.Errorf("%q is no device: MAJOR:MINOR, or a path", s)
		}
		return s, nil
	}
	var st unix.Stat_t
	if err := unix.Stat(s, &st); err != nil {
		return "", fmt.Errorf("look at %s: %w", s, err)
	}
	rdev := st.Rdev
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
	case unix.S_IFDIR, unix.S_IFREG:
		rdev = st.Dev // what the file lies on
		if unix.Major(rdev) == 0 {
			return "", fmt.Errorf("%s is on no block device", s)
		}
	default:
		return "", fmt.Errorf("%s is no block device", s)
	}
	numbers := fmt.Sprintf("%d:%d", unix.Major(rdev), unix.Minor(rdev))
	// /sys/dev/block/MAJ:MIN is a link to .../sda/sda1 for a partition of sda.
	if _, err := os.Stat("/sys/dev/block/" + numbers + "/partition"); err == nil {
		if link, err := filepath.EvalSymlinks("/sys/dev/block/" + numbers); err == nil {
			if text, err := readFile(unix.AT_FDCWD, filepath.Dir(link)+"/dev"); err == nil {
				return text, nil
			}
		}
	}
	return numbers, nil
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// IOWeight is the group's share of a disk beside its siblings, 1 to 10000; 100 is what a
// group begins with. Where the disk's scheduler is BFQ its own file is used, with the same
// meaning, but it goes to 1000 only: the kernel refuses more.
func IOWeight(n int64) Limit {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return Limit{
		Controller: "io", name: "io.weight",
		v1: []setting{{
			file: "blkio.bfq.weight", value: number(n), check: checkWeight,
			or: &setting{file: "blkio.weight", value: number(n), check: checkWeight},
		}},
		v2: []setting{{
			file: "io.bfq.weight", value: number(n), check: checkWeight,
			or: &setting{file: "io.weight", value: number(n), check: checkWeight},
		}},
	}
}
