package entry

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Everything in this file may run before the runtime exists, with no g and no heap:
// no function that may grow the stack, no allocation, no map, string or interface
// operation, no write barrier. Hence nosplit throughout, uintptr for every address,
// and globals for whatever is larger than a word.

// stack0 is the stack pointer at the entry of the process: argc, argv, environment,
// auxiliary vector. tls0 stands in for thread-local storage until the runtime has its
// own. Both are set or used by entry_GOARCH.s.
var (
	stack0 unsafe.Pointer
	tls0   [128]byte //lint:ignore U1000 entry_amd64.s uses it
)

// sys makes one system call and returns what the kernel returned: -4095 to -1 is an
// errno. It tells the scheduler nothing, so a call that blocks for long holds a P.
//
//go:noescape
func sys(nr, a, b, c, d, e, f uintptr) uintptr

// startPC is the address of start, for the copy that Start makes of a binary linked
// without -E.
func startPC() uintptr

// sigaction is the kernel's struct sigaction of amd64 and arm64 (rt_sigaction(2)).
type sigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

const (
	sigSetmask = 2
	allSignals = ^uint64(0)

	// maxProgram is the longest encoded program, in bytes.
	maxProgram = 512 << 10
)

// program holds the decoded program; pages that it does not fill are never touched.
var program [maxProgram / 8]uint64

// scratch is one page's worth of kernel structures for premain, waiter and init.
var scratch struct {
	act    sigaction
	set    uint64
	info   [16]uint64 // siginfo_t
	status int32
	zero   [2]uint64 // a timespec of nothing
	poll   struct {
		fd              int32
		events, revents int16
	}
	slash [2]byte
}

// premain is where start, in entry_GOARCH.s, goes before the runtime.
//
//lint:ignore U1000 called from assembly
//go:nosplit
//go:norace
func premain() {
	rec.ran = true
	sys(unix.SYS_RT_SIGPROCMASK, 0, 0, uintptr(unsafe.Pointer(&rec.mask)), 8, 0, 0)
	for n := uintptr(1); n <= 64; n++ {
		sys(unix.SYS_RT_SIGACTION, n, 0, uintptr(unsafe.Pointer(&scratch.act)), 8, 0, 0)
		if scratch.act.handler == 1 { // SIG_IGN
			rec.ignored |= 1 << (n - 1)
		}
	}
	// A standard descriptor that the caller closed stays closed for the payload: fill
	// it with one that execve closes, before the runtime fills it with /dev/null.
	// "/" can always be opened for the path alone.
	scratch.slash[0] = '/'
	for fd := uintptr(0); fd <= 2; fd++ {
		if isErr(sys(unix.SYS_FCNTL, fd, unix.F_GETFD, 0, 0, 0, 0)) {
			sys(unix.SYS_OPENAT, atFdcwd, uintptr(unsafe.Pointer(&scratch.slash)), unix.O_PATH|unix.O_CLOEXEC, 0, 0, 0)
			rec.closed |= 1 << fd
		}
	}
	if decode() {
		rec.resumed = true
		nameProcess()
		rec.failed, rec.errno = run(unsafe.Pointer(&program), program[hdrMain])
	}
	tuneRuntime()
	pin()
}

// nameProcess gives the process the name that it was called by, in ps(1): the kernel
// took that of /proc/self/exe.
//
//go:nosplit
//go:norace
func nameProcess() {
	name := *(*unsafe.Pointer)(unsafe.Add(stack0, 8))
	if name == nil {
		return
	}
	for p := name; *(*byte)(p) != 0; p = unsafe.Add(p, 1) {
		if *(*byte)(p) == '/' {
			name = unsafe.Add(p, 1)
		}
	}
	sys(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(name), 0, 0, 0, 0)
}

// cpus holds a CPU mask; the kernel's longest has 8192 bits.
var (
	cpus       [128]uint64
	onlineFile = [...]byte{'/', 's', 'y', 's', '/', 'd', 'e', 'v', 'i', 'c', 'e', 's', '/', 's', 'y', 's', 't', 'e', 'm', '/', 'c', 'p', 'u', '/', 'o', 'n', 'l', 'i', 'n', 'e', 0}
	online     [32]byte
)

