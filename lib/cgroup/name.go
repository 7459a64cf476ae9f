package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxName is the longest name of a group, without the groups it lies in.
const maxName = 255

// CheckName tells what is wrong with the name of a group: one or more components with
// a slash between them. Nothing leads out of the tree, forges a line of a listing, or
// takes a name that the kernel gives to a file, now or when a controller is enabled:
// those have a prefix with a dot, but for a few of v1.
func CheckName(name string) error {
	if name == "" {
		return errors.New("the name is empty")
	}
	if name[0] == '/' {
		return fmt.Errorf("%q: a name begins below the root of the groups, without a slash", name)
	}
	for c := range strings.SplitSeq(name, "/") {
		if err := checkComponent(c); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	return nil
}

func checkComponent(c string) error {
	prefix, _, dotted := strings.Cut(c, ".")
	switch {
	case c == "":
		return errors.New("a part of the name is empty")
	case c == "." || c == "..":
		return fmt.Errorf("%q leads elsewhere", c)
	case len(c) > maxName:
		return fmt.Errorf("a name has at most %d bytes", maxName)
	case strings.ContainsFunc(c, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("control characters have no place in a name")
	case c == "tasks" || c == "notify_on_release" || c == "release_agent":
		return fmt.Errorf("%q is a file of the kernel's", c)
	case dotted && (prefix == "cgroup" || isKernelPrefix(prefix)):
		return fmt.Errorf("names with %q are for files of the kernel's", prefix+".")
	}
	return nil
}

// isKernelPrefix tells whether files of the kernel's may begin with prefix and a dot:
// the controllers of cgroups(7), and some that came later.
func isKernelPrefix(prefix string) bool {
	switch prefix {
	case "blkio", "cpu", "cpuacct", "cpuset", "debug", "devices", "dmem", "freezer", "hugetlb",
		"io", "irq", "memory", "misc", "net_cls", "net_prio", "perf_event", "pids", "rdma", "schedtune":
		return true
	}
	return false
}

// freshName is a name for a group that nobody has thought of yet. It tells whose the
// group is: the process that made it.
func freshName(try int) string {
	name := "staves-" + strconv.Itoa(unix.Getpid())
	if try > 0 {
		name += "." + strconv.Itoa(try)
	}
	return name
}
