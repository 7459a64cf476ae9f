package entry

import (
	"golang.org/x/sys/unix"
)

// The watch: a second child of the waiter, which does what has to be done when that is
// killed. It is there only if something has to be done that the kernel does not do: a
// payload can be tied to its parent by prctl(2), but that is undone when it changes its
// ids; and nobody puts a terminal's settings back.

// startWatch makes the watch. It returns an errno, negative.
//
//go:nosplit
//go:norace
func startWatch() uintptr {
	signal := uintptr(spec().deathsig)
	if waiting.features&featInit != 0 {
		signal = 0 // the init is tied to the waiter
	}
	if signal == 0 && !waiting.copying.terminal {
		return 0
	}
	waiter := sys(unix.SYS_PIDFD_OPEN, sys(unix.SYS_GETPID, 0, 0, 0, 0, 0, 0), 0, 0, 0, 0, 0)
	if isErr(waiter) {
		return waiter
	}
	child := sys(unix.SYS_PIDFD_OPEN, waiting.child, 0, 0, 0, 0, 0)
	if isErr(child) {
		return child
	}
	pid := sys(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if pid == 0 {
		terminal := *heldAt(slotIn)
		held = [slots]uintptr{}
		hold(slotParent, waiter)
		hold(slotLink, child)
		*heldAt(slotIn) = terminal
		waiting.signal = signal
		stayAsWatch()
	}
	sys(unix.SYS_CLOSE, waiter, 0, 0, 0, 0, 0)
	sys(unix.SYS_CLOSE, child, 0, 0, 0, 0, 0)
	if isErr(pid) {
		return pid
	}
	// Who kills the waiter's process group means the payload too, and must not keep the
	// watch from ending that. Done here, it is done before the payload is let go on.
	sys(unix.SYS_SETPGID, pid, 0, 0, 0, 0, 0)
	waiting.watch = pid
	return 0
}

// watch waits for the end of the waiter; at its own the waiter ends the watch.
//
//lint:ignore U1000 called from assembly
//go:nosplit
//go:norace
func watch() {
	letGo(nil)
	for {
		scratch.poll[0] = pollfd{fd: int32(fd(slotParent)), events: pollIn}
		if r := poll(1, forever); !isErr(r) {
			break
		}
	}
	if waiting.copying.terminal {
		waiting.copying.raw = true // it may be
		makeRaw(false)
	}
	if waiting.signal != 0 {
		sys(unix.SYS_PIDFD_SEND_SIGNAL, fd(slotLink), waiting.signal, 0, 0, 0, 0)
	}
	exit(0)
}
