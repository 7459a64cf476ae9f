package entry

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// A process whose children would belong to another pid namespace cannot start a thread
// (clone(2): EINVAL), and so no Go runtime. Where a program fails in between, there must
// be a way back, or nobody could tell of the failure. The rules of premain.go hold here.

// texts are what astray says and opens, ended by NULs.
var texts = [...]string{"/proc/self/ns/pid\x00", ": \x00", ": the pid namespace takes no process, and a failure cannot be explained\n\x00"}

// isAstray tells whether a call that succeeded leads the children elsewhere.
//
//go:nosplit
//go:norace
func isAstray(base unsafe.Pointer, op *operation) bool {
	return op.nr == unix.SYS_SETNS && arg(base, op, 1) == unix.CLONE_NEWPID ||
		op.nr == unix.SYS_UNSHARE && arg(base, op, 0)&unix.CLONE_NEWPID != 0
}

// comeBack makes a process of this one that can start the runtime: with the pid namespace
// that it is in for its children too, or where it has no right to that, by a child.
//
//go:nosplit
//go:norace
func comeBack(base unsafe.Pointer, failed uint64) {
	own := sys(unix.SYS_OPENAT, atFdcwd, uintptr(unsafe.Pointer(unsafe.StringData(texts[0]))), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
	r := sys(unix.SYS_SETNS, own, unix.CLONE_NEWPID, 0, 0, 0, 0)
	sys(unix.SYS_CLOSE, own, 0, 0, 0, 0, 0)
	if !isErr(r) {
		return
	}
	pid := sys(unix.SYS_CLONE, 0, 0, 0, 0, 0, 0)
	if pid == 0 {
		return
	}
	if isErr(pid) {
		op := opAt(base, uintptr(failed))
		say(at(base, uintptr(op.tool)))
		say(unsafe.Pointer(unsafe.StringData(texts[1])))
		say(at(base, uintptr(op.label)))
		say(unsafe.Pointer(unsafe.StringData(texts[2])))
		exit(125)
	}
	for {
		r = sys(unix.SYS_WAIT4, pid, uintptr(unsafe.Pointer(&helping.status)), unix.WALL, 0, 0, 0)
		if r != failure(uintptr(unix.EINTR)) {
			exit(uintptr(helping.status) >> 8 & 0xff)
		}
	}
}

// say writes a text to standard error.
//
//go:nosplit
//go:norace
func say(text unsafe.Pointer) {
	n := uintptr(0)
	for *(*byte)(unsafe.Add(text, n)) != 0 {
		n++
	}
	sys(unix.SYS_WRITE, 2, uintptr(text), n, 0, 0, 0)
}
