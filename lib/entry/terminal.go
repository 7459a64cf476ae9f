package entry

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The terminal's foreground, which the waiter had when it began: see tcsetpgrp(3).

// findTerminal notes the terminal that this process's group is in the foreground of.
//
//go:nosplit
//go:norace
func findTerminal() {
	group := int32(sys(unix.SYS_GETPGID, 0, 0, 0, 0, 0, 0))
	for f := uintptr(0); f <= 2; f++ {
		if foreground(f) == group {
			waiting.group = group
			hold(slotTerminal, f)
			return
		}
	}
}

// foreground is the process group in the foreground of the terminal at f, 0 if that is
// not this process's terminal.
//
//go:nosplit
//go:norace
func foreground(f uintptr) int32 {
	if isErr(sys(unix.SYS_IOCTL, f, unix.TIOCGPGRP, uintptr(unsafe.Pointer(&scratch.group)), 0, 0, 0)) {
		return 0
	}
	return scratch.group
}

//go:nosplit
//go:norace
func setForeground(group int32) {
	scratch.group = group
	sys(unix.SYS_IOCTL, fd(slotTerminal), unix.TIOCSPGRP, uintptr(unsafe.Pointer(&scratch.group)), 0, 0, 0)
}

// takeTerminal brings the waiter's group to the foreground again at the end, if nobody is
// there: a shell in a pid namespace leaves its own, dead group behind, since that of its
// caller has no number there. A caller without job control could then not read any more.
//
//go:nosplit
//go:norace
func takeTerminal() {
	if now := foreground(fd(slotTerminal)); now != 0 && now != waiting.group && gone(now) {
		setForeground(waiting.group)
	}
}

// gone tells whether a process group has no member.
//
//go:nosplit
//go:norace
func gone(group int32) bool {
	return sys(unix.SYS_KILL, uintptr(-int(group)), 0, 0, 0, 0, 0) == failure(uintptr(unix.ESRCH))
}

// leaveTerminal is done before the waiter stops.
//
//go:nosplit
//go:norace
func leaveTerminal() {
	waiting.stopped = foreground(fd(slotTerminal))
	makeRaw(false)
}

// tooEarly has the child go on, if it stopped since it wanted the terminal before it was given
// that back: the shell's SIGCONT comes to the init as soon as to the waiter.
//
//go:nosplit
//go:norace
func tooEarly(signal uintptr) bool {
	early := waiting.back && signal == uintptr(unix.SIGTTIN)
	waiting.back = false
	if early {
		sys(unix.SYS_KILL, waiting.child, uintptr(unix.SIGCONT), 0, 0, 0, 0)
	}
	return early
}

// returnToTerminal is done when the waiter goes on: if a shell has brought it to the
// foreground, it brings back the group that was there when it stopped.
//
//go:nosplit
//go:norace
func returnToTerminal() {
	was := waiting.stopped
	waiting.stopped = 0
	if was != 0 && was != waiting.group && foreground(fd(slotTerminal)) == waiting.group && !gone(was) {
		setForeground(was)
		waiting.back = true
	}
	makeRaw(true)
	followSize()
}
