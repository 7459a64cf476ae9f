package entry

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the processes that stay behind have in common: the waiter (waiter.go), the init
// (init.go) and the watch (watch.go). None of them starts the Go runtime. The rules of
// premain.go hold in all these files.

// waiting is what such a process knows. Each has its own.
var waiting struct {
	child    uintptr
	watch    uintptr // the waiter's: pid of the watch, 0 for none
	signal   uintptr // the watch's: what the child gets
	features uintptr
	base     uintptr // of the program: no pointers here, whose writing has a barrier
	spec     uintptr
	self     uintptr // its pid

	status         int32 // what the init has told of its child
	told, executed bool  // the init has; the child is executing its program

	group   int32 // the waiter's own process group, if it has the terminal's foreground
	stopped int32 // the group that had it when the child stopped
	back    bool  // it was given back to that group, and the child has not stopped since
	copying copying
}

//go:nosplit
//go:norace
func setWaiting(base unsafe.Pointer, spec *forkSpec, child uintptr) {
	waiting.base, waiting.spec, waiting.child = uintptr(base), uintptr(unsafe.Pointer(spec)), child
}

//go:nosplit
//go:norace
func base() unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&waiting.base)) }

//go:nosplit
//go:norace
func spec() *forkSpec { return *(**forkSpec)(unsafe.Pointer(&waiting.spec)) }

// held are the descriptors that such a process holds, each plus 1; 0 for none.
var held [slots]uintptr

const (
	slotStderr   = iota
	slotLink     // to the child's side, or the waiter's
	slotSignals  // signalfd(2)
	slotParent   // pidfd of the process that is not to be outlived
	slotTerminal // the terminal that the waiter was in the foreground of
	slotMaster   // of a pseudo-terminal, and what goes to and fro:
	slotIn
	slotOut
	slotSlave
	slotPidFile
	slotInfo
	slotStatus
	slots
)

// fd is the descriptor in a slot; -1, which no system call takes for one, if there is none.
//
//go:nosplit
//go:norace
func fd(slot uintptr) uintptr { return *heldAt(slot) - 1 }

//go:nosplit
//go:norace
func hold(slot, fd uintptr) { *heldAt(slot) = fd + 1 }

//go:nosplit
//go:norace
func holdReg(slot uintptr, r uint64) {
	if r != 0 {
		hold(slot, *reg(uintptr(r)))
	}
}

//go:nosplit
//go:norace
func drop(slot uintptr) {
	if *heldAt(slot) != 0 {
		sys(unix.SYS_CLOSE, fd(slot), 0, 0, 0, 0, 0)
		*heldAt(slot) = 0
	}
}

//go:nosplit
//go:norace
func heldAt(slot uintptr) *uintptr {
	return (*uintptr)(unsafe.Add(unsafe.Pointer(&held), 8*slot))
}

// letGo gives up what a process that only waits must not hold on to: descriptors but
// those held, since a reader waits for the last writer, and the working directory, which
// would keep a file system busy and lead out of a container. list, unless it is nil, are
// more to hold: see forkSpec.
//
//go:nosplit
//go:norace
func letGo(list unsafe.Pointer) {
	const last = 0xffffffff
	for next := uintptr(0); ; {
		low := uintptr(last)
		for slot := uintptr(0); slot < slots; slot++ {
			if f := fd(slot); f >= next && f < low {
				low = f
			}
		}
		for i := uintptr(0); list != nil && i < *(*uintptr)(list); i++ {
			if f := *(*uintptr)(unsafe.Add(list, 8*(i+1))); f >= next && f < low {
				low = f
			}
		}
		if low == last {
			sys(unix.SYS_CLOSE_RANGE, next, last, 0, 0, 0, 0)
			break
		}
		if low > next {
			sys(unix.SYS_CLOSE_RANGE, next, low-1, 0, 0, 0, 0)
		}
		next = low + 1
	}
	sys(unix.SYS_CHDIR, uintptr(unsafe.Pointer(&scratch.slash)), 0, 0, 0, 0, 0)
	letGoOfFile()
	letGoOfProgram()
}

// letGoOfProgram gives back the memory of what the process has no use for any more: the
// strings of the environment that the program came in, and its operations but for those
// of the clean-up, which stand behind.
//
//go:nosplit
//go:norace
func letGoOfProgram() {
	if rec.strings == 0 { // none came, or it was prepared and lies in the file
		return
	}
	// The kernel has put the strings one behind the other (execve(2)). If no other one
	// follows, their end is not known.
	first, next := *(*uintptr)(envp()), *(*uintptr)(unsafe.Add(envp(), 8*rec.strings))
	letGoOfPages(first, next)
	start := uintptr(unsafe.Pointer(&program))
	letGoOfPages(start+unsafe.Sizeof(header{}), uintptr(unsafe.Pointer(opAt(unsafe.Pointer(&program), uintptr((*header)(unsafe.Pointer(&program)).main)))))
}

