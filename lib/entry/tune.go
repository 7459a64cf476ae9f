package entry

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// What is arranged before the runtime starts, so that it starts faster and shows the
// right name. The rules of premain.go hold here too.

const (
	tuned   = 2 // strings; an even number keeps the stack aligned
	oneP    = "GOMAXPROCS=1\x00"
	noDebug = "GODEBUG=\x00"
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
