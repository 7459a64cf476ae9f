package entry

import (
	"golang.org/x/sys/unix"
)

// The init: process 1 of a pid namespace.

// forkInit forks the first process of a pid namespace: the parent stays as its init.
//
//go:nosplit
//go:norace
func forkInit() uintptr {
	becomeParent()
	// Again: what came since the fork may have changed ids.
	if r := tieToWaiter(); isErr(r) {
		return r
	}
	// Inside the container /proc/1/exe, root, cwd and fd would lead to the host's files.
	// From before there is anybody to look: the child may be far ahead of its parent.
	dumpable := sys(unix.SYS_PRCTL, unix.PR_GET_DUMPABLE, 0, 0, 0, 0, 0)
	sys(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0, 0)
	pid := sys(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if pid != 0 && !isErr(pid) {
		waiting.child = pid
		stayAsInit()
	}
	if dumpable == 1 { // 2, which only the kernel sets, it sets again
		sys(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1, 0, 0, 0, 0)
	}
	stopBeingParent()
	partFromWaiter()
	return pid
}

// initLoop reaps every orphan, passes signals on, tells the waiter that its child stopped
// and went on, and ends when its child does, which ends whatever else is left in the
// namespace (pid_namespaces(7)).
//
//lint:ignore U1000 called from assembly
//go:nosplit
//go:norace
func initLoop() {
	spec := spec()
	waiting.features = uintptr(spec.features) &^ featInit
	if spec.features&featDetach == 0 {
		hold(slotLink, rec.link)
	}
	holdReg(slotPidFile, spec.pidFile) // the lock is the container's
	letGo(nil)
	openSignals(0)
	for {
		sig, sent := readSignal()
		if sig != uintptr(unix.SIGCHLD) {
			if sig != 0 && mustPass(sig, sent) {
				passOn(sig)
			}
			continue
		}
		for pid, status := reaped(); pid != 0; pid, status = reaped() {
			switch {
			case pid != waiting.child:
			case stopped(status):
				tell(fd(slotLink), msgStopped, status>>8)
			case continued(status):
				tell(fd(slotLink), msgContinued, 0)
			default:
				tell(fd(slotLink), msgStatus, status)
				if s := status & 0x7f; s != 0 {
					exit(128 + s)
				}
				exit(status >> 8 & 0xff)
			}
		}
	}
}