// pin keeps the process on the CPU that it is on, for as long as the runtime starts and
// runs its few threads: they hand the work to and fro, and on one CPU that takes no
// interrupts between CPUs (a fifth of the start on a virtual machine). [Execve] undoes
// it. Where the caller has restricted the process's CPUs itself, or a cpuset has, it is
// left alone: the restriction could not be put back as it was.
//
//go:nosplit
//go:norace
func pin() {
	fd := sys(unix.SYS_OPENAT, atFdcwd, uintptr(unsafe.Pointer(&onlineFile)), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
	if isErr(fd) {
		return
	}
	n := sys(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&online)), uintptr(len(online)-1), 0, 0, 0)
	sys(unix.SYS_CLOSE, fd, 0, 0, 0, 0, 0)
	// Only the common form "0-N" is worth the trouble.
	if isErr(n) || n < 4 || online[0] != '0' || online[1] != '-' {
		return
	}
	last := uintptr(0)
	for i := uintptr(2); i < n-1 && i < uintptr(len(online)); i++ {
		if online[i] < '0' || online[i] > '9' {
			return
		}
		last = 10*last + uintptr(online[i]-'0')
	}
	if last >= 64*uintptr(len(cpus)) || isErr(sys(unix.SYS_SCHED_GETAFFINITY, 0, unsafe.Sizeof(cpus), uintptr(unsafe.Pointer(&cpus)), 0, 0, 0)) {
		return
	}
	for i := uintptr(0); i <= last; i++ {
		if *cpuWord(i)&(1<<(i%64)) == 0 {
			return
		}
		*cpuWord(i) &^= 1 << (i % 64)
	}
	if isErr(sys(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&scratch.set)), 0, 0, 0, 0, 0)) {
		return
	}
	cpu := uintptr(uint32(scratch.set))
	if cpu > last {
		return
	}
	*cpuWord(cpu) |= 1 << (cpu % 64)
	rec.pinned = !isErr(sys(unix.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(cpus), uintptr(unsafe.Pointer(&cpus)), 0, 0, 0))
}

//go:nosplit
//go:norace
func cpuWord(cpu uintptr) *uint64 {
	return (*uint64)(unsafe.Add(unsafe.Pointer(&cpus), cpu/64*8))
}

// unpin allows all CPUs: for a process that nobody had restricted, the same as before.
func unpin() {
	if rec.pinned {
		for i := uintptr(0); i < 64*uintptr(len(cpus)); i += 64 {
			*cpuWord(i) = ^uint64(0)
		}
		sys(unix.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(cpus), uintptr(unsafe.Pointer(&cpus)), 0, 0, 0)
	}
}

// tuneRuntime puts two strings before the environment that the runtime will read, which
// takes the first of a name: one P, since a chain has one thread of work and each
// further thread costs a clone and some switches (a tenth of the start); and no debug
// options, which are the payload's. [Environ] does not show them. The words move down
// to make room; nothing is copied.
//
//go:nosplit
//go:norace
func tuneRuntime() {
	words := *(*uintptr)(stack0) + 2 // argc, argv, and the nil after it
	moved := unsafe.Add(stack0, -8*tuned)
	for i := uintptr(0); i < words; i++ {
		*(*uintptr)(unsafe.Add(moved, 8*i)) = *(*uintptr)(unsafe.Add(stack0, 8*i))
	}
	*(*uintptr)(unsafe.Add(moved, 8*words)) = uintptr(unsafe.Pointer(unsafe.StringData(oneP)))
	*(*uintptr)(unsafe.Add(moved, 8*words+8)) = uintptr(unsafe.Pointer(unsafe.StringData(noDebug)))
	*(*uintptr)(unsafe.Pointer(&stack0)) = uintptr(moved)
}

const (
	tuned   = 2 // strings; an even number keeps the stack aligned
	oneP    = "GOMAXPROCS=1\x00"
	noDebug = "GODEBUG=\x00"
)

const atFdcwd = ^uintptr(99) // AT_FDCWD, -100

//go:nosplit
//go:norace
func isErr(r uintptr) bool { return r > ^uintptr(4095) }

// envp is the address of the first pointer of the environment.
//
//go:nosplit
//go:norace
func envp() unsafe.Pointer {
	argc := *(*uintptr)(stack0)
	return unsafe.Add(stack0, 8*(argc+2))
}

const programVar = "STAVES_PROGRAM="

// decode reads a program out of the environment's first strings, two letters a byte. It
// is ours only if it names our own pid, which execve keeps: a copy that leaked to a
// child is not obeyed.
//
//go:nosplit
//go:norace
func decode() bool {
	n := 0
	for hasProgram(*(*unsafe.Pointer)(unsafe.Add(envp(), 8*rec.strings))) {
		s := unsafe.Add(*(*unsafe.Pointer)(unsafe.Add(envp(), 8*rec.strings)), len(programVar))
		for ; n < maxProgram; n++ {
			hi := *(*byte)(s)
			if hi == 0 {
				break
			}
			*(*byte)(unsafe.Add(unsafe.Pointer(&program), n)) = (hi-'a')<<4 | (*(*byte)(unsafe.Add(s, 1)) - 'a')
			s = unsafe.Add(s, 2)
		}
		rec.strings++
	}
	if n == 0 || program[hdrMagic] != magic || program[hdrPid] != uint64(sys(unix.SYS_GETPID, 0, 0, 0, 0, 0, 0)) {
		rec.strings = 0
		return false
	}
	return true
}

