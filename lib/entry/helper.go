package entry

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A process that moves into new namespaces can no longer do everything: to map ids, or to
// keep a namespace by a mount, takes the privileges and the mounts of where it came from.
// So a helper is forked before, stays behind, and makes calls when it is asked to. What
// runs before the runtime follows the rules of premain.go.

// A Helper is a process that stays where its maker was: see [Builder.Park].
type Helper struct {
	pid, socket Reg
	// Target is, in the calls of [Builder.Outside], the process id of the asker, as the
	// helper's pid namespace counts.
	Target Reg
}

// Park forks a helper, which keeps the present namespaces and privileges and waits for
// [Builder.Outside].
func (b *Builder) Park(what string) *Helper {
	h := &Helper{pid: b.reg(), socket: b.reg(), Target: b.reg()}
	op := b.op(kindPark, what)
	op.args[parkPid], op.args[parkSocket], op.args[parkTarget] = uint64(h.pid), uint64(h.socket), uint64(h.Target)
	return h
}

// Outside has the calls that f writes made by the helper; the process, or its child
// since, waits for them. If one fails, the program fails with it.
func (b *Builder) Outside(h *Helper, what string, f func()) {
	i := b.place()
	op := b.op(kindOutside, what)
	op.args[parkSocket] = uint64(h.socket)
	f()
	b.ops[i].onOK = b.since(i)
}

// Dismiss lets the helper end.
func (b *Builder) Dismiss(h *Helper) {
	const what = "dismiss the helper"
	b.Close(h.socket)
	// A child of its maker has no such child to wait for: the maker reaps it.
	b.Try(what, unix.ECHILD, unix.SYS_WAIT4, h.pid, 0, unix.WALL, 0)
	// Nor is the payload to find a signal of it pending.
	chld, none := uint64(1)<<(unix.SIGCHLD-1), [2]uint64{}
	b.Try(what, unix.EAGAIN, unix.SYS_RT_SIGTIMEDWAIT, Struct(&chld), 0, Struct(&none), 8)
	b.Forget(h.pid)
	b.Forget(h.Target)
}

// Undo makes a system call. If it fails, undo is written for that, and the program fails.
func (b *Builder) Undo(what string, undo func(), nr int, args ...any) {
	r := b.reg()
	i := b.place()
	op := b.call(what, nr, args)
	op.keep, op.allow, op.onErr = uint8(r), uint16(AnyError), 1 // past the jump
	b.op(kindJump, what)
	undo()
	fail := b.op(kindFail, what)
	fail.args[0], fail.log = uint64(r), uint8(b.log)
	b.ops[i+1].onOK = b.since(i + 1)
	b.Forget(r)
}

// Format is room for the text that prefix, the number in r and suffix make when the
// program comes to this place.
func (b *Builder) Format(prefix string, r Reg, suffix string) *Buffer {
	buf := &Buffer{Size: len(prefix) + maxDigits + len(suffix) + 1}
	op := b.op(kindFormat, prefix)
	b.arg(op, 0, buf)
	b.arg(op, 1, prefix)
	b.arg(op, 2, r)
	b.arg(op, 3, suffix)
	return buf
}

const maxDigits = 20

// Spawn runs the program at path, with argv of strings and of [Buffer]s and the caller's
// environment, and waits for it. Its standard error goes to the descriptor in messages;
// it fails with EPERM if the program does.
func (b *Builder) Spawn(what, path string, argv []any, messages Reg) {
	op := b.op(kindSpawn, what)
	op.args[spawnPath], op.args[spawnMessages] = b.text(path), uint64(messages)
	op.args[spawnArgv] = list(b, argv)
	op.log = uint8(b.log)
}

// Messages is a pipe for what a program says, and for [Builder.Log] to read.
func (b *Builder) Messages(what string) (read, write Reg) {
	var ends Buffer
	ends.Size = 8
	b.Do(what, unix.SYS_PIPE2, &ends, unix.O_CLOEXEC|unix.O_NONBLOCK)
	const dup = unix.F_DUPFD_CLOEXEC
	read = b.Get(what, unix.SYS_FCNTL, Load{Field{&ends, 0}}, dup, 3)
	// The second descriptor is the upper half of the word.
	write = b.Get(what, unix.SYS_FCNTL, Load{Field{&ends, 4}}, dup, 3)
	b.Do(what, unix.SYS_CLOSE, Load{Field{&ends, 0}})
	b.Do(what, unix.SYS_CLOSE, Load{Field{&ends, 4}})
	return read, write
}

