// Probe makes the system calls that a file lists, a number and six arguments in each
// line, and prints what became of each: 0 or an errno.
package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"syscall"
)

func main() {
	runtime.LockOSThread()
	list, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	var out bytes.Buffer
	for line := range bytes.Lines(list) {
		var c [7]uint64
		if _, err := fmt.Sscan(string(line), &c[0], &c[1], &c[2], &c[3], &c[4], &c[5], &c[6]); err != nil {
			panic(fmt.Sprintf("%q: %v", line, err))
		}
		_, _, errno := syscall.RawSyscall6(uintptr(c[0]), uintptr(c[1]), uintptr(c[2]), uintptr(c[3]), uintptr(c[4]), uintptr(c[5]), uintptr(c[6]))
		fmt.Fprintln(&out, int(errno))
	}
	os.Stdout.Write(out.Bytes())
}