//go:nosplit
//go:norace
func hasProgram(s unsafe.Pointer) bool {
	if s == nil {
		return false
	}
	name := unsafe.Pointer(unsafe.StringData(programVar))
	for i := 0; i < len(programVar); i++ {
		if *(*byte)(unsafe.Add(s, i)) != *(*byte)(unsafe.Add(name, i)) {
			return false
		}
	}
	return true
}

// regs are the kept results: descriptors, mostly.
var regs [maxRegs]uintptr

// run carries out the operations of a program. It returns end and 0, or the operation
// that failed and its errno. In a parent made by a fork operation it does not return.
//
//go:nosplit
//go:norace
func run(base unsafe.Pointer, end uint64) (failed, errno uint64) {
	for i := uint64(0); i < end; i++ {
		op := unsafe.Add(base, 8*(hdrWords+uintptr(i)*opWords))
		var r uintptr
		switch word(op, opKind) {
		case kindCall:
			r = call(base, op)
			if want := word(op, opWant); want != 0 && !isErr(r) && r != want-1 {
				r = failure(uintptr(unix.EPERM))
			}
			if !isErr(r) {
				i += uint64(word(op, opOnOK))
			} else if allow := word(op, opAllow); allow == -r || allow == uintptr(AnyError) {
				i += uint64(word(op, opOnErr))
				continue
			}
		case kindBits:
			r = eachBit(base, op)
		case kindJump:
			i += uint64(word(op, opOnOK))
		case kindCheck:
			mask := word(op, opArgs+2)
			if operand(base, op, 0)&mask != operand(base, op, 1)&mask {
				r = -word(op, opAllow)
				i += uint64(word(op, opOnErr))
			}
		case kindFork:
			r = fork(base, op)
		case kindInit:
			r = forkInit()
		case kindExec:
			r = execList(at(base, word(op, opArgs)), word(op, opArgs+1), word(op, opArgs+2) != 0)
		}
		if isErr(r) {
			return i, uint64(-r)
		}
	}
	return end, 0
}

// operand is an argument of a check: the word that a pointer points to, or the value.
//
//go:nosplit
//go:norace
func operand(base, op unsafe.Pointer, n uintptr) uintptr {
	if word(op, opPtr)&(1<<n) != 0 {
		return *(*uintptr)(at(base, word(op, opArgs+n)))
	}
	return arg(base, op, n)
}

// call makes the system call of one operation.
//
//go:nosplit
//go:norace
func call(base, op unsafe.Pointer) uintptr {
	r := sys(word(op, opNr), arg(base, op, 0), arg(base, op, 1), arg(base, op, 2), arg(base, op, 3), arg(base, op, 4), arg(base, op, 5))
	if keep := word(op, opKeep); keep != 0 && !isErr(r) {
		*reg(keep) = r
	}
	return r
}

// eachBit makes a call for each bit of a mask, with the bit's number as an argument.
//
//go:nosplit
//go:norace
func eachBit(base, op unsafe.Pointer) uintptr {
	for n := uintptr(0); n < 64; n++ {
		if word(op, bitsMask)>>n&1 == 0 {
			continue
		}
		*reg(uintptr(Bit)) = n
		r := call(base, op)
		if !isErr(r) && word(op, bitsChecked) != 0 && r != word(op, bitsWant)>>n&1 {
			r = failure(uintptr(unix.EPERM))
		}
		if isErr(r) {
			return r
		}
	}
	return 0
}

//go:nosplit
//go:norace
func reg(n uintptr) *uintptr { return (*uintptr)(unsafe.Add(unsafe.Pointer(&regs), 8*n)) }

// at is the address of the string or structure at an offset.
//
//go:nosplit
//go:norace
func at(base unsafe.Pointer, off uintptr) unsafe.Pointer {
	return unsafe.Add(base, *(*uintptr)(unsafe.Add(base, 8*hdrBlob))+off)
}

//go:nosplit
//go:norace
func word(op unsafe.Pointer, n uintptr) uintptr { return *(*uintptr)(unsafe.Add(op, 8*n)) }

