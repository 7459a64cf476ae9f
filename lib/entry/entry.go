// Package entry is what happens before the Go runtime starts, and what that makes
// possible afterwards.
//
// A Go program is a poor link in a chain of exec: by the time main runs, the runtime
// has several threads, a handler on nearly every signal, an empty signal mask, and
// /dev/null on every standard descriptor the caller had closed. So a plain Go program
// can neither pass its caller's signals and descriptors on (signal(7): ignored
// signals and the mask survive execve) nor unshare or join a user namespace
// (unshare(2), setns(2): EINVAL in a process with threads), nor become a parent that
// merely waits without keeping a runtime in memory.
//
// A binary linked with
//
//	-ldflags '-E staves/lib/entry.start'
//
// begins in this package instead of in the runtime. A few lines of assembly call
// premain, which records what the runtime is about to disturb, so that [Execve] can
// restore it. And when the process was started by [Builder.Start], premain carries
// out a list of system calls that an earlier life of the same process decided on:
// unshare(CLONE_NEWUSER) with one thread, clone with a parent that stays behind as a
// waiter of a few kilobytes, an init for a pid namespace, and where nothing else is
// left to do the payload's execve, without a second start of the runtime.
//
// A binary linked without the flag (go install) still works: [Builder.Start] then
// runs a copy of the binary, in memory, whose ELF header names this entry point. What
// the runtime disturbed in the first start stays disturbed; [Ran] tells.
//
// When not to use this package: in a program that is no link of an exec chain.
package entry

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// record is what premain saw and did.
type record struct {
	ran     bool
	secure  bool    // AT_SECURE: see Secure
	resumed bool    // a program of this process was found in the environment and run
	forked  bool    // a Fork came to pass: a waiter stands behind this process
	astray  bool    // its children would belong to another pid namespace: see comeBack
	strings uintptr // of the environment, that hold the program
	// prepared tells that a prepared program was run, and index, if that went well, which
	// word the payload's name is that could not be executed.
	prepared bool
	index    uintptr
	failed   uint64
	errno    uint64
	mask     uint64  // blocked signals, bit n-1 for signal n
	ignored  uint64  // ignored signals, likewise
	closed   uintptr // standard descriptors that the caller had closed, bit n for fd n
	link     uintptr // to the waiter, 0 for none
	// announced is the last message sent over the link.
	announced uintptr
}

// There is no pointer in it: so it lies in memory beside what else premain writes to, on
// pages that every waiter keeps.
var rec record

// environment is Environ's answer.
var environment []string

// Ran tells whether this process began in premain: whether the binary was linked
// with -E, or restarted by [Builder.Start].
func Ran() bool { return rec.ran }

// Closed tells whether the caller had closed the standard descriptor fd; what stands
// there now is closed at execve.
func Closed(fd int) bool { return rec.closed&(1<<fd) != 0 }

// Environ returns the environment as the caller gave it: every entry, in order,
// duplicates and entries without "=" included, but without what [Builder.Start] and
// premain put first. (os.Environ keeps only the first of two entries with one name.)
// The slice is the caller's to keep, not to change.
func Environ() []string {
	if !rec.ran {
		return procEnviron()
	}
	if environment == nil {
		p := unsafe.Add(envp(), 8*(tuned+rec.strings))
		environment = []string{}
		for ; *(*unsafe.Pointer)(p) != nil; p = unsafe.Add(p, 8) {
			environment = append(environment, text(*(*unsafe.Pointer)(p)))
		}
	}
	return environment
}

// text is the string at p, which lies on the stack that the kernel made, and stays.
func text(p unsafe.Pointer) string {
	n := 0
	for *(*byte)(unsafe.Add(p, n)) != 0 {
		n++
	}
	return unsafe.String((*byte)(p), n)
}

// procEnviron is the environment as the kernel shows it; where there is no /proc, as
// the runtime does.
func procEnviron() []string {
	fd, err := unix.Open("/proc/self/environ", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return syscall.Environ()
	}
	defer unix.Close(fd)
	var all []byte
	for buf := make([]byte, 64<<10); ; {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return syscall.Environ()
		}
		if n == 0 {
			break
		}
		all = append(all, buf[:n]...)
	}
	env := strings.Split(string(all), "\x00")
	return env[:len(env)-1] // each ends in a NUL
}

