// Package landlock takes access to files, the network and other processes away from a
// process, without privilege, and for good: landlock(7), Linux 5.13.
//
// A ruleset handles certain rights: from then on they are refused, but for what its rules
// allow, beneath a directory or for a port. What is not handled stays as it was, and what
// is open stays open. Rulesets add up: a later one can only take more away.
//
// [Ruleset.Handle] and [Ruleset.Allow] read the words that setpriv(1) has for it,
// [Ruleset.Fit] fits the ruleset to the kernel, and [Fitted.Restrict] puts it in force.
// Rights that a kernel does not know cannot be taken away; which it knows goes by the
// version of its interface ([ABI]).
//
// When not to use this package: to restrict a Go program that goes on living. Only the
// calling thread is restricted, which must go on to execve(2).
package landlock

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Kind is what rights are about.
type Kind uint8

// The kinds, by their names in a ruleset's words.
const (
	FS Kind = iota
	Net
	Scope
	kinds
)

var kindNames = [...]string{FS: "fs", Net: "net", Scope: "scope"}

func (k Kind) String() string { return kindNames[k] }

// ParseKind reads a kind's name.
func ParseKind(name string) (Kind, error) {
	k := slices.Index(kindNames[:], name)
	if k < 0 {
		return 0, fmt.Errorf("%q is none of %s", name, strings.Join(kindNames[:], ", "))
	}
	return Kind(k), nil
}

// Kinds are those that a version of the interface knows rights of.
func Kinds(abi int) []Kind {
	var known []Kind
	for k := range kinds {
		if len(Known(k, abi)) > 0 {
			known = append(known, k)
		}
	}
	return known
}

// A Right is something that can be taken away (linux/landlock.h).
type Right struct {
	Kind Kind
	Name string
	Bit  uint64
	// ABI is the first version of the interface that knows it.
	ABI int
	// Help is what it means, in a few words.
	Help string
	// file: it can be given for a file, not for a directory alone
	file bool
}

// Rights are all that these tools know.
var Rights = [...]Right{
	{FS, "execute", 1 << 0, 1, "execute a file", true},
	{FS, "write-file", 1 << 1, 1, "open a file for writing", true},
	{FS, "read-file", 1 << 2, 1, "open a file for reading", true},
	{FS, "read-dir", 1 << 3, 1, "open a directory, list it", false},
	{FS, "remove-dir", 1 << 4, 1, "remove or rename an empty directory", false},
	{FS, "remove-file", 1 << 5, 1, "unlink or rename a file", false},
	{FS, "make-char", 1 << 6, 1, "make a character device", false},
	{FS, "make-dir", 1 << 7, 1, "make a directory", false},
	{FS, "make-reg", 1 << 8, 1, "make a regular file", false},
	{FS, "make-sock", 1 << 9, 1, "make a UNIX socket", false},
	{FS, "make-fifo", 1 << 10, 1, "make a named pipe", false},
	{FS, "make-block", 1 << 11, 1, "make a block device", false},
	{FS, "make-sym", 1 << 12, 1, "make a symbolic link", false},
	{FS, "refer", 1 << 13, 2, "link or rename a file into another directory", false},
	{FS, "truncate", 1 << 14, 3, "truncate a file", true},
	{FS, "ioctl-dev", 1 << 15, 5, "call ioctl on a device", true},
	{FS, "resolve-unix", 1 << 16, 9, "connect to a UNIX socket with a path", true},
	{Net, "bind-tcp", 1 << 0, 4, "bind a TCP socket", false},
	{Net, "connect-tcp", 1 << 1, 4, "connect a TCP socket", false},
	{Net, "bind-udp", 1 << 2, 10, "bind a UDP socket", false},
	{Net, "connect-send-udp", 1 << 3, 10, "connect a UDP socket, or send by it", false},
	{Scope, "abstract-unix-socket", 1 << 0, 6, "connect to abstract UNIX sockets of others", false},
	{Scope, "signal", 1 << 1, 6, "send signals to others", false},
}

// Words for several rights: what one wants to give for a directory or a port.
const (
	readOnly  = "ro"
	readWrite = "rw" // all
)

// access are rights of one kind: bits, or all that the kernel has.
type access struct {
	bits uint64
	all  bool
}

// rule allows rights beneath a path, or for a port.
type rule struct {
	kind   Kind
	rights access
	path   string
	port   uint64
	// loose: the rights were not named one by one, so that a file gets those that it can have
	loose bool
}