// list places pointers to texts, strings or buffers, ended by a 0, for the kernel to read:
// they are offsets until pointers makes addresses of them.
func list[T any](b *Builder, texts []T) uint64 {
	offsets := make([]uint64, len(texts)+1)
	for i, t := range texts {
		switch t := any(t).(type) {
		case string:
			offsets[i] = b.text(t) + 1 // 0 ends the list
		case *Buffer:
			offsets[i] = b.buffer(t) + 1
		default:
			b.err = fmt.Errorf("a word of type %T cannot be encoded", t)
		}
	}
	return b.room(string(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(offsets))), 8*len(offsets))))
}

// Arguments of a park and an outside operation: registers. Of a spawn: offsets of the path
// and of the list of words, and the register of a descriptor.
const (
	parkPid = iota
	parkSocket
	parkTarget
)

const (
	spawnPath = iota
	spawnArgv
	spawnMessages
)

// helping is what premain has for talking to a helper, and a helper for listening.
var helping struct {
	pair   [2]int32
	one    int32
	order  [2]uint64 // of the asker: the operation; of the helper: what failed, and its errno
	iov    [2]uintptr
	msg    msghdr
	cmsg   [4]uint64 // a control message with struct ucred
	socket uintptr   // of a helper; 0 in any other process
	target uintptr
	busy   bool // a helper that has something to answer
	status int32
}

// msghdr is struct msghdr of recvmsg(2).
type msghdr struct {
	name, nameLen    uintptr
	iov, iovLen      uintptr
	control, ctrlLen uintptr
	flags            uintptr
}