const atSecure = 23 // AT_SECURE of <elf.h>

// Secure tells whether the kernel started this process with more privilege than its
// caller has: AT_SECURE of getauxval(3), set for setuid programs and file
// capabilities.
func Secure() bool {
	if rec.ran {
		return rec.secure
	}
	pairs, err := unix.Auxv()
	for _, p := range pairs {
		if p[0] == atSecure {
			return p[1] != 0
		}
	}
	return err != nil
}

// execfn is the path that this process was started by (AT_EXECFN).
func execfn() string {
	if p := auxv(31); p != 0 {
		return text(*(*unsafe.Pointer)(unsafe.Pointer(&p)))
	}
	return ""
}

// Execve replaces the process by the program at path, as execve(2), with the signals
// ignored and blocked that the caller of this process had ignored and blocked, on the
// CPUs that it may use, and with the limit on open files that the runtime raised put
// back. It returns only on error: the bare errno.
func Execve(path string, argv, env []string) error {
	announce(msgExec)
	err := execve(path, argv, env)
	announce(msgNoExec)
	return err
}

func execve(path string, argv, env []string) error {
	if rec.ran {
		restoreSignals()
	}
	return syscall.Exec(path, argv, env)
}

// Execve carries the program out and executes path, as [Execve] does, with nothing in
// between: what the program takes away, as a filter of system calls does, is not needed
// any more. A failed operation is an *OpError, a failed execution the bare errno; the
// builder is empty then, and this thread may be past much help.
//
// With script, a file that is in no format that the kernel knows is given to [ScriptShell],
// as execvp(3) does.
func (b *Builder) Execve(path string, argv, env []string, script bool) error {
	shellArgv := append([]string{ScriptShell, path}, argv[min(1, len(argv)):]...)
	if b.Empty() {
		err := Execve(path, argv, env)
		if script && errors.Is(err, unix.ENOEXEC) {
			err = Execve(ScriptShell, shellArgv, env)
		}
		return err
	}
	pieces, err := b.encodeHere()
	if err != nil {
		return err
	}
	first, err := newExecution(path, argv)
	if err != nil {
		return err
	}
	var then execution
	if script {
		if then, err = newExecution(ScriptShell, shellArgv); err != nil {
			return err
		}
	}
	envp, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return err
	}
	all := slices.Concat(pieces...)
	*b = Builder{}
	announce(msgExec)               // the program may forbid it
	_ = syscall.Exec("", argv, env) // fails, and puts the limit on open files back
	if rec.ran {
		restoreSignals()
	}
	// The runtime interrupts threads by SIGURG, and a handler's return is a system call
	// that may be forbidden by then. The default is that nothing happens, as where it is
	// ignored.
	if rec.ignored&(1<<(uint(unix.SIGURG)-1)) == 0 {
		var act sigaction
		sys(unix.SYS_RT_SIGACTION, uintptr(unix.SIGURG), uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
	}
	base := unsafe.Pointer(&all[0])
	announce(msgExec)
	failed, errno, r := runExec(base, &first, &then, unsafe.Pointer(&envp[0]))
	announce(msgNoExec)
	if errno != 0 {
		return opError(base, failed, errno)
	}
	return unix.Errno(-r)
}

// ScriptShell runs a script whose first line names no interpreter.
const ScriptShell = "/bin/sh"

// An execution is what execve(2) is called with, but for the environment.
type execution struct {
	path *byte
	argv **byte
}

func newExecution(path string, argv []string) (e execution, err error) {
	if e.path, err = syscall.BytePtrFromString(path); err != nil {
		return e, err
	}
	argvp, err := syscall.SlicePtrFromStrings(argv)
	if err != nil {
		return e, err
	}
	e.argv = &argvp[0]
	return e, nil
}

// restoreSignals puts the caller's ignored signals and mask in force for the calling
// thread. A handler of the runtime's becomes the default at execve by itself.
func restoreSignals() {
	act := sigaction{handler: 1} // SIG_IGN
	for n := uintptr(1); n <= 64; n++ {
		if rec.ignored&(1<<(n-1)) != 0 {
			sys(unix.SYS_RT_SIGACTION, n, uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
		}
	}
	sys(unix.SYS_RT_SIGPROCMASK, sigSetmask, uintptr(unsafe.Pointer(&rec.mask)), 0, 8, 0, 0)
}
