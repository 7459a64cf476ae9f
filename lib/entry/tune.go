package entry

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// What is arranged before the runtime starts, so that it starts faster and shows the
// right name. The rules of premain.go hold here too, but for unpin.

// cpus holds a CPU mask; the kernel's longest has 8192 bits.
var (
	cpus   [128]uint64
	online [32]byte
)

const (
	tuned   = 2 // strings; an even number keeps the stack aligned
	oneP    = "GOMAXPROCS=1\x00"
	noDebug = "GODEBUG=\x00"

	onlineFile = "/sys/devices/system/cpu/online\x00"
)

// nameProcess gives the process the name that it was called by, in ps(1): the kernel
// took that of /proc/self/exe.
//
//go:nosplit
//go:norace
func nameProcess() {
	if name, _ := baseName(); name != nil {
		sys(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(name), 0, 0, 0, 0)
	}
}

// baseName is the first word of the process without its directory, nil if there is none.
//
//go:nosplit
//go:norace
func baseName() (name unsafe.Pointer, n uintptr) {
	name = *(*unsafe.Pointer)(unsafe.Add(start0(), 8))
	if name == nil {
		return nil, 0
	}
	for p := name; *(*byte)(p) != 0; p = unsafe.Add(p, 1) {
		n++
		if *(*byte)(p) == '/' {
			name, n = unsafe.Add(p, 1), 0
		}
	}
	return name, n
}

// pin keeps the process on the CPU that it is on, for as long as the runtime starts and
// runs its few threads: they hand the work to and fro, and on one CPU that takes no
// interrupts between CPUs (a fifth of the start on a virtual machine). [Execve] undoes
// it. Where the caller has restricted the process's CPUs itself, or a cpuset has, it is
// left alone: the restriction could not be put back as it was.
//
//go:nosplit
//go:norace
func pin() {
	fd := sys(unix.SYS_OPENAT, atFdcwd, uintptr(unsafe.Pointer(unsafe.StringData(onlineFile))), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
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
	words := *(*uintptr)(start0()) + 2 // argc, argv, and the nil after it
	moved := unsafe.Add(start0(), -8*tuned)
	for i := uintptr(0); i < words; i++ {
		*(*uintptr)(unsafe.Add(moved, 8*i)) = *(*uintptr)(unsafe.Add(start0(), 8*i))
	}
	*(*uintptr)(unsafe.Add(moved, 8*words)) = uintptr(unsafe.Pointer(unsafe.StringData(oneP)))
	*(*uintptr)(unsafe.Add(moved, 8*words+8)) = uintptr(unsafe.Pointer(unsafe.StringData(noDebug)))
	stack0 = uintptr(moved)
}

// needRoom ends the process where the limit on its address space (RLIMIT_AS, ulimit -v)
// is less than what the runtime reserves before it runs anything: it would end too, by
// a trace of itself and status 2.
//
//go:nosplit
//go:norace
func needRoom() {
	const (
		reserved = 700 << 20 // of Go 1.26, found by trial; most of it is never touched
		rlimitAS = 9
		text     = ": start: cannot allocate memory\n"
		hint     = ": hint: the limit on address space is too low (ulimit -v): the start takes 700 MB of it, untouched\n"
	)
	limit := uintptr(unsafe.Pointer(&scratch.info))
	if isErr(sys(unix.SYS_PRLIMIT64, 0, rlimitAS, 0, limit, 0, 0)) || scratch.info[0] >= reserved {
		return
	}
	name, n := baseName()
	for i := 0; i < 2; i++ {
		sys(unix.SYS_WRITE, 2, uintptr(name), n, 0, 0, 0)
		if i == 0 {
			sys(unix.SYS_WRITE, 2, uintptr(unsafe.Pointer(unsafe.StringData(text))), uintptr(len(text)), 0, 0, 0)
		} else {
			sys(unix.SYS_WRITE, 2, uintptr(unsafe.Pointer(unsafe.StringData(hint))), uintptr(len(hint)), 0, 0, 0)
		}
	}
	exit(125)
}
