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

// needRoom ends the process where a limit on its memory (RLIMIT_AS, RLIMIT_DATA) is less
// than what the runtime reserves before it runs anything: it would end too, by a trace of
// itself and status 2.
//
//go:nosplit
//go:norace
func needRoom() {
	const ( // of Go 1.26, found by trial; most of it is never touched
		space, data          = 700 << 20, 56 << 20
		rlimitData, rlimitAS = 2, 9
	)
	if isBelow(rlimitAS, space) {
		refuse("the limit on address space is too low (ulimit -v): the start takes 700 MB of it, untouched\n")
	}
	if isBelow(rlimitData, data) {
		refuse("the limit on data is too low (ulimit -d): the start takes 56 MB of it, untouched\n")
	}
}

// isBelow tells whether this process is limited to less than so many bytes.
//
//go:nosplit
//go:norace
func isBelow(resource, bytes uintptr) bool {
	limit := uintptr(unsafe.Pointer(&scratch.info))
	return !isErr(sys(unix.SYS_PRLIMIT64, 0, resource, 0, limit, 0, 0)) && uintptr(scratch.info[0]) < bytes
}

// refuse says that the process has no memory to start, and what helps, and ends it.
//
//go:nosplit
//go:norace
func refuse(hint string) {
	name, n := baseName()
	sys(unix.SYS_WRITE, 2, uintptr(name), n, 0, 0, 0)
	complain(": start: cannot allocate memory\n")
	sys(unix.SYS_WRITE, 2, uintptr(name), n, 0, 0, 0)
	complain(": hint: ")
	complain(hint)
	exit(125)
}

//go:nosplit
//go:norace
func complain(s string) {
	sys(unix.SYS_WRITE, 2, uintptr(unsafe.Pointer(unsafe.StringData(s))), uintptr(len(s)), 0, 0, 0)
}
