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
	stack0 uintptr
	tls0   [128]byte //lint:ignore U1000 entry_amd64.s uses it
	fs0    uintptr   //lint:ignore U1000 likewise: FS at the entry, 0 but where there is a C library
	exit0  uintptr   //lint:ignore U1000 likewise: DX at the entry
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
	time   [2]uint64 // a timespec
	poll   [6]pollfd
	slash  [2]byte
	// For what stays behind:
	pair    uint64 // two descriptors
	message uint64
	group   int32
	size    [4]uint16 // struct winsize
	termios termios
	statx   [32]uint64
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
	// A setuid program obeys nobody's environment; main will refuse to go on.
	rec.secure = auxv(atSecure) != 0
	if !rec.secure && decode() {
		rec.resumed = true
		takeLink(uintptr((*header)(unsafe.Pointer(&program)).link))
		nameProcess()
		rec.failed, rec.errno = run(unsafe.Pointer(&program))
		if rec.errno != 0 && rec.astray {
			comeBack(unsafe.Pointer(&program), rec.failed)
		}
	}
	if !rec.secure && !rec.resumed {
		if index, ok := usePrepared(); ok {
			rec.prepared = true
			runPrepared(index)
		}
	}
	needRoom()
	tuneRuntime()
}

const atFdcwd = ^uintptr(99) // AT_FDCWD, -100

//go:nosplit
//go:norace
func isErr(r uintptr) bool { return r > ^uintptr(4095) }

// start0 is stack0 as a pointer. It is kept as a number: see rec.
//
//go:nosplit
//go:norace
func start0() unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&stack0)) }

// envp is the address of the first pointer of the environment.
//
//go:nosplit
//go:norace
func envp() unsafe.Pointer {
	argc := *(*uintptr)(start0())
	return unsafe.Add(start0(), 8*(argc+2))
}

// auxv returns the value of one entry of the auxiliary vector, 0 if there is none. It
// stands behind the environment (getauxval(3)).
//
//go:nosplit
//go:norace
func auxv(key uintptr) uintptr {
	p := envp()
	for *(*uintptr)(p) != 0 {
		p = unsafe.Add(p, 8)
	}
	for p = unsafe.Add(p, 8); *(*uintptr)(p) != 0; p = unsafe.Add(p, 16) {
		if *(*uintptr)(p) == key {
			return *(*uintptr)(unsafe.Add(p, 8))
		}
	}
	return 0
}

const programVar = "STAVES_PROGRAM="

// decode reads a program out of the environment's first strings, as pack wrote it. It
// is ours only if it names our own pid, which execve keeps: a copy that leaked to a
// child is not obeyed. What is no whole program is the payload's, like any string there.
//
//go:nosplit
//go:norace
func decode() bool {
	hdr := (*header)(unsafe.Pointer(&program))
	n := uintptr(0)
	for n == 0 || n != uintptr(hdr.size) {
		s := *(*unsafe.Pointer)(unsafe.Add(envp(), 8*rec.strings))
		if !hasProgram(s) {
			break
		}
		n = unpack(unsafe.Add(s, len(programVar)), n)
		rec.strings++
	}
	if n < unsafe.Sizeof(header{})/8 || n != uintptr(hdr.size) || hdr.magic != magic ||
		hdr.pid != uint64(sys(unix.SYS_GETPID, 0, 0, 0, 0, 0, 0)) {
		rec.strings = 0
		return false
	}
	return true
}