// park forks the helper. In the helper it returns once there is something to do, which
// nextOrder tells.
//
//go:nosplit
//go:norace
func park(op *operation) uintptr {
	h := &helping
	r := sys(unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0, uintptr(unsafe.Pointer(&h.pair)), 0, 0)
	if isErr(r) {
		return r
	}
	// The kernel tells the helper who asks, in the numbers of the helper's pid namespace.
	h.one = 1
	r = sys(unix.SYS_SETSOCKOPT, uintptr(h.pair[1]), unix.SOL_SOCKET, unix.SO_PASSCRED, uintptr(unsafe.Pointer(&h.one)), 4, 0)
	if isErr(r) {
		return r
	}
	// The signal at its end is for a maker that becomes a waiter, which reaps it then.
	pid := sys(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if isErr(pid) {
		return pid
	}
	if pid == 0 {
		sys(unix.SYS_CLOSE, uintptr(h.pair[0]), 0, 0, 0, 0, 0)
		h.socket, h.target = uintptr(h.pair[1]), uintptr(op.args[parkTarget])
		return 0
	}
	sys(unix.SYS_CLOSE, uintptr(h.pair[1]), 0, 0, 0, 0, 0)
	*reg(uintptr(op.args[parkPid])) = pid
	*reg(uintptr(op.args[parkSocket])) = uintptr(h.pair[0])
	return 0
}

// nextOrder answers the asker, in a helper, and waits for what to do next: the operations
// from one to before another. A helper that is no longer needed ends here.
//
//go:nosplit
//go:norace
func nextOrder(base unsafe.Pointer, failed, errno uint64) (from, to uint64) {
	h := &helping
	if h.busy {
		h.order[0], h.order[1] = failed, errno
		sys(unix.SYS_SENDTO, h.socket, uintptr(unsafe.Pointer(&h.order)), 16, unix.MSG_NOSIGNAL, 0, 0)
	}
	h.busy = true
	h.iov[0], h.iov[1] = uintptr(unsafe.Pointer(&h.order)), 16
	for {
		h.msg.iov, h.msg.iovLen = uintptr(unsafe.Pointer(&h.iov)), 1
		h.msg.control, h.msg.ctrlLen = uintptr(unsafe.Pointer(&h.cmsg)), unsafe.Sizeof(h.cmsg)
		r := sys(unix.SYS_RECVMSG, h.socket, uintptr(unsafe.Pointer(&h.msg)), unix.MSG_CMSG_CLOEXEC, 0, 0, 0)
		if r == failure(uintptr(unix.EINTR)) {
			continue
		}
		if r != 16 {
			exit(0)
		}
		break
	}
	// The header of a control message has 16 bytes; the process id follows.
	*reg(h.target) = uintptr(uint32(h.cmsg[2]))
	i := h.order[0]
	return i + 1, i + 1 + uint64(opAt(base, uintptr(i)).onOK)
}

// ask has the helper carry out the operations behind operation i, and returns the one
// that failed, and its errno.
//
//go:nosplit
//go:norace
func ask(op *operation, i uint64) (failed, errno uint64) {
	h := &helping
	socket := *reg(uintptr(op.args[parkSocket]))
	h.order[0], h.order[1] = i, 0
	r := sys(unix.SYS_SENDTO, socket, uintptr(unsafe.Pointer(&h.order)), 16, unix.MSG_NOSIGNAL, 0, 0)
	if isErr(r) {
		return i, uint64(-r)
	}
	for {
		r = sys(unix.SYS_RECVFROM, socket, uintptr(unsafe.Pointer(&h.order)), 16, 0, 0, 0)
		switch {
		case r == failure(uintptr(unix.EINTR)):
		case r != 16: // it was killed
			return i, uint64(unix.ESRCH)
		default:
			return h.order[0], h.order[1]
		}
	}
}

// spawn runs a program and waits for it.
//
//go:nosplit
//go:norace
func spawn(base unsafe.Pointer, op *operation) uintptr {
	argv := pointers(base, uintptr(op.args[spawnArgv]))
	pid := sys(unix.SYS_CLONE, 0, 0, 0, 0, 0, 0)
	if isErr(pid) {
		return pid
	}
	if pid == 0 {
		sys(unix.SYS_DUP3, *reg(uintptr(op.args[spawnMessages])), 2, 0, 0, 0, 0)
		sys(unix.SYS_EXECVE, uintptr(at(base, uintptr(op.args[spawnPath]))), argv, uintptr(unsafe.Add(envp(), 8*rec.strings)), 0, 0, 0)
		exit(127)
	}
	for {
		r := sys(unix.SYS_WAIT4, pid, uintptr(unsafe.Pointer(&helping.status)), unix.WALL, 0, 0, 0)
		switch {
		case r == failure(uintptr(unix.EINTR)):
		case isErr(r):
			return r
		case helping.status != 0:
			return failure(uintptr(unix.EPERM))
		default:
			return 0
		}
	}
}

// pointers makes addresses of a list's offsets, and returns the list's own. The list is
// used up: once is all that a program comes to its place.
//
//go:nosplit
//go:norace
func pointers(base unsafe.Pointer, list uintptr) uintptr {
	p := at(base, list)
	for w := p; *(*uintptr)(w) != 0; w = unsafe.Add(w, 8) {
		*(*uintptr)(w) = uintptr(at(base, *(*uintptr)(w)-1))
	}
	return uintptr(p)
}

// format writes a text with a number in it.
//
//go:nosplit
//go:norace
func format(base unsafe.Pointer, op *operation) {
	to := copyText(at(base, uintptr(op.args[0])), at(base, uintptr(op.args[1])))
	n := *reg(uintptr(op.args[2]))
	size := uintptr(1)
	for size <= n/10 {
		size *= 10
	}
	for ; size > 0; size /= 10 {
		*(*byte)(to) = '0' + byte(n/size%10)
		to = unsafe.Add(to, 1)
	}
	copyText(to, at(base, uintptr(op.args[3])))
}

// copyText copies a text with its NUL, and returns where that is.
//
//go:nosplit
//go:norace
func copyText(to, from unsafe.Pointer) unsafe.Pointer {
	for {
		c := *(*byte)(from)
		*(*byte)(to) = c
		if c == 0 {
			return to
		}
		to, from = unsafe.Add(to, 1), unsafe.Add(from, 1)
	}
}
