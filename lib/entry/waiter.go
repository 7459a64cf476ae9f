package entry

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The parents that a fork leaves behind: the waiter outside, the init inside a pid
// namespace. Neither starts the Go runtime. The rules of premain.go hold here too.

// fork clones the process. The parent becomes the waiter and never returns; the child
// goes on with the program, with the caller's mask and dispositions.
//
//go:nosplit
//go:norace
func fork(base unsafe.Pointer, op *operation) uintptr {
	if rec.shared == 0 {
		// Where an init leaves the payload's wait status for the waiter: an exit code
		// alone cannot tell a signal from 128+n.
		m := sys(unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
		if isErr(m) {
			return m
		}
		rec.shared = m
	}
	deathsig := uintptr(op.args[forkDeathsig])
	self := uintptr(0)
	if deathsig != 0 {
		if self = sys(unix.SYS_PIDFD_OPEN, sys(unix.SYS_GETPID, 0, 0, 0, 0, 0, 0), 0, 0, 0, 0, 0); isErr(self) {
			return self
		}
	}
	becomeParent()
	pid := sys(unix.SYS_CLONE, uintptr(op.args[forkFlags])|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if pid != 0 && !isErr(pid) {
		waiter(base, op, pid)
	}
	if pid == 0 && deathsig != 0 {
		sys(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, deathsig, 0, 0, 0, 0)
		// prctl(2): the signal is not sent for a parent that is dead already. Its pid
		// is 0 for the first process of a pid namespace, so ask the pidfd.
		scratch.poll.fd, scratch.poll.events = int32(self), 1 // POLLIN
		if sys(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&scratch.poll)), 1, uintptr(unsafe.Pointer(&scratch.zero)), 0, 0, 0) == 1 {
			exit(uintptr(unix.SIGKILL) + 128)
		}
	}
	if deathsig != 0 {
		sys(unix.SYS_CLOSE, self, 0, 0, 0, 0, 0)
	}
	stopBeingParent()
	rec.forked = rec.forked || pid == 0
	return pid
}

// shared is the page that waiter and init have in common.
//
//go:nosplit
//go:norace
func shared() unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&rec.shared)) }

// forkInit forks the first process of a pid namespace: the parent stays as its init.
//
//go:nosplit
//go:norace
func forkInit() uintptr {
	becomeParent()
	// Inside the container /proc/1/exe, root, cwd and fd would lead to the host's files.
	// From before there is anybody to look: the child may be far ahead of its parent.
	dumpable := sys(unix.SYS_PRCTL, unix.PR_GET_DUMPABLE, 0, 0, 0, 0, 0)
	sys(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0, 0)
	pid := sys(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if pid != 0 && !isErr(pid) {
		initLoop(pid)
	}
	if dumpable == 1 { // 2, which only the kernel sets, it sets again
		sys(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1, 0, 0, 0, 0)
	}
	stopBeingParent()
	return pid
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

// letGo gives up what a process that only waits must not hold on to: descriptors,
// since a reader waits for the last writer, and the working directory, which would
// keep a file system busy and lead out of a container.
//
//go:nosplit
//go:norace
func letGo(keepStderr bool) {
	if keepStderr {
		sys(unix.SYS_CLOSE_RANGE, 0, 1, 0, 0, 0, 0)
		sys(unix.SYS_CLOSE_RANGE, 3, 0xffffffff, 0, 0, 0, 0)
	} else {
		sys(unix.SYS_CLOSE_RANGE, 0, 0xffffffff, 0, 0, 0, 0)
	}
	sys(unix.SYS_CHDIR, uintptr(unsafe.Pointer(&scratch.slash)), 0, 0, 0, 0, 0)
}

// nextSignal waits for a signal. sent tells whether a process sent it: what the
// kernel sends (a key on the terminal) it sends to the payload as well.
//
//go:nosplit
//go:norace
func nextSignal() (sig uintptr, sent bool) {
	for {
		scratch.set = allSignals
		r := sys(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&scratch.set)), uintptr(unsafe.Pointer(&scratch.info)), 0, 8, 0, 0)
		if !isErr(r) {
			return r, int32(scratch.info[1]) <= 0 // si_code: SI_USER and below
		}
	}
}