// unpack reads the words packed in one string into the program, from word n on, and
// returns where they end: beyond the last word if they are too many or damaged.
//
//go:nosplit
//go:norace
func unpack(s unsafe.Pointer, n uintptr) uintptr {
	const full = maxProgram / 8
	for {
		c := *(*byte)(s)
		s = unsafe.Add(s, 1)
		if c == 0 {
			return n
		}
		if n >= full {
			return full + 1
		}
		if c > packZeros {
			n += uintptr(c - packZeros) // they are there: nobody has written to program
			continue
		}
		word := uint64(0)
		for shift := uint64(0); c > packWord; c-- {
			group := *(*byte)(s)
			if group&0x80 == 0 { // the string ends within a word
				return full + 1
			}
			word |= uint64(group&0x7f) << shift
			shift += 7
			s = unsafe.Add(s, 1)
		}
		*(*uint64)(unsafe.Add(unsafe.Pointer(&program), 8*n)) = word
		n++
	}
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

// run carries out the operations of a program. It returns their number and 0, or the
// operation that failed and its errno. In a parent made by a fork operation, and in a
// helper, it does not return.
//
//go:nosplit
//go:norace
func run(base unsafe.Pointer) (failed, errno uint64) {
	i, end := uint64(0), (*header)(base).main
	for {
		failed, errno = runFrom(base, i, end)
		if helping.socket == 0 {
			return failed, errno
		}
		i, end = nextOrder(base, failed, errno)
	}
}

// runFrom carries out operations from i to before end. In a new helper it returns at once.
//
//go:nosplit
//go:norace
func runFrom(base unsafe.Pointer, i, end uint64) (failed, errno uint64) {
	for ; i < end; i++ {
		op := opAt(base, uintptr(i))
		if (*header)(base).trace != 0 {
			printLine(base, uintptr(i))
		}
		var r uintptr
		switch op.kind {
		case kindCall:
			r = call(base, op)
			if op.want != 0 && !isErr(r) && uint64(r) != op.want-1 {
				r = failure(uintptr(unix.EPERM))
			}
			if !isErr(r) {
				rec.astray = rec.astray || isAstray(base, op)
				i += uint64(op.onOK)
			} else if op.allow == uint16(-r) || op.allow == uint16(AnyError) {
				if op.keep != 0 {
					*reg(uintptr(op.keep)) = r
				}
				i += uint64(op.onErr)
				continue
			}
		case kindBits:
			r = eachBit(base, op)
		case kindJump:
			i += uint64(op.onOK)
		case kindCheck:
			if mask := uintptr(op.args[2]); operand(base, op, 0)&mask != operand(base, op, 1)&mask {
				r = -uintptr(op.allow)
				i += uint64(op.onErr)
			}
		case kindStore:
			*(*uintptr)(at(base, *argAt(op, 0))) = arg(base, op, 1)
		case kindFail:
			r = *reg(uintptr(op.args[0]))
		case kindFormat:
			format(base, op)
		case kindFork:
			r = fork(base, op)
		case kindInit:
			r = forkInit()
		case kindPark:
			if r = park(op); helping.socket != 0 {
				return i, 0
			}
		case kindOutside:
			if failed, errno = ask(op, i); errno != 0 {
				return failed, errno
			}
			i += uint64(op.onOK)
		case kindSpawn:
			r = spawn(base, op)
		case kindHello:
			r = hello()
		case kindClose:
			r = closeRange(uintptr(op.args[0]), uintptr(op.args[1]))
		case kindExec:
			r = execList(base, op)
		}
		if isErr(r) {
			announce(msgNoExec)
			return i, uint64(-r)
		}
	}
	return end, 0
}

// runExec is run, and an execve(2) right behind it, and then another one, if there is
// one, where the file of the first is in no known format.
//
//go:nosplit
//go:norace
func runExec(base unsafe.Pointer, first, then *execution, env unsafe.Pointer) (failed, errno uint64, r uintptr) {
	if failed, errno = run(base); errno != 0 {
		return failed, errno, 0
	}
	r = sys(unix.SYS_EXECVE, uintptr(unsafe.Pointer(first.path)), uintptr(unsafe.Pointer(first.argv)), uintptr(env), 0, 0, 0)
	if r == failure(uintptr(unix.ENOEXEC)) && then.path != nil {
		r = sys(unix.SYS_EXECVE, uintptr(unsafe.Pointer(then.path)), uintptr(unsafe.Pointer(then.argv)), uintptr(env), 0, 0, 0)
	}
	return failed, errno, r
}

//go:nosplit
//go:norace
func opAt(base unsafe.Pointer, i uintptr) *operation {
	return (*operation)(unsafe.Add(base, unsafe.Sizeof(header{})+i*unsafe.Sizeof(operation{})))
}

// at is the address of the string or structure at an offset.
//
//go:nosplit
//go:norace
func at(base unsafe.Pointer, off uintptr) unsafe.Pointer {
	return unsafe.Add(base, uintptr((*header)(base).blob)+off)
}

// operand is an argument of a check: the word that a pointer points to, or the value.
//
//go:nosplit
//go:norace
func operand(base unsafe.Pointer, op *operation, n uintptr) uintptr {
	if op.ptr>>n&1 != 0 {
		return *(*uintptr)(at(base, *argAt(op, n)))
	}
	return arg(base, op, n)
}

// call makes the system call of one operation.
//
//go:nosplit
//go:norace
func call(base unsafe.Pointer, op *operation) uintptr {
	r := sys(uintptr(op.nr), arg(base, op, 0), arg(base, op, 1), arg(base, op, 2), arg(base, op, 3), arg(base, op, 4), arg(base, op, 5))
	if op.keep != 0 && !isErr(r) {
		*reg(uintptr(op.keep)) = r
	}
	return r
}

// eachBit makes a call for each bit of a mask, with the bit's number as an argument.
//
//go:nosplit
//go:norace
func eachBit(base unsafe.Pointer, op *operation) uintptr {
	for n := uintptr(0); n < 64; n++ {
		if op.want>>n&1 == 0 {
			continue
		}
		*reg(uintptr(Bit)) = n
		r := call(base, op)
		if !isErr(r) && op.flag != 0 && uint64(r) != op.args[bitsResult]>>n&1 {
			r = failure(uintptr(unix.EPERM))
		}
		if isErr(r) {
			return r
		}
	}
	return 0
}

// closeRange closes descriptors, but for the link: see Builder.CloseRange.
//
//go:nosplit
//go:norace
func closeRange(first, last uintptr) uintptr {
	if rec.link != 0 && rec.link >= first && rec.link <= last {
		if rec.link > first {
			sys(unix.SYS_CLOSE_RANGE, first, rec.link-1, 0, 0, 0, 0)
		}
		first = rec.link + 1
	}
	if first > last {
		return 0
	}
	return sys(unix.SYS_CLOSE_RANGE, first, last, 0, 0, 0, 0)
}

//go:nosplit
//go:norace
func reg(n uintptr) *uintptr { return (*uintptr)(unsafe.Add(unsafe.Pointer(&regs), 8*n)) }

//go:nosplit
//go:norace
func argAt(op *operation, n uintptr) *uintptr {
	return (*uintptr)(unsafe.Add(unsafe.Pointer(&op.args), 8*n))
}

//go:nosplit
//go:norace
func arg(base unsafe.Pointer, op *operation, n uintptr) uintptr {
	v := *argAt(op, n)
	ptr, isReg := op.ptr>>n&1 != 0, op.reg>>n&1 != 0
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

// execList tries the paths of a list in turn, as execvp(3) does: it goes on past what
// is not there, and a file that may not be executed is remembered.
//
//go:nosplit
//go:norace
func execList(base unsafe.Pointer, op *operation) uintptr {
	list := at(base, uintptr(op.args[execPaths]))
	argv := uintptr(unsafe.Add(start0(), 8*(1+uintptr(op.args[execIndex]))))
	if op.args[execArgv] != 0 {
		argv = pointers(base, uintptr(op.args[execArgv]))
	}
	env := uintptr(unsafe.Add(envp(), 8*rec.strings))
	if op.args[execEnv] != 0 {
		env = pointers(base, uintptr(op.args[execEnv]))
	}
	if op.flag&execAnnounced == 0 {
		announce(msgExec)
	}
	return tryPaths(list, argv, env, op.flag)
}

// tryPaths executes the first that can be executed of a list of paths, or only looks for
// it.
//
//go:nosplit
//go:norace
func tryPaths(list unsafe.Pointer, argv, env uintptr, flags uint16) uintptr {
	worst := failure(uintptr(unix.ENOENT))
	for p := list; *(*byte)(p) != 0; p = unsafe.Add(p, 1) {
		var r uintptr
		if flags&execLook != 0 {
			r = sys(unix.SYS_FACCESSAT, atFdcwd, uintptr(p), unix.F_OK, 0, 0, 0)
		} else {
			r = sys(unix.SYS_EXECVE, uintptr(p), argv, env, 0, 0, 0)
		}
		switch r {
		case failure(uintptr(unix.ENOENT)), failure(uintptr(unix.ENOTDIR)):
		case failure(uintptr(unix.EACCES)):
			if flags&execSearch == 0 || !isErr(sys(unix.SYS_FACCESSAT, atFdcwd, uintptr(p), unix.F_OK, 0, 0, 0)) {
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
