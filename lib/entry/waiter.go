package entry

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The waiter: the payload's parent in the old namespaces.

// fork clones the process. The parent becomes the waiter and never returns; the child
// goes on with the program, with the caller's mask and dispositions.
//
//go:nosplit
//go:norace
func fork(base unsafe.Pointer, op *operation) uintptr {
	spec := (*forkSpec)(at(base, uintptr(op.args[0])))
	var ends uint64 // of a socket, the waiter's and the child's
	if spec.features&(featInit|featDetach|featHello) != 0 {
		pair := uintptr(unsafe.Pointer(&scratch.pair))
		if r := sys(unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0, pair, 0, 0); isErr(r) {
			return r
		}
		ends = scratch.pair
	}
	findTerminal() // before the child can change whose it is
	becomeParent()
	pid := sys(unix.SYS_CLONE, uintptr(spec.flags)|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if pid != 0 && !isErr(pid) {
		setWaiting(base, spec, pid)
		announce(msgExec) // from here on the chain goes by itself
		if ends != 0 {
			hold(slotLink, uintptr(ends&0xffffffff))
		}
		stayAsWaiter()
	}
	stopBeingParent()
	*heldAt(slotTerminal) = 0
	setWaiting(base, spec, 0)
	if isErr(pid) {
		cleanUp() // there will be no waiter to do it
		return pid
	}
	if ends != 0 {
		sys(unix.SYS_CLOSE, uintptr(ends&0xffffffff), 0, 0, 0, 0, 0)
		if rec.link != 0 {
			sys(unix.SYS_CLOSE, rec.link, 0, 0, 0, 0, 0)
		}
		rec.link = uintptr(ends >> 32)
	}
	rec.forked = rec.forked || pid == 0
	rec.astray = rec.astray && pid != 0 // a child is where it was to be
	if r := tieToWaiter(); isErr(r) {
		return r
	}
	return pid
}

// tieToWaiter has the kernel end the first process of a pid namespace with its waiter.
// That holds as long as the process does not change its ids (prctl(2)), which its child
// does, not the init.
//
//go:nosplit
//go:norace
func tieToWaiter() uintptr {
	spec := spec()
	if spec.deathsig == 0 || spec.features&featInit == 0 {
		return 0
	}
	if r := sys(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(spec.deathsig), 0, 0, 0, 0); isErr(r) {
		return r
	}
	// The signal is not sent for a parent that is dead already. Its pid would not tell:
	// it is 0 for the first process of a pid namespace. Its end of the socket does.
	scratch.poll[0] = pollfd{fd: int32(rec.link)}
	if poll(1, 0) == 1 {
		exit(128 + uintptr(unix.SIGKILL))
	}
	return 0
}

// hello waits for the waiter: see Builder.Hello.
//
//go:nosplit
//go:norace
func hello() uintptr {
	tell(rec.link, msgHello, 0)
	kind, errno, _ := hear(rec.link)
	if kind != msgGo {
		exit(128 + uintptr(unix.SIGKILL)) // the waiter is dead
	}
	if spec().features&featInit == 0 {
		partFromWaiter()
	}
	return -errno
}

// partFromWaiter gives up the link, if it has done its work.
//
//go:nosplit
//go:norace
func partFromWaiter() {
	if rec.link != 0 && spec().features&featDetach == 0 {
		sys(unix.SYS_CLOSE, rec.link, 0, 0, 0, 0, 0)
		rec.link = 0
	}
}

// takeLink takes over a link from an earlier life of the process.
//
//go:nosplit
//go:norace
func takeLink(link uintptr) {
	if rec.link = link; link != 0 {
		sys(unix.SYS_FCNTL, link, unix.F_SETFD, unix.FD_CLOEXEC, 0, 0, 0)
	}
}

// announce tells a waiter that detaches of the program's execution, once: if that
// succeeds, it closes the link.
//
//go:nosplit
//go:norace
func announce(message uintptr) {
	if rec.link != 0 && rec.announced != message {
		rec.announced = message
		tell(rec.link, message, 0)
	}
}

type pollfd struct {
	fd              int32
	events, revents int16
}

const (
	pollIn  = 1
	pollOut = 4
)

// poll waits for one of the first n of scratch.poll for so many nanoseconds. What ends a
// descriptor (POLLHUP, POLLERR) is always looked for.
//
//go:nosplit
//go:norace
func poll(n, patience uintptr) uintptr {
	timeout := uintptr(0)
	if patience != forever {
		scratch.time[1] = uint64(patience)
		timeout = uintptr(unsafe.Pointer(&scratch.time))
	}
	return sys(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&scratch.poll)), n, timeout, 0, 0, 0)
}