// waiter stays behind as the payload's parent in the old namespaces: it passes
// signals on, stops when the payload stops, cleans up and ends as the payload ended.
//
//go:nosplit
//go:norace
func waiter(base unsafe.Pointer, op *operation, child uintptr) {
	letGo(true)
	hasInit := op.flag != 0
	for {
		sig, sent := nextSignal()
		switch {
		case sig == uintptr(unix.SIGCHLD):
			for {
				// Any child: as process 1 of a container it has others than its own.
				pid := sys(unix.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&scratch.status)), unix.WNOHANG|unix.WUNTRACED, 0, 0, 0)
				if pid == 0 || isErr(pid) {
					break
				}
				if pid != child {
					continue
				}
				if scratch.status&0xff != 0x7f {
					status := scratch.status
					if *(*int32)(shared()) != 0 {
						status = *(*int32)(unsafe.Add(shared(), 4))
					}
					if !cleanUp(base, op) {
						becomeCleaner(base, op, status)
					}
					die(status)
				}
				stopSelf()
				sys(unix.SYS_KILL, child, uintptr(unix.SIGCONT), 0, 0, 0, 0)
			}
		case sent:
			sys(unix.SYS_KILL, child, sig, 0, 0, 0, 0)
		case hasInit && (sig == uintptr(unix.SIGTSTP) || sig == uintptr(unix.SIGTTIN) || sig == uintptr(unix.SIGTTOU)):
			// An init in between does not stop, so the payload's stop is not seen here.
			stopSelf()
		}
	}
}

//go:nosplit
//go:norace
func stopSelf() {
	sys(unix.SYS_KILL, sys(unix.SYS_GETPID, 0, 0, 0, 0, 0, 0), uintptr(unix.SIGSTOP), 0, 0, 0, 0)
}

// cleanUp carries out the waiter's own operations. It tells whether there is nothing
// left to do for a cleaner.
//
//go:nosplit
//go:norace
func cleanUp(base unsafe.Pointer, op *operation) bool {
	clean := true
	for i := uintptr(0); i < uintptr(op.args[forkAfterLen]); i++ {
		after := opAt(base, uintptr(op.args[forkAfter])+i)
		r := call(base, after)
		clean = clean && (!isErr(r) || uint16(-r) == after.allow)
	}
	return clean || op.args[forkEnv] == 0
}

// becomeCleaner makes a Go program of the waiter again, to clean up with patience: see
// Fork's Cleaner. It returns only if that cannot be executed.
//
//go:nosplit
//go:norace
func becomeCleaner(base unsafe.Pointer, op *operation, status int32) {
	// The wait status, as eight letters, goes where encode left room for it.
	for i := uintptr(0); i < 8; i++ {
		*(*byte)(at(base, uintptr(op.args[forkStatus])+i)) = 'a' + byte(uint32(status)>>(28-4*i))&15
	}
	scratch.info[0], scratch.info[1] = uint64(uintptr(at(base, uintptr(op.args[forkEnv])))), 0
	// Every signal stays blocked: a cleaner has little to do, and should get to do it.
	sys(unix.SYS_EXECVE, uintptr(at(base, uintptr(op.want))), uintptr(unsafe.Add(stack0, 8)), uintptr(unsafe.Pointer(&scratch.info)), 0, 0, 0)
}

// initLoop is the init of a pid namespace: it reaps every orphan, passes signals on,
// and ends when its child does, which ends whatever else is left in the namespace
// (pid_namespaces(7)).
//
//go:nosplit
//go:norace
func initLoop(child uintptr) {
	letGo(false)
	for {
		sig, sent := nextSignal()
		if sig != uintptr(unix.SIGCHLD) {
			if sent {
				sys(unix.SYS_KILL, child, sig, 0, 0, 0, 0)
			}
			continue
		}
		for {
			pid := sys(unix.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&scratch.status)), unix.WNOHANG, 0, 0, 0)
			if pid == 0 || isErr(pid) {
				break
			}
			if pid == child {
				*(*int32)(unsafe.Add(shared(), 4)) = scratch.status
				*(*int32)(shared()) = 1
				if s := uintptr(scratch.status) & 0x7f; s != 0 {
					exit(128 + s)
				}
				exit(uintptr(scratch.status) >> 8 & 0xff)
			}
		}
	}
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
