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
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/diag"
	"staves/lib/entry"
	"staves/lib/probe"
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
	// Refusal is what to say, beside the usual, where the payload's execution fails with an
	// errno: the step may be the reason.
	Refusal Refusal

	// Do takes the step, in Go.
	Do func(r *Run) error
	// Outside tells, of a step with Write, that it concerns this process's place outside
	// only (cgset's fork, and its entering a group), and of one with Do, that it may be
	// called before such steps that come earlier in the chain. Any other order is kept.
	Outside bool

	// Left changes the chain's state as the step does when it is taken.
	Left func(s *State)
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

// A Link is one stage in a chain.
type Link struct {
	Tool    *Tool
	As      string // the name it goes by in messages: the tool's, or a guise's
	Stage   Stage
	Operand string // "" if none was given
	Flags   *pflag.FlagSet

	words []string // its own, as they were given
}

// A Fact is something that a stage provides to those after it.
type Fact string

// The facts of a chain so far.
const (
	UserNS  Fact = "user namespace"
	MountNS Fact = "mount namespace"
	PidNS   Fact = "pid namespace"
	NetNS   Fact = "network namespace"
	Hosts   Fact = "hosts"  // a hosts(5) of the container's own
	Resolv  Fact = "resolv" // a resolv.conf(5), likewise
	// CgroupNS: /proc/self/cgroup and new mounts of cgroupfs begin at the process's group.
	CgroupNS Fact = "cgroup namespace"
	Root     Fact = "root" // a directory tree to pivot to
	Pivoted  Fact = "pivot"
	Devices  Fact = "devices" // a /dev with nodes
	// Waiter: a parent that cleans up when its child ends.
	Waiter Fact = "waiter"
	// MappedRoot: in the user namespace, the process is root.
	MappedRoot Fact = "mapped root"
)

