package entry

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the waiter tells a supervisor: a pid file, and JSON in the words of bwrap(1).

// report is the text being written.
var report struct {
	n    uintptr
	text [768]byte
}

//go:nosplit
//go:norace
func addByte(c byte) {
	if report.n < unsafe.Sizeof(report.text) {
		*(*byte)(unsafe.Add(unsafe.Pointer(&report.text), report.n)) = c
		report.n++
	}
}

//go:nosplit
//go:norace
func add(s string) {
	p := unsafe.Pointer(unsafe.StringData(s))
	for i := 0; i < len(s); i++ {
		addByte(*(*byte)(unsafe.Add(p, i)))
	}
}

//go:nosplit
//go:norace
func addNumber(n uint64) {
	digits := uintptr(1)
	for m := n; m >= 10; m /= 10 {
		digits++
	}
	if report.n+digits > unsafe.Sizeof(report.text) {
		return
	}
	report.n += digits
	for i := uintptr(1); i <= digits; i++ {
		*(*byte)(unsafe.Add(unsafe.Pointer(&report.text), report.n-i)) = '0' + byte(n%10)
		n /= 10
	}
}

// send writes the report to a descriptor. It returns an errno, negative.
//
//go:nosplit
//go:norace
func send(f uintptr) uintptr {
	for done := uintptr(0); done < report.n; {
		r := sys(unix.SYS_WRITE, f, uintptr(unsafe.Add(unsafe.Pointer(&report.text), done)), report.n-done, 0, 0, 0)
		if isErr(r) {
			return r
		}
		done += r
	}
	return 0
}

// greet answers the child's hello: what it must not go on without is done. It returns an
// errno.
//
//go:nosplit
//go:norace
func greet() uintptr {
	r := startWatch()
	makeRaw(true)
	if !isErr(r) && *heldAt(slotPidFile) != 0 {
		report.n = 0
		addNumber(uint64(waiting.child))
		addByte('\n')
		if r = sys(unix.SYS_FTRUNCATE, fd(slotPidFile), 0, 0, 0, 0, 0); !isErr(r) {
			r = send(fd(slotPidFile))
		}
	}
	if !isErr(r) && *heldAt(slotInfo)|*heldAt(slotStatus) != 0 {
		describe()
		if *heldAt(slotInfo) != 0 {
			r = send(fd(slotInfo))
			drop(slotInfo)
		}
		if !isErr(r) && *heldAt(slotStatus) != 0 {
			r = send(fd(slotStatus))
		}
	}
	if !isErr(r) {
		return 0
	}
	return -r
}

// describe makes an object of the child's pid and its namespaces' numbers.
//
//go:nosplit
//go:norace
func describe() {
	report.n = 0
	add(`{ "child-pid": `)
	addNumber(uint64(waiting.child))
	describeNamespace("cgroup")
	describeNamespace("ipc")
	describeNamespace("mnt")
	describeNamespace("net")
	describeNamespace("pid")
	describeNamespace("time")
	describeNamespace("user")
	describeNamespace("uts")
	add(" }\n")
}

// describeNamespace adds the number that the kernel shows for one, where there is a /proc
// to show it.
//
//go:nosplit
//go:norace
func describeNamespace(kind string) {
	const inode = 4 // the word of struct statx that is stx_ino
	start := report.n
	add("/proc/")
	addNumber(uint64(waiting.child))
	add("/ns/")
	add(kind)
	addByte(0)
	path := uintptr(unsafe.Pointer(&report.text)) + start
	r := sys(unix.SYS_STATX, atFdcwd, path, 0, unix.STATX_INO, uintptr(unsafe.Pointer(&scratch.statx)), 0)
	report.n = start
	if isErr(r) {
		return
	}
	add(`, "`)
	add(kind)
	add(`-namespace": `)
	addNumber(scratch.statx[inode])
}

// reportEnd tells how the child ended: the exit code that a shell would show, and the
// signal, if that was it.
//
//go:nosplit
//go:norace
func reportEnd(status int32) {
	if *heldAt(slotStatus) == 0 {
		return
	}
	report.n = 0
	add(`{ "exit-code": `)
	if sig := uint64(status) & 0x7f; sig != 0 {
		addNumber(128 + sig)
		add(`, "signal": `)
		addNumber(sig)
	} else {
		addNumber(uint64(status) >> 8 & 0xff)
	}
	add(" }\n")
	send(fd(slotStatus)) // nobody may read any more, and the child has ended all the same
}