const forever = ^uintptr(0)

// stayAsWaiter, stayAsInit and stayAsWatch go on with waiter, initLoop and watch on the
// stack that the process began with, where nothing is needed any more. They do not return.
func stayAsWaiter()
func stayAsInit()
func stayAsWatch()

// waiter passes signals on, stops when the payload stops, copies for a terminal, cleans
// up and ends as the payload ended.
//
//lint:ignore U1000 called from assembly
//go:nosplit
//go:norace
func waiter() {
	spec := spec()
	waiting.features = uintptr(spec.features)
	holdReg(slotParent, spec.parent)
	holdReg(slotMaster, spec.terminal)
	holdReg(slotPidFile, spec.pidFile)
	holdReg(slotInfo, spec.info)
	holdReg(slotStatus, spec.status)
	hold(slotStderr, 2)
	startCopying()
	var locks unsafe.Pointer
	if spec.hold != 0 {
		locks = at(base(), uintptr(spec.hold))
	}
	letGo(locks)
	openSignals(unix.SFD_NONBLOCK)
	listen()
	for {
		scratch.poll[0] = pollfd{fd: int32(fd(slotSignals)), events: pollIn}
		scratch.poll[1] = pollfd{fd: int32(fd(slotLink)), events: pollIn}
		scratch.poll[2] = pollfd{fd: int32(fd(slotParent)), events: pollIn}
		if isErr(poll(pollfds(), pollCopying())) {
			continue
		}
		copyAll()
		if scratch.poll[2].revents != 0 {
			drop(slotParent)
			sys(unix.SYS_KILL, waiting.child, uintptr(unix.SIGKILL), 0, 0, 0, 0)
		}
		if scratch.poll[1].revents != 0 {
			for hearChild() {
				tell(fd(slotLink), msgGo, greet())
			}
		}
		for sig, sent := readSignal(); sig != 0; sig, sent = readSignal() {
			waiterSignal(sig, sent)
		}
	}
}

// pollfds is how many of scratch.poll are in use. The kernel takes no more than this
// process may have descriptors (poll(2), EINVAL), which can be few.
//
//go:nosplit
//go:norace
func pollfds() uintptr {
	switch {
	case *heldAt(slotMaster) != 0:
		return 6
	case *heldAt(slotLink)|*heldAt(slotParent) != 0:
		return 3
	}
	return 1
}

// listen has the kernel send SIGCONT for a message of the child's side, which wakes a
// waiter that is stopped; and for the death of the process not to be outlived.
//
//go:nosplit
//go:norace
func listen() {
	if link := fd(slotLink); waiting.features&featInit != 0 {
		sys(unix.SYS_FCNTL, link, unix.F_SETOWN, waiting.self, 0, 0, 0)
		sys(unix.SYS_FCNTL, link, unix.F_SETSIG, uintptr(unix.SIGCONT), 0, 0, 0)
		sys(unix.SYS_FCNTL, link, unix.F_SETFL, unix.O_RDWR|unix.O_ASYNC|unix.O_NONBLOCK, 0, 0, 0)
	} else {
		sys(unix.SYS_FCNTL, link, unix.F_SETFL, unix.O_RDWR|unix.O_NONBLOCK, 0, 0, 0)
	}
	if *heldAt(slotParent) != 0 {
		sys(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGCONT), 0, 0, 0, 0)
	}
}

//go:nosplit
//go:norace
func waiterSignal(sig uintptr, sent bool) {
	if sig == uintptr(unix.SIGCONT) { // the terminal's settings may have been changed meanwhile
		makeRaw(true)
	}
	switch {
	case sig == uintptr(unix.SIGCHLD):
		for pid, status := reaped(); pid != 0; pid, status = reaped() {
			switch {
			case stopped(status):
				if pid == waiting.child {
					stopSelf()
				}
			case continued(status):
			case pid == waiting.child:
				end(int32(status))
			case pid == waiting.watch:
				waiting.watch = 0
			}
		}
	case sig == uintptr(unix.SIGWINCH) && *heldAt(slotMaster) != 0:
		followSize()
	case waiting.features&featDeaf != 0:
		keepSignal(sig, sent)
	case mustPass(sig, sent):
		passOn(sig)
	}
}