// letGoOfPages gives back the pages that lie between two addresses as a whole.
//
//go:nosplit
//go:norace
func letGoOfPages(from, to uintptr) {
	const atPagesz = 6 // getauxval(3)
	size := auxv(atPagesz)
	if size == 0 {
		return
	}
	from = (from + size - 1) &^ (size - 1)
	to &^= size - 1
	if from < to {
		sys(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED, 0, 0, 0)
	}
}

// letGoOfFile has the process map of its own file only what it comes to need from here
// on: the kernel may have mapped 2 MB of it at once, as one huge page.
//
//go:nosplit
//go:norace
func letGoOfFile() {
	const ( // elf(5), getauxval(3)
		atPhdr, atPhnum = 3, 5
		size            = 56
		ptLoad          = 1
		pfW             = 2
		pageMask        = 4095
	)
	sys(unix.SYS_PRCTL, unix.PR_SET_THP_DISABLE, 1, 0, 0, 0, 0)
	n := auxv(atPhnum)
	phdrs := auxv(atPhdr)
	for i := uintptr(0); i < n; i++ {
		scratch.info[0] = uint64(phdrs + size*i)
		phdr := *(*unsafe.Pointer)(unsafe.Pointer(&scratch.info))
		kind, flags := *(*uint32)(phdr), *(*uint32)(unsafe.Add(phdr, 4))
		start, length := *(*uintptr)(unsafe.Add(phdr, 16)), *(*uintptr)(unsafe.Add(phdr, 40))
		if kind != ptLoad || flags&pfW != 0 {
			continue
		}
		length += start & pageMask
		start &^= pageMask
		sys(unix.SYS_MADVISE, start, length, unix.MADV_DONTNEED, 0, 0, 0)
	}
}

// becomeParent blocks every signal, so that none is lost between clone and the loop
// that waits for them, and sees to it that children can be waited for.
//
//go:nosplit
//go:norace
func becomeParent() {
	scratch.set = allSignals
	sys(unix.SYS_RT_SIGPROCMASK, sigSetmask, uintptr(unsafe.Pointer(&scratch.set)), 0, 8, 0, 0)
	setHandler(uintptr(unix.SIGCHLD), 0)
}

// stopBeingParent undoes becomeParent, in the child.
//
//go:nosplit
//go:norace
func stopBeingParent() {
	if rec.ignored&(1<<(unix.SIGCHLD-1)) != 0 {
		setHandler(uintptr(unix.SIGCHLD), 1)
	}
	sys(unix.SYS_RT_SIGPROCMASK, sigSetmask, uintptr(unsafe.Pointer(&rec.mask)), 0, 8, 0, 0)
}

//go:nosplit
//go:norace
func setHandler(sig, handler uintptr) {
	scratch.act.handler, scratch.act.flags, scratch.act.restorer, scratch.act.mask = handler, 0, 0, 0
	sys(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&scratch.act)), 0, 8, 0, 0)
}

// openSignals makes the descriptor that signals are read from.
//
//go:nosplit
//go:norace
func openSignals(flags uintptr) {
	scratch.set = allSignals
	waiting.self = sys(unix.SYS_GETPID, 0, 0, 0, 0, 0, 0)
	r := sys(unix.SYS_SIGNALFD4, ^uintptr(0), uintptr(unsafe.Pointer(&scratch.set)), 8, unix.SFD_CLOEXEC|flags, 0, 0)
	if isErr(r) { // no descriptor, no memory: a parent that cannot wait would be worse
		sys(unix.SYS_KILL, waiting.child, uintptr(unix.SIGKILL), 0, 0, 0, 0)
		exit(125)
	}
	hold(slotSignals, r)
}

// readSignal takes the next signal, 0 if there is none. sent tells whether a process
// sent it: what the kernel sends (a key on the terminal) it sends to the child as well.
//
//go:nosplit
//go:norace
func readSignal() (sig uintptr, sent bool) {
	r := sys(unix.SYS_READ, fd(slotSignals), uintptr(unsafe.Pointer(&scratch.info)), unsafe.Sizeof(scratch.info), 0, 0, 0)
	if r != unsafe.Sizeof(scratch.info) {
		return 0, false
	}
	// ssi_code: SI_USER and below. A SIGPIPE of its own says that of itself too.
	return uintptr(uint32(scratch.info[0])), int32(scratch.info[1]) <= 0 && uintptr(scratch.info[1]>>32) != waiting.self
}

// mustPass tells whether the child must be given a signal. What the kernel sends, for a
// key, it sends to the whole group, in which the child is unless it has a session of its
// own; then the init passes it on, where there is one, for it gets it too, and a second
// signal of one kind would be lost while the first is pending.
//
//go:nosplit
//go:norace
func mustPass(sig uintptr, sent bool) bool {
	if sent {
		return true
	}
	if waiting.features&featSession == 0 || sig == uintptr(unix.SIGCONT) {
		return false
	}
	key := sig == uintptr(unix.SIGINT) || sig == uintptr(unix.SIGQUIT) || sig == uintptr(unix.SIGTSTP)
	return !key || waiting.features&featInit == 0
}