// A Chain is a command line, read and checked.
type Chain struct {
	Links   []*Link
	Payload []string // nil where the last stage does its step and returns
	// PayloadIndex is where in the process's words the payload begins; 0 if it does
	// not stand there (a shell by default).
	PayloadIndex int
	// shell tells that the payload is the shell by default, path what file is executed
	// if it is not the payload's first word, failed the status of a failure of ours.
	shell  bool
	path   string
	failed int
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

const before = -1

// fact is something that the stage at a place provides.
type fact struct {
	what  Fact
	place int
}

// Provide records that link provides f.
func (c *Chain) Provide(f Fact, link *Link) {
	c.facts = append(c.facts, fact{f, c.place(link)})
	if f == MappedRoot {
		c.SetIDs(link, 0, 0)
	}
}

// last is the place of the last stage before a place that provides f.
func (c *Chain) last(f Fact, end int) (place int, ok bool) {
	for _, k := range c.facts {
		if k.what == f && k.place < end && (!ok || k.place > place) {
			place, ok = k.place, true
		}
	}
	return place, ok
}

// Explains tells that the chain is only described: nobody needs privileges for that.
func (c *Chain) Explains() bool { return c.explain }

// Told tells whether somebody reads what the steps are: then a stage may look for more to
// say of them.
func (c *Chain) Told() bool { return c.explain || c.trace }

// Has tells whether a stage before link, or what came before this process, provides f.
func (c *Chain) Has(f Fact, link *Link) bool {
	_, ok := c.last(f, c.place(link))
	return ok
}

// Made tells whether a stage of this chain before link provides f.
func (c *Chain) Made(f Fact, link *Link) bool {
	place, ok := c.last(f, c.place(link))
	return ok && place != before
}

// Provides tells whether link itself provides f.
func (c *Chain) Provides(f Fact, link *Link) bool {
	return slices.Contains(c.facts, fact{f, c.place(link)})
}

// Adjacent tells whether the stage of this chain right before link provides f.
func (c *Chain) Adjacent(f Fact, link *Link) bool {
	place, ok := c.last(f, c.place(link))
	return ok && place != before && place == c.place(link)-1
}

// Past tells whether the stage before link that provides f has taken its steps, in an
// earlier life of the process.
func (c *Chain) Past(f Fact, link *Link) bool {
	place, ok := c.last(f, c.place(link))
	return ok && place < c.first
}

// ids are what a stage makes of the process's effective ids.
type ids struct{ place, uid, gid int }

// SetIDs records that the stages after link go on with these effective ids.
func (c *Chain) SetIDs(link *Link, uid, gid int) {
	c.ids = append(c.ids, ids{c.place(link), uid, gid})
}

// Euid is the effective user id with which link's steps are taken.
func (c *Chain) Euid(link *Link) int { return c.idsAt(link).uid }

// Egid is the effective group id with which link's steps are taken.
func (c *Chain) Egid(link *Link) int { return c.idsAt(link).gid }

// idsAt are the ids after the last change before link.
func (c *Chain) idsAt(link *Link) ids {
	now := ids{before, c.State.Euid, c.State.Egid}
	for _, i := range c.ids {
		if i.place >= now.place && i.place < c.place(link) {
			now = i
		}
	}
	return now
}

// InUserNS tells whether link's steps are taken in a user namespace that is not the
// machine's own.
func (c *Chain) InUserNS(link *Link) bool {
	return c.Has(UserNS, link)
}

func (c *Chain) place(link *Link) int { return slices.Index(c.Links, link) }

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

// Main runs a tool with the words of this process: the one called name, or where that is
// "", the one that this process is called by. It does not return.
func Main(tools []*Tool, name string) {
	os.Exit(run(tools, name))
}

func run(tools []*Tool, name string) int {
	called := name
	words := os.Args[min(1, len(os.Args)):] // before Linux 5.18 there may be no words at all
	if len(os.Args) > 0 {
		called = filepath.Base(os.Args[0])
	}
	if name == "" {
		name = called
	}
	p := parser{tools: tools}
	tool, guise := p.guise(p.tool(name), called, words)
	c := &Chain{failed: StatusFailed}
	fail := c.fail
	if tool == nil {
		return fail(name, fmt.Errorf("not one of %s", strings.Join(p.names(), ", ")))
	}
	if entry.Secure() {
		return fail(name, diag.WithHint(errors.New("refusing to run setuid or with file capabilities"),
			"remove them (chmod u-s, setcap -r); an ordinary user needs no more than a user namespace: nsrun -U -r"))
	}
	resume := entry.Resumed()
	if resume != nil && resume.Cleaner != nil {
		t := p.tool(resume.Cleaner[0])
		if t == nil || t.Clean == nil {
			return fail(name, fmt.Errorf("clean up for %q: not one of ours", resume.Cleaner[0]))
		}
		if err := t.Clean(resume.Cleaner[1:]); err != nil {
			diag.Print(os.Stderr, t.Name, err)
		}
		entry.Die(resume.Status)
	}

	first := resume == nil || resume.Prepared
	if first {
		c.State = firstState()
	} else if err := c.decode(resume.State); err != nil {
		return fail(name, err)
	} else if resume.Forked {
		c.State.Clean = nil // the waiter has it in charge
	}
	read := p.parse
	if guise != nil {
		read = func(c *Chain, t *Tool, words []string) (*Link, error) { return p.disguised(c, t, guise, words) }
	}
	if len(c.State.Plan) > 0 { // of an earlier life
		read = func(c *Chain, _ *Tool, words []string) (*Link, error) { return p.parsePlanned(c, words) }
	}
	link, err := read(c, tool, words)
	piped := first && (guise == nil || guise.Name == tool.Name)
	if err != nil {
		status := fail(link.As, err)
		if piped {
			p.pass(&plan{failed: link.As})
		}
		return status
	}
	if p.act != nil {
		status, err := p.act()
		if err == nil {
			return status
		}
		if failed := fail(link.As, err); status == 0 {
			status = failed
		}
		return status
	}
	if p.help != nil {
		printHelp(os.Stdout, p.help)
		return 0
	}
	if p.version {
		printVersion(os.Stdout, name)
		return 0
	}
	if p.admin != nil {
		if err := p.admin(); err != nil {
			return fail(name, err)
		}
		return 0
	}
	if piped && (isPipe(0) || isPipe(1) || p.plan != "") {
		whole, done, err := p.pipeline(c, tool, words)
		if err != nil {
			status := fail(saidBy(link.As, err), err)
			if !done {
				p.pass(&plan{failed: link.As})
			}
			return status
		}
		if done {
			return 0
		}
		c = whole
	}
	c.explain, c.trace = p.explain, p.trace || os.Getenv(traceVar) != "" && os.Getenv(traceVar) != "0"
	if first {
		if c.State.Mnt {
			c.facts = append(c.facts, fact{MountNS, before})
		}
		if !probe.InitialUserNamespace() {
			c.facts = append(c.facts, fact{UserNS, before})
		}
		if !probe.InitialPidNamespace() {
			c.facts = append(c.facts, fact{PidNS, before})
		}
		if c.State.Net != "" {
			c.facts = append(c.facts, fact{NetNS, before})
			for _, word := range strings.Split(c.State.Net, ",")[1:] {
				c.facts = append(c.facts, fact{Fact(word), before})
			}
		}
		if c.State.Root != "" {
			c.facts = append(c.facts, fact{Root, before})
		}
		for _, l := range c.Links {
			err := l.Stage.Check(c, l)
			if c.explain && errors.Is(err, unix.EPERM) {
				c.wants = append(c.wants, l.As+": "+err.Error())
				continue // who only reads about it needs no privilege
			}
			if err != nil {
				return fail(l.As, err)
			}
		}
	}
	if c.explain {
		if _, err := os.Stdout.WriteString(c.explanation()); err != nil {
			return fail(name, fmt.Errorf("write the explanation: %w", err))
		}
		return 0
	}
	return newRun(c, resume).all()
}

// fail reports err and returns the exit status that it stands for.
func (c *Chain) fail(tool string, err error) int {
	var e *Error
	is := errors.As(err, &e)
	if !is || e.Err != nil {
		diag.Print(os.Stderr, tool, err)
	}
	if is {
		return e.Status
	}
	return c.failed
}

// PathError says what failed on which path, with the errno kept.
func PathError(what, path string, err error) error {
	return fmt.Errorf("%s %s: %w", what, path, err)
}

// Signal reads a signal's name, with or without SIG, or its number.
func Signal(name string) (unix.Signal, error) {
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= 64 {
		return unix.Signal(n), nil
	}
	if s := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")); s != 0 {
		return s, nil
	}
	return 0, fmt.Errorf("%q is no signal", name)
}

