// Package seccomp says which system calls a process may make: it reads a profile, as
// Docker, Podman and runc write them, compiles it into a program of the kernel's packet
// filter machine, and has that loaded. seccomp(2), bpf(4).
//
// A filter sees a call's number, its six arguments as numbers, and the architecture that
// the call was made by: a 64-bit process can make 32-bit calls, by which a filter that
// looks at numbers alone is circumvented, since each architecture has numbers of its
// own. So a filter here has a part for each of them.
//
// A [Profile] comes from [Parse] or is the [Default]; [Profile.Filter] makes a [Filter] of
// it for one machine and one set of capabilities, which [Filter.Load] loads and
// [Filter.Dump] prints. What a filter answers is what runc and libseccomp have the kernel
// answer with the same profile; see docs/design/0029-seccomp-filters.md.
//
// A filter is for good, for all that the process executes, and can only be added to. It
// cannot look behind a pointer: no path, no socket address.
//
// When not to use this package: to filter a Go program that goes on living. The filter is
// loaded for the calling thread alone, which must go on to execve(2).
package seccomp

//go:generate go run generate.go

import "golang.org/x/sys/unix"

// An Action is what the kernel does with a system call: SECCOMP_RET_* of
// linux/seccomp.h, and for some the data that goes with it.
type Action uint32

// The actions. Those with data are made by [Errno] and [Trace].
const (
	KillThread  Action = unix.SECCOMP_RET_KILL_THREAD
	KillProcess Action = unix.SECCOMP_RET_KILL_PROCESS
	Trap        Action = unix.SECCOMP_RET_TRAP
	Log         Action = unix.SECCOMP_RET_LOG
	Allow       Action = unix.SECCOMP_RET_ALLOW
)

// Errno is the action that fails a call, unmade, with e.
func Errno(e unix.Errno) Action { return unix.SECCOMP_RET_ERRNO | Action(e) }

// Trace is the action that hands a call to the process's tracer, with a message, and
// fails it with ENOSYS where there is none.
func Trace(message uint16) Action { return unix.SECCOMP_RET_TRACE | Action(message) }

// permissive tells whether a call so treated may be made, or is somebody else's to judge.
func (a Action) permissive() bool {
	kind := a & unix.SECCOMP_RET_ACTION_FULL
	return kind == Allow || kind == Log || kind == unix.SECCOMP_RET_TRACE
}

// An Op compares an argument of a system call with a value, both unsigned.
type Op uint8

// The comparisons. MaskedEqual compares those bits of the argument that are set in
// Value with the same bits of ValueTwo.
const (
	NotEqual Op = iota
	Less
	LessEqual
	Equal
	GreaterEqual
	Greater
	MaskedEqual
)

// An Arg is a condition on one of the arguments, 0 to 5. On an architecture of 32 bits
// the lower halves are compared.
type Arg struct {
	Index           uint
	Op              Op
	Value, ValueTwo uint64
}

// A Rule has an action for the system calls with one of the names. With conditions, it
// is for calls that meet them all; where two are about one argument, each is a rule of
// its own, and one is enough, as in runc.
type Rule struct {
	Names  []string
	Action Action
	Args   []Arg
	// Includes say where the rule is one at all, Excludes where it is not.
	Includes, Excludes Where
}

// A Profile is a list of rules, with an action for all that no rule is for. Of two rules
// for the same call, one without conditions counts, and else the first that is met.
type Profile struct {
	Default Action
	// Arches are the architectures that calls may be made by, beside the machine's own;
	// a call by any other kills the thread.
	Arches []Arch
	// Families are the same with choices: of them the one counts that begins with the
	// machine's own.
	Families [][]Arch
	Rules    []Rule
	// Flags are SECCOMP_FILTER_FLAG_* for seccomp(2).
	Flags uint

	raw  []unix.SockFilter
	made *[Foreign][]mention // nil, or the index, made beforehand
}

// Where says on which machines, and with which capabilities, a rule counts.
type Where struct {
	Caps      []string // CAP_SYS_ADMIN and the like
	Arches    []string // amd64, x86 and the like: the machine's own
	MinKernel Version
}

// A Version of Linux: 4.8 is {4, 8}. The zero value stands for none.
type Version [2]int