// passOn gives the child the signal just read.
//
//go:nosplit
//go:norace
func passOn(sig uintptr) {
	to := waiting.child
	if waiting.features&(featSession|featInit) == featSession {
		// What keys do in a session, without a terminal that knows of it: the group of
		// its leader gets it; and the kernel lets nobody stop it by SIGTSTP, which is for
		// those who have a shell in their session. As a group it goes on, too.
		switch sig {
		case uintptr(unix.SIGTSTP):
			sig, to = uintptr(unix.SIGSTOP), -to
		case uintptr(unix.SIGINT), uintptr(unix.SIGQUIT), uintptr(unix.SIGCONT):
			to = -to
		}
	}
	const siQueue = 0xffffffff // SI_QUEUE, -1
	if uint32(scratch.info[1]) != siQueue || int(to) < 0 {
		r := sys(unix.SYS_KILL, to, sig, 0, 0, 0, 0)
		if to != waiting.child && isErr(r) { // no group: it has not come to its session yet
			sys(unix.SYS_KILL, waiting.child, sig, 0, 0, 0, 0)
		}
		return
	}
	// sigqueue(3): the value goes along. signalfd_siginfo has it elsewhere than siginfo_t.
	pid, value := scratch.info[1]>>32|scratch.info[2]<<32, scratch.info[6]
	scratch.info[1], scratch.info[2], scratch.info[3] = siQueue, pid, value
	sys(unix.SYS_RT_SIGQUEUEINFO, to, sig, uintptr(unsafe.Pointer(&scratch.info)), 0, 0, 0)
}

// reaped waits for a child that has ended, stopped or gone on, 0 if there is none.
//
//go:nosplit
//go:norace
func reaped() (pid, status uintptr) {
	const wContinued = 8
	// Any child: as process 1 of a container a waiter has others than its own.
	pid = sys(unix.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&scratch.status)), unix.WNOHANG|unix.WUNTRACED|wContinued, 0, 0, 0)
	if isErr(pid) {
		return 0, 0
	}
	return pid, uintptr(uint32(scratch.status))
}

// The kinds of wait status besides those of an end (wait(2)).
//
//go:nosplit
//go:norace
func stopped(status uintptr) bool { return status&0xff == 0x7f }

//go:nosplit
//go:norace
func continued(status uintptr) bool { return status == 0xffff }

// Messages between a waiter and the child's side, on a socket: the kind, and above its
// eight bits what it tells.
const (
	msgHello   = iota + 1 // the child: see Builder.Hello
	msgGo                 // the answer, with an errno
	msgStopped            // the init: its child has, by which signal
	msgContinued
	msgStatus // the init: the wait status of its child
	msgExec   // the child: about to execute its program
	msgNoExec // that failed
)

//go:nosplit
//go:norace
func tell(link, kind, what uintptr) bool {
	scratch.message = uint64(kind | what<<8)
	return sys(unix.SYS_SENDTO, link, uintptr(unsafe.Pointer(&scratch.message)), 8, unix.MSG_NOSIGNAL, 0, 0) == 8
}

// hear takes the next message; its kind is 0 if there is none, and closed tells that
// there will be none.
//
//go:nosplit
//go:norace
func hear(link uintptr) (kind, what uintptr, closed bool) {
	r := sys(unix.SYS_RECVFROM, link, uintptr(unsafe.Pointer(&scratch.message)), 8, 0, 0, 0)
	if r != 8 {
		return 0, 0, r == 0 || r == failure(uintptr(unix.ECONNRESET))
	}
	return uintptr(scratch.message & 0xff), uintptr(scratch.message >> 8), false
}

// die ends the process as a wait status says another one ended (wait(2)).
//
//go:nosplit
//go:norace
func die(status int32) {
	sig := uintptr(status) & 0x7f
	if sig == 0 {
		exit(uintptr(status) >> 8 & 0xff)
	}
	sys(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0, 0) // the payload has dumped core, if anyone has
	setHandler(sig, 0)
	scratch.set = ^(uint64(1) << (sig - 1))
	sys(unix.SYS_RT_SIGPROCMASK, sigSetmask, uintptr(unsafe.Pointer(&scratch.set)), 0, 8, 0, 0)
	sys(unix.SYS_KILL, sys(unix.SYS_GETPID, 0, 0, 0, 0, 0, 0), sig, 0, 0, 0, 0)
	exit(128 + sig)
}

//go:nosplit
//go:norace
func exit(code uintptr) {
	for {
		sys(unix.SYS_EXIT_GROUP, code, 0, 0, 0, 0, 0)
	}
}
