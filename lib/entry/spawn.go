package entry

import (
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Spawn starts the program at path as a child, in the state that [Execve] would give it,
// with the calling thread's credentials, and returns its process id.
func Spawn(path string, argv, env []string) (pid int, err error) {
	attr := syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}}
	if rec.ran {
		restoreSignals()
		// What the runtime has a handler for, it resets in a child; not what it ignores.
		for n := range 64 {
			if rec.ignored>>n&1 != 0 {
				signal.Ignore(syscall.Signal(n + 1))
			}
		}
		for fd := range attr.Files {
			if Closed(fd) {
				attr.Files[fd] = ^uintptr(0) // closed in the child
			}
		}
	}
	return syscall.ForkExec(path, argv, &attr)
}

// Wait waits for the end of a child.
func Wait(pid int) (status unix.WaitStatus, err error) {
	for {
		if _, err = unix.Wait4(pid, &status, 0, nil); err != unix.EINTR {
			return status, err
		}
	}
}

// Collect starts the garbage collector, which our runtime does not start by itself: for
// what reads a tree of files, or an archive.
func Collect() { debug.SetGCPercent(100) }

// Pause has the thread sleep for d, or less if a signal comes. With time.Sleep the
// runtime would start its poller, and a thread to wait in it.
func Pause(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&t, nil) // its only error here is EINTR
}