//go:nosplit
//go:norace
func arg(base, op unsafe.Pointer, n uintptr) uintptr {
	v, bit := word(op, opArgs+n), uintptr(1)<<n
	ptr, isReg := word(op, opPtr)&bit != 0, word(op, opReg)&bit != 0
	switch {
	case ptr && isReg:
		return uintptr(*(*uint32)(at(base, v)))
	case ptr:
		return uintptr(at(base, v))
	case isReg:
		return *reg(v)
	}
	return v
}

// fork clones the process. The parent becomes the waiter and never returns; the child
// goes on with the program, with the caller's mask and dispositions.
//
//go:nosplit
//go:norace
func fork(base, op unsafe.Pointer) uintptr {
	if rec.shared == 0 {
		// Where an init leaves the payload's wait status for the waiter: an exit code
		// alone cannot tell a signal from 128+n.
		m := sys(unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
		if isErr(m) {
			return m
		}
		rec.shared = m
	}
	deathsig := word(op, forkDeathsig)
	self := uintptr(0)
	if deathsig != 0 {
		if self = sys(unix.SYS_PIDFD_OPEN, sys(unix.SYS_GETPID, 0, 0, 0, 0, 0, 0), 0, 0, 0, 0, 0); isErr(self) {
			return self
		}
	}
	becomeParent()
	pid := sys(unix.SYS_CLONE, word(op, forkFlags)|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
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
	pid := sys(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if pid != 0 && !isErr(pid) {
		initLoop(pid)
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
func waiter(base, op unsafe.Pointer, child uintptr) {
	letGo(true)
	hasInit := word(op, forkInitFollows) != 0
	for {
		sig, sent := nextSignal()
		switch {
		case sig == uintptr(unix.SIGCHLD):
			for sys(unix.SYS_WAIT4, child, uintptr(unsafe.Pointer(&scratch.status)), unix.WNOHANG|unix.WUNTRACED, 0, 0, 0) == child {
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
func cleanUp(base, op unsafe.Pointer) bool {
	clean := true
	for i := uintptr(0); i < word(op, forkAfterLen); i++ {
		after := unsafe.Add(base, 8*(hdrWords+(word(op, forkAfter)+i)*opWords))
		r := call(base, after)
		clean = clean && (!isErr(r) || -r == word(after, opAllow))
	}
	return clean || word(op, forkEnv) == 0
}

// becomeCleaner makes a Go program of the waiter again, to clean up with patience: see
// [Fork.Cleaner]. It returns only if that cannot be executed.
//
//go:nosplit
//go:norace
func becomeCleaner(base, op unsafe.Pointer, status int32) {
	// The wait status, as eight letters, goes where encode left room for it.
	for i := uintptr(0); i < 8; i++ {
		*(*byte)(at(base, word(op, forkStatus)+i)) = 'a' + byte(uint32(status)>>(28-4*i))&15
	}
	scratch.info[0], scratch.info[1] = uint64(uintptr(at(base, word(op, forkEnv)))), 0
	// Every signal stays blocked: a cleaner has little to do, and should get to do it.
	sys(unix.SYS_EXECVE, uintptr(at(base, word(op, forkExe))), uintptr(unsafe.Add(stack0, 8)), uintptr(unsafe.Pointer(&scratch.info)), 0, 0, 0)
}

// initLoop is the init of a pid namespace: it reaps every orphan, passes signals on,
// and ends when its child does, which ends whatever else is left in the namespace
// (pid_namespaces(7)).
//
//go:nosplit
//go:norace
func initLoop(child uintptr) {
	letGo(false)
	// Inside the container /proc/1/exe, root and cwd would lead to the host's files.
	sys(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0, 0)
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

// execList tries the paths of a list in turn, as execvp(3) does: it goes on past what
// is not there, and a file that may not be executed is remembered.
//
//go:nosplit
//go:norace
func execList(list unsafe.Pointer, index uintptr, search bool) uintptr {
	argv := uintptr(unsafe.Add(stack0, 8*(1+index)))
	env := uintptr(unsafe.Add(envp(), 8*rec.strings))
	worst := failure(uintptr(unix.ENOENT))
	for p := list; *(*byte)(p) != 0; p = unsafe.Add(p, 1) {
		r := sys(unix.SYS_EXECVE, uintptr(p), argv, env, 0, 0, 0)
		switch r {
		case failure(uintptr(unix.ENOENT)), failure(uintptr(unix.ENOTDIR)):
		case failure(uintptr(unix.EACCES)):
			if !search || !isErr(sys(unix.SYS_FACCESSAT, atFdcwd, uintptr(p), unix.F_OK, 0, 0, 0)) {
				worst = r
			}
		default:
			return r
		}
		for *(*byte)(p) != 0 {
			p = unsafe.Add(p, 1)
		}
	}
	return worst
}

//go:nosplit
//go:norace
func failure(n uintptr) uintptr { return -n }

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