// OwnMounts is the step of a stage that mounts something for the payload alone, in a
// chain that has no mount namespace yet.
func OwnMounts(unshare func(b *entry.Builder)) Step {
	s := Raw("unshare(CLONE_NEWNS)", "what is mounted for this chain must not appear on the host, and must go when the chain ends", "mount_namespaces(7)", unshare)
	s.Left = func(s *State) { s.Mnt = true }
	return s
}

// NeedAdmin finds, before anything is changed, that link may not mount: neither is the
// caller root, nor does the chain make a user namespace before.
func (c *Chain) NeedAdmin(link *Link) error {
	if c.explain || c.Made(UserNS, link) || probe.Capable(unix.CAP_SYS_ADMIN) {
		return nil
	}
	err := fmt.Errorf("change mounts: %w", unix.EPERM)
	switch {
	case unix.Geteuid() == 0:
		return err
	case c.Payload == nil:
		return diag.WithHint(err, "to mount it where others see it needs root; for one program a user namespace does:",
			"nsrun -U -r -m -- "+link.Tool.Name+" ... "+link.Operand+" -- PROGRAM")
	}
	return diag.WithHint(err, "this needs root; as an ordinary user put namespaces before it: nsrun -U -r -m -p -- "+link.Tool.Name+" ...")
}

// apart is a hint for where word, the first after link's options, makes no sense: it may
// be the value of an option whose value is optional, and so wants a "=".
func (l *Link) apart(word string) (hint string) {
	l.Flags.Visit(func(f *pflag.Flag) {
		if f.NoOptDefVal != "" && f.NoOptDefVal != "true" && f.Value.String() == f.NoOptDefVal {
			hint = fmt.Sprintf("is it the value of --%s? Then write: --%[1]s=%s", f.Name, word)
		}
	})
	return hint
}

// CheckRoot verifies that what [State].Root names, if it comes from the environment, can be
// what an overlay has left: a mount, and not the one that is the root already.
func (c *Chain) CheckRoot(link *Link) error {
	if !c.Has(Root, link) || c.Made(Root, link) {
		return nil
	}
	var top, root unix.Statx_t
	const mask = unix.STATX_TYPE | unix.STATX_MNT_ID
	err := unix.Statx(unix.AT_FDCWD, "/", 0, mask, &top)
	if err == nil {
		err = unix.Statx(unix.AT_FDCWD, c.State.Root, 0, mask, &root)
	}
	switch {
	case err != nil:
	case root.Mode&unix.S_IFMT != unix.S_IFDIR:
		err = unix.ENOTDIR
	case root.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 || root.Mnt_id == top.Mnt_id:
		err = errors.New("no root that overlay left here")
	}
	if err == nil {
		return nil
	}
	return diag.WithHint(PathError("use "+rootVar, c.State.Root, err), "the variable is left over from another chain: unset "+rootVar)
}

// OperandError is the error for an operand that cannot be used: a bare word may have
// been meant as the program.
func OperandError(link *Link, err error) error {
	err = PathError("use", link.Operand, err)
	if hint := link.apart(link.Operand); hint != "" {
		return diag.WithHint(err, hint)
	}
	if errors.Is(err, unix.ENOENT) && !strings.Contains(link.Operand, "/") {
		return diag.WithHint(err, fmt.Sprintf("the first word is taken for %s's %s; to run a program of that name write: %s -- %s",
			link.Tool.Name, link.Tool.Operand, link.Tool.Name, link.Operand))
	}
	return err
}