// keepSignal does with a signal, in place of passing it on, what it does to a process that
// ignores SIGINT and SIGTERM.
//
//go:nosplit
//go:norace
func keepSignal(sig uintptr, sent bool) {
	if rec.ignored>>(sig-1)&1 != 0 {
		return
	}
	switch sig {
	case uintptr(unix.SIGINT), uintptr(unix.SIGTERM):
	case uintptr(unix.SIGCONT), uintptr(unix.SIGURG), uintptr(unix.SIGWINCH):
	case uintptr(unix.SIGTSTP), uintptr(unix.SIGTTIN), uintptr(unix.SIGTTOU):
		if sent { // for a key the child stops too, and the waiter with it
			stopSelf()
		}
	default:
		die(int32(sig)) // what is to happen to the child then, the kernel or the watch does
	}
}

// hearChild takes the messages of the child's side, and tells whether the child waits to
// be greeted. (The greeting is the caller's: the stack of these functions is short.)
//
//go:nosplit
//go:norace
func hearChild() (hello bool) {
	for {
		kind, what, closed := hear(fd(slotLink))
		switch {
		case closed:
			drop(slotLink)
			if waiting.executed && waiting.features&featDetach != 0 {
				exit(0)
			}
			return false
		case kind == 0:
			return false
		case kind == msgHello:
			return true
		case kind == msgStopped:
			if !tooEarly(what) {
				stopSelf()
			}
		case kind == msgStatus:
			waiting.status, waiting.told = int32(what), true
		case kind == msgExec:
			waiting.executed = true
		case kind == msgNoExec:
			waiting.executed = false
		}
	}
}

// stopSelf stops the waiter as its child has stopped. When it goes on, the terminal's
// foreground is the child's again, if it was and the shell has given it to us.
//
//go:nosplit
//go:norace
func stopSelf() {
	leaveTerminal()
	sys(unix.SYS_KILL, waiting.self, uintptr(unix.SIGSTOP), 0, 0, 0, 0)
	returnToTerminal()
}

// end cleans up after the child and ends the waiter as the child ended.
//
//go:nosplit
//go:norace
func end(status int32) {
	for *heldAt(slotLink) != 0 && !waiting.told { // the init's exit code alone cannot tell a signal from 128+n
		kind, what, closed := hear(fd(slotLink))
		if kind == msgStatus {
			waiting.status, waiting.told = int32(what), true
		}
		if closed || kind == 0 {
			break
		}
	}
	if waiting.told {
		status = waiting.status
	}
	stopCopying()
	takeTerminal()
	reportEnd(status)
	if waiting.watch != 0 {
		sys(unix.SYS_KILL, waiting.watch, uintptr(unix.SIGKILL), 0, 0, 0, 0)
		sys(unix.SYS_WAIT4, waiting.watch, 0, 0, 0, 0, 0)
	}
	if !cleanUp() {
		becomeCleaner(status)
	}
	die(status)
}

// cleanUp carries out the waiter's own operations. It tells whether there is nothing
// left to do for a cleaner.
//
//go:nosplit
//go:norace
func cleanUp() bool {
	spec := spec()
	clean := spec.features&featAlways == 0
	for i := uintptr(0); i < uintptr(spec.afterLen); i++ {
		after := opAt(base(), uintptr(spec.after)+i)
		r := call(base(), after)
		clean = clean && (!isErr(r) || uint16(-r) == after.allow)
	}
	return clean || spec.cleanerEnv == 0
}

// becomeCleaner makes a Go program of the waiter again, to clean up with patience: see
// Fork's Cleaner. It returns only if that cannot be executed.
//
//go:nosplit
//go:norace
func becomeCleaner(status int32) {
	base, spec := base(), spec()
	// The wait status, as eight letters, goes where there is room for it.
	for i := uintptr(0); i < 8; i++ {
		*(*byte)(at(base, uintptr(spec.cleanerStatus)+i)) = 'a' + byte(uint32(status)>>(28-4*i))&15
	}
	scratch.info[0], scratch.info[1] = uint64(uintptr(at(base, uintptr(spec.cleanerEnv)))), 0
	// Every signal stays blocked: a cleaner has little to do, and should get to do it.
	sys(unix.SYS_EXECVE, uintptr(at(base, uintptr(spec.cleanerFile))), uintptr(unsafe.Add(start0(), 8)), uintptr(unsafe.Pointer(&scratch.info)), 0, 0, 0)
}
