package entry

import (
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Fork clones the process. The parent stays behind as a waiter: it never starts the
// Go runtime, holds few descriptors, passes signals on, stops and goes on as its child
// does, and ends as its child ended, by the same exit code or the same signal. The child
// goes on with the program.
type Fork struct {
	// Flags are clone(2)'s CLONE_NEW flags.
	Flags uintptr
	// Deathsig is sent to the child when the waiter dies, 0 for none.
	Deathsig unix.Signal
	// Init tells that [Builder.Init] comes later in the program.
	Init bool
	// Session tells that the child will begin a session of its own, where the keys of
	// the terminal do not reach it: the waiter passes those on as well.
	Session bool
	// Detach has the waiter end, with status 0, once the child's program has executed
	// another one.
	Detach bool
	// Deaf has the waiter keep SIGINT and SIGTERM to itself, and die of any other signal,
	// as unshare(1) does.
	Deaf bool
	// Parent is a pidfd: when that process ends, the child is killed. 0 for none.
	Parent Reg
	// Terminal is the master of a pseudo-terminal, 0 for none: the waiter copies between
	// it and its own standard input and output, and has it follow the terminal's size.
	Terminal Reg
	// Reports are made when the child says [Builder.Hello].
	Reports Reports
	// Remove are directories that the waiter removes when the child has ended.
	Remove []string
	// RemoveFile is a file that it removes, "" for none.
	RemoveFile string
	// Cleaner, where a directory cannot be removed, names the tool that takes over in a
	// new start of this program, with these words: see [Resume].
	Cleaner []string
	// Always has the cleaner take over whatever comes.
	Always bool
	// Hold are descriptors that the waiter keeps open for as long as it lives: locks.
	Hold []int
}

// Reports are what a waiter tells a supervisor, each through a descriptor; 0 for none.
type Reports struct {
	// PidFile gets the child's pid, as a line. Waiter and init keep it open, and so the
	// flock(2) on it.
	PidFile Reg
	// Info gets one JSON object, the child's pid and its namespaces, and is closed.
	Info Reg
	// Status gets the same, and at the end another one with the exit code.
	Status Reg
}

// Hello has the child wait until the waiter of the last fork has made its reports, and
// has seen to it that the child will not outlive it, where that was asked for.
func (b *Builder) Hello(what string) { b.op(kindHello, what) }

// Hello tells whether a program with this fork must have a [Builder.Hello].
func (f *Fork) Hello() bool {
	return f.Deathsig != 0 && !f.Init || f.Terminal != 0 || f.Reports != Reports{}
}

// Fork forks. If the last fork of the program is one into no new namespace, and only
// movable calls came after it, that one is made to be this one, which saves a process:
// the movable calls are then made in the new namespaces.
func (b *Builder) Fork(what string, f Fork) {
	last := b.mergeable(&f)
	if last == nil {
		last = &forkOp{place: b.place()}
		b.op(kindFork, what)
		b.forks, b.fixed = append(b.forks, last), false
	} else if b.trace {
		b.Tell("the clone(2) above does that too")
	}
	if b.note != "" { // it is made to be this one
		b.line(last.place, b.note)
		b.note = ""
	}
	op := &b.ops[last.place]
	op.label, op.tool = uint32(b.text(what)), uint32(b.text(b.Tool)) // if it fails, it is for this one's flags
	// From the inside out: what was made last is removed first.
	outer := last.after
	last.after = nil
	remove := func(path string, flag int) {
		op := operation{kind: kindCall, nr: unix.SYS_UNLINKAT, allow: uint16(unix.ENOENT)}
		for i, arg := range []any{unix.AT_FDCWD, path, flag} {
			b.arg(&op, i, arg)
		}
		last.after = append(last.after, op)
	}
	if f.RemoveFile != "" {
		remove(f.RemoveFile, 0)
	}
	for _, dir := range f.Remove {
		remove(dir, unix.AT_REMOVEDIR)
	}
	last.after = append(last.after, outer...)
	cleaner := slices.Clone(f.Cleaner)
	if last.Cleaner != nil && cleaner != nil {
		cleaner = append(cleaner, last.Cleaner[1:]...)
	} else if cleaner == nil {
		cleaner = last.Cleaner
	}
	f.Always = f.Always || last.Always
	f.Hold = slices.Concat(last.Hold, f.Hold)
	last.Fork, last.Cleaner = f, cleaner
}

// forkOp is a fork of the program.
type forkOp struct {
	Fork
	place int
	after []operation // the waiter's
}

// mergeable returns the last fork if f can be made in its place.
func (b *Builder) mergeable(f *Fork) *forkOp {
	if len(b.forks) == 0 || b.fixed {
		return nil
	}
	last := b.forks[len(b.forks)-1]
	switch {
	case last.Flags != 0 || last.Deathsig != 0 || last.Session || last.Detach || f.Detach || last.Parent != 0 || last.Hello():
		return nil
	case f.Cleaner != nil && last.Cleaner != nil && f.Cleaner[0] != last.Cleaner[0]:
		return nil // two tools' clean-ups: two waiters
	}
	return last
}

// Init forks the first process of a pid namespace: the parent stays as its init, which
// reaps, passes signals on, and ends when its child does.
func (b *Builder) Init(what string) { b.op(kindInit, what) }

// CloseRange closes the descriptors from first to last, but for one that this package
// has to tell a waiter by that the program was executed: that is closed on execve.
func (b *Builder) CloseRange(what string, first, last uint) {
	op := b.op(kindClose, what)
	op.args[0], op.args[1] = uint64(first), uint64(last)
}

// A forkSpec is what premain knows of a fork: whole words, in the program's strings.
type forkSpec struct {
	flags, deathsig uint64
	features        uint64
	after, afterLen uint64 // the waiter's operations
	// The cleaner's file and environment, and where in that the status goes; 0 for none.
	cleanerFile, cleanerEnv, cleanerStatus uint64
	hold                                   uint64 // a list of descriptors, after how many they are; 0 for none
	// Registers; 0 for none.
	parent, terminal, pidFile, info, status uint64
}

// What a forkSpec's features are.
const (
	featInit = 1 << iota
	featSession
	featDetach
	featHello
	featAlways
	featDeaf
)

// spec writes down what premain is to know of f, whose own operations begin at after.
func (b *Builder) spec(f *forkOp, after int) *forkSpec {
	s := &forkSpec{
		flags: uint64(f.Flags), deathsig: uint64(f.Deathsig), after: uint64(after), afterLen: uint64(len(f.after)),
		parent: uint64(f.Parent), terminal: uint64(f.Terminal),
		pidFile: uint64(f.Reports.PidFile), info: uint64(f.Reports.Info), status: uint64(f.Reports.Status),
	}
	for bit, on := range map[uint64]bool{
		featInit: f.Init, featSession: f.Session, featDetach: f.Detach, featHello: f.Fork.Hello(),
		featAlways: f.Always, featDeaf: f.Deaf,
	} {
		if on {
			s.features |= bit
		}
	}
	if f.Cleaner != nil {
		head := afterVar + letters(uint64(unix.Getpid())) + ":"
		s.cleanerFile = b.text(selfExe)
		s.cleanerEnv = b.room(head + strings.Repeat("a", 8) + ":" + joinWords(f.Cleaner))
		s.cleanerStatus = s.cleanerEnv + uint64(len(head))
	}
	if len(f.Hold) > 0 {
		list := []uint64{uint64(len(f.Hold))}
		for _, fd := range f.Hold {
			list = append(list, uint64(fd))
		}
		s.hold = b.room(string(unsafe.Slice((*byte)(unsafe.Pointer(&list[0])), 8*len(list))))
	}
	return s
}
