// Package limits sets what a process may use and how it is treated: resource limits,
// nice value, what the out-of-memory killer thinks of it, file mode mask, the signal at
// its parent's death. prlimit(2), setpriority(2), proc(5), umask(2), prctl(2).
//
// All of it is written into a program of system calls ([entry.Builder]), is inherited by
// children, and stays over an execve.
//
// When not to use this package: to limit more than one process at a time. The limits here
// are each process's, or count per user; package cgroup's hold for a group as a whole.
package limits

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// A Limit is a resource limit: what the process has, and how far it may raise that by
// itself, in the resource's own unit (getrlimit(2)).
type Limit struct {
	Resource   int // RLIMIT_NOFILE
	Soft, Hard uint64
}

// Unlimited is the value of no limit.
const Unlimited = uint64(unix.RLIM_INFINITY)

// resources are the names by number, RLIMIT_CPU is 0 (asm-generic/resource.h, which
// amd64 and arm64 use).
var resources = [...]string{
	"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as",
	"locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime",
}

// ParseLimit reads NAME=SOFT:HARD; NAME=N sets both. A number can be "unlimited".
func ParseLimit(text string) (Limit, error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return Limit{}, fmt.Errorf("write NAME=SOFT or NAME=SOFT:HARD")
	}
	var l Limit
	if l.Resource = slices.Index(resources[:], strings.ToLower(name)); l.Resource < 0 {
		return l, fmt.Errorf("%q is no resource: they are %s", name, strings.Join(resources[:], " "))
	}
	soft, hard, both := strings.Cut(value, ":")
	var err error
	if l.Soft, err = parseValue(soft); err != nil {
		return l, err
	}
	if l.Hard = l.Soft; both {
		if l.Hard, err = parseValue(hard); err != nil {
			return l, err
		}
	}
	if l.Soft > l.Hard {
		return l, fmt.Errorf("the soft limit %s is above the hard one, %s", soft, hard)
	}
	return l, nil
}

func parseValue(text string) (uint64, error) {
	if text == "unlimited" || text == "infinity" {
		return Unlimited, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no number, and not 'unlimited'", text)
	}
	return n, nil
}

// String writes l as ParseLimit reads it.
func (l Limit) String() string {
	text := func(n uint64) string {
		if n == Unlimited {
			return "unlimited"
		}
		return strconv.FormatUint(n, 10)
	}
	s := l.Name() + "=" + text(l.Soft)
	if l.Hard != l.Soft {
		s += ":" + text(l.Hard)
	}
	return s
}

// Name is the resource's name.
func (l Limit) Name() string { return resources[l.Resource] }

// Raises tells whether setting l raises the hard limit of this process, which takes
// CAP_SYS_RESOURCE in the initial user namespace.
func (l Limit) Raises() (bool, error) {
	var now unix.Rlimit
	if err := unix.Getrlimit(l.Resource, &now); err != nil {
		return false, fmt.Errorf("read the limit %s: %w", l.Name(), err)
	}
	return l.Hard > now.Max, nil
}

// Set sets the limit, and reads it back.
func (l Limit) Set(b *entry.Builder) {
	if l.Resource == unix.RLIMIT_NOFILE {
		keepNofile()
	}
	want := unix.Rlimit{Cur: l.Soft, Max: l.Hard}
	b.Do("set the limit "+l.String(), unix.SYS_PRLIMIT64, 0, l.Resource, entry.Struct(&want), 0)
	is := &entry.Buffer{Size: 16}
	what := "read back: the limit " + l.Name() + " is not " + l.String()
	b.Do(what, unix.SYS_PRLIMIT64, 0, l.Resource, 0, is)
	b.Check(what, entry.Field{Buffer: is}, uintptr(l.Soft), ^uintptr(0), unix.EPERM)
	b.Check(what, entry.Field{Buffer: is, Offset: 8}, uintptr(l.Hard), ^uintptr(0), unix.EPERM)
}

// keepNofile has the next execve of this process leave the limit on open files as it is.
// The Go runtime has raised it for itself, and puts it back at execve, unless somebody has
// set it by package syscall.
func keepNofile() {
	var now syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now) == nil {
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &now) // as it is: nothing that could fail
	}
}
