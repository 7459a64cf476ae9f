// Package chain is the engine that all seven tools share: it reads a command line
// into a chain of stages, checks the whole of it before anything is changed, carries
// the stages' steps out in order, and executes the payload.
//
// The words are those of the manual: a stage is one tool's step, a chain is several,
// the payload is the program at the end.
//
// A chain lives in one process, but not always in one life of it: a step that must be
// taken before the Go runtime starts (a user namespace, a fork whose parent only
// waits) is put into a program ([entry.Builder]), the process executes itself, and the chain
// goes on in the next life where it left off. See docs/design/0001-lives.md.
//
// When not to use this package: to isolate a program from Go code. The mechanism
// packages (ns, mount, cgroup, caps, dev, bridge) do that without an argv.
package chain

import (
	"fmt"
	"slices"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// Version is what --version prints.
var Version = "0.1.0"

// A Tool is one of the seven commands, as the registry knows it.
type Tool struct {
	Name    string
	Summary string // what its one step is, for --help
	// Operand is the name of the optional operand ("ROOT"), "" for a tool without.
	Operand string
	// Usage are further synopsis lines, for the admin options.
	Usage []string
	// Notes follow the options in --help: defaults, exit status, examples.
	Notes string
	// New makes an empty stage.
	New func() Stage
	// Guises are the names of other programs that the tool can be started by.
	Guises []Guise
	// Disguise, where there is one, finds the guise that the words alone ask for, ""
	// if they are the tool's own.
	Disguise func(words []string) string
	// Clean does, with patience, what the waiter of a chain could not do with one
	// system call: see [Run.CleanUpWith].
	Clean func(words []string) error
}

// A Stage is one tool's part of a chain: its options, and the steps they ask for.
type Stage interface {
	// Options declares the options, each bound to a field of the stage.
	Options(fs *pflag.FlagSet)
	// Check finds contradictions and missing things, and tells the chain what the
	// stage will provide. It changes nothing in the system.
	Check(c *Chain, link *Link) error
	// Steps returns what the stage does, in order. It is called again in every life of
	// the chain, so it depends on the options and on the chain alone.
	Steps(c *Chain, link *Link) []Step
}

// An Admin is a stage with options that manage something and run no program. Admin
// returns what to do with the words after the options, nil if no such option is given.
type Admin interface {
	Admin(fs *pflag.FlagSet) func(words []string) error
}

// A Returner is a stage that, without a program to run, does its step and returns
// (mount(8) does) instead of running a shell.
type Returner interface {
	Returns(link *Link) bool
}

// An Ahead is a stage with steps that must be taken before those of an earlier stage of
// the chain: what takes the privileges that the earlier one gives up. Those with Do come
// before all others, those with Write before the first of the next life.
type Ahead interface {
	Ahead(c *Chain, link *Link) []Step
}

// A Step is one thing that a stage does: a value, which can be described before it is
// done. Either Do or Write is set.
type Step struct {
	// Call names the step in terms of system calls: "unshare(CLONE_NEWNS)".
	Call string
	// Why says what the step is for, and Man where to read on: "unshare(2)".
	Why, Man string
	// Cases are what the step does beside, or in detail, as far as that is known before.
	// They are for an explanation, and written down only for one.
	Cases func() []Case

	// Write writes down the step's system calls. It is called when the steps of Go
	// before it have been taken, and may look at the system, but not change it: the
	// calls are made later, and those of the steps before it may be made later too.
	Write func(b *entry.Builder) error
	// NextLife tells that the calls must be made before the Go runtime starts: among
	// them is a fork, or one that wants a process of one thread, or one that would
	// disturb a running runtime.
	NextLife bool

	// Final tells that nothing but the payload's execution may come after the calls in this
	// process: they may forbid whatever else a Go program does. Where it is the last of
	// the chain, the two are done in one go.
	Final bool
	// Refusals are what to say, beside the usual, where the payload's execution fails with
	// an errno: the step may be the reason.
	Refusals []Refusal

	// Do takes the step, in Go.
	Do func(r *Run) error
	// Outside tells, of a step with Write, that it concerns this process's place outside
	// only (cgset's fork, and its entering a group), and of one with Do, that it may be
	// called before such steps that come earlier in the chain. Any other order is kept.
	Outside bool

	// Left changes the chain's state as the step does when it is taken.
	Left func(s *State)
}

// A Case is what a step does if a condition holds, or always where there is none: a line for
// each system call or message, as a trace has it but for what is known only then, "...".
type Case struct {
	If    string
	Lines []string
}

// A Refusal is a hint for an errno.
type Refusal struct {
	Errno unix.Errno
	Hint  string
}

// Raw is a step of system calls that write writes down.
func Raw(call, why, man string, write func(b *entry.Builder)) Step {
	return Step{Call: call, Why: why, Man: man, Write: func(b *entry.Builder) error {
		write(b)
		return nil
	}}
}

// OwnMounts is the step of a stage that mounts something for the payload alone, in a
// chain that has no mount namespace yet.
func OwnMounts(unshare func(b *entry.Builder)) Step {
	s := Raw("unshare(CLONE_NEWNS)", "what is mounted for this chain must not appear on the host, and must go when the chain ends", "mount_namespaces(7)", unshare)
	s.Left = func(s *State) { s.Mnt = true }
	return s
}

// A Link is one stage in a chain.
type Link struct {
	Tool    *Tool
	As      string // the name it goes by in messages: the tool's, or a guise's
	Stage   Stage
	Operand string // "" if none was given
	Flags   *pflag.FlagSet

	words []string // its own, as they were given
}

// A Chain is a command line, read and checked.
type Chain struct {
	Links   []*Link
	Payload []string // nil where the last stage does its step and returns
	// PayloadIndex is where in the process's words the payload begins; 0 if it does
	// not stand there (a shell by default).
	PayloadIndex int
	// shell tells that the payload is the shell by default, path what file is executed
	// if it is not the payload's first word, failed the status of a failure of ours, scripts
	// that /bin/sh runs a payload that is in no format that the kernel knows.
	shell   bool
	path    string
	failed  int
	scripts bool
	// State is what earlier stages, of this process or before it, have left.
	State State

	// explain tells that the chain is only described, trace that each step is, when taken.
	explain, trace bool
	// wants are the privileges that an explained chain lacks here.
	wants []string

	// facts are what stages provide, each with the stage's place in Links; before is the
	// place of what came before this process.
	facts []fact
	// ids are the changes of the process's ids, in order.
	ids []ids
	// maps are those of user namespaces that stages make.
	maps map[*Link]IDMaps
	// first is the place of the first stage with a step left for this life.
	first int
}

// Explains tells that the chain is only described: nobody needs privileges for that.
func (c *Chain) Explains() bool { return c.explain }

// Told tells whether somebody reads what the steps are: then a stage may look for more to
// say of them.
func (c *Chain) Told() bool { return c.explain || c.trace }

// Bare tells whether link was given no options at all, but for those that every stage has.
func (l *Link) Bare() bool {
	bare := true
	l.Flags.Visit(func(f *pflag.Flag) { bare = bare && slices.Contains([]string{"plan", "explain", "trace"}, f.Name) })
	return bare
}

// Error is an error with the exit status it leads to. With no Err there is nothing left to
// say: a step has said all, and the chain ends.
type Error struct {
	Status int
	Err    error
}

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Status)
	}
	return e.Err.Error()
}
func (e *Error) Unwrap() error { return e.Err }

// Exit statuses of our own; any other is the payload's.
const (
	StatusFailed        = 125
	StatusNotExecutable = 126
	StatusNotFound      = 127
)