// A Ruleset says what is refused, and what is allowed all the same. The zero value
// refuses nothing.
type Ruleset struct {
	handled [kinds]access
	rules   []rule
}

// Empty tells whether nothing is refused.
func (r *Ruleset) Empty() bool { return r.handled == [kinds]access{} }

// Handle reads what is to be refused, as "fs", "net:connect-tcp" or "scope:signal,...": a
// kind, with rights of it or, without, with all that the kernel knows (setpriv(1),
// --landlock-access).
func (r *Ruleset) Handle(text string) error {
	name, list, _ := strings.Cut(text, ":")
	k, err := ParseKind(name)
	if err != nil {
		return err
	}
	rights, _, err := parseRights(k, list)
	r.handled[k].merge(rights)
	return err
}

// Allow reads an exception, as "path-beneath:read-file,execute:/usr" or
// "net-port:connect-tcp:443"; without rights it is for all that are refused (setpriv(1),
// --landlock-rule).
func (r *Ruleset) Allow(text string) error {
	name, rest, _ := strings.Cut(text, ":")
	switch name {
	case "path-beneath":
		return r.allow(FS, rest)
	case "net-port":
		return r.allow(Net, rest)
	}
	return fmt.Errorf("%q is neither path-beneath nor net-port", name)
}

// Restrict reads both in one, as "fs:ro:/usr", "net:connect-tcp:443", "fs", "scope:signal":
// all rights of the kind are refused, but these.
func (r *Ruleset) Restrict(text string) error {
	name, rest, more := strings.Cut(text, ":")
	if !more || name == kindNames[Scope] {
		return r.Handle(text)
	}
	k, err := ParseKind(name)
	if err != nil {
		return err
	}
	r.handled[k].merge(access{all: true})
	return r.allow(k, rest)
}

func (r *Ruleset) allow(k Kind, text string) error {
	list, arg, ok := strings.Cut(text, ":")
	if !ok || arg == "" {
		return fmt.Errorf("%q: RIGHTS:%s expected", text, [...]string{FS: "PATH", Net: "PORT"}[k])
	}
	rights, loose, err := parseRights(k, list)
	if err != nil {
		return err
	}
	n := rule{kind: k, rights: rights, loose: loose}
	if k == FS {
		n.path = arg
	} else if n.port, err = strconv.ParseUint(arg, 10, 16); err != nil {
		return fmt.Errorf("%q is no port", arg)
	}
	r.rules = append(r.rules, n)
	return nil
}

// parseRights reads a list of rights; loose tells that none was named by its own name.
func parseRights(k Kind, list string) (a access, loose bool, err error) {
	if list == "" {
		return access{all: true}, true, nil
	}
	loose = true
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(Rights[:], func(r Right) bool { return r.Kind == k && r.Name == name })
		switch {
		case i >= 0:
			a.bits |= Rights[i].Bit
			loose = false
		case k == FS && name == readOnly:
			a.bits |= 1<<0 | 1<<2 | 1<<3 // execute, read-file, read-dir
		case k != Scope && name == readWrite:
			a.all = true
		default:
			return a, false, fmt.Errorf("%q is no right of %s: %s", name, k, strings.Join(Known(k, 1<<30), " "))
		}
	}
	return a, loose, nil
}

func (a *access) merge(b access) {
	a.bits |= b.bits
	a.all = a.all || b.all
}

// Known are the names of the rights of a kind that a version of the interface knows.
func Known(k Kind, abi int) []string {
	var names []string
	for _, r := range Rights {
		if r.Kind == k && r.ABI <= abi {
			names = append(names, r.Name)
		}
	}
	return names
}

const (
	createVersion = 1 << 0 // LANDLOCK_CREATE_RULESET_VERSION
	createErrata  = 1 << 1 // LANDLOCK_CREATE_RULESET_ERRATA
)

// ABI returns the version of the kernel's interface, from 1 on. The error is ENOSYS for a
// kernel without Landlock, EOPNOTSUPP for one that was started without it.
func ABI() (int, error) { return create(createVersion) }

// Errata returns the numbers of the errata of the interface that the kernel has mended.
func Errata() []int {
	bits, err := create(createErrata)
	var list []int
	for n := 1; err == nil && bits != 0; n, bits = n+1, bits>>1 {
		if bits&1 != 0 {
			list = append(list, n)
		}
	}
	return list
}

func create(flags uintptr) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, flags)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
