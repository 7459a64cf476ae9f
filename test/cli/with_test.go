package cli

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// with is a command for scripts: this test's own file under another name.
//
//	with [block=SIG,...] [ignore=SIG,...] [env=TEXT]... COMMAND...
//
// executes COMMAND with those signals blocked and ignored, and with each TEXT as an
// entry of its environment, which may be there twice already or have no "=".
func with(args []string) {
	runtime.LockOSThread()
	env := os.Environ()
	for len(args) > 0 {
		key, value, ok := strings.Cut(args[0], "=")
		if !ok {
			break
		}
		args = args[1:]
		if key == "env" {
			env = append(env, value)
			continue
		}
		for _, name := range strings.Split(value, ",") {
			sig := unix.SignalNum("SIG" + name)
			if sig == 0 {
				fatal(fmt.Errorf("with: %q is no signal", name))
			}
			switch key {
			case "block":
				set := uint64(1) << (sig - 1)
				_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, uintptr(unsafe.Pointer(&set)), 0, 8, 0, 0)
				if errno != 0 {
					fatal(errno)
				}
			case "ignore":
				// Not os/signal: it keeps a handler for some. SIG_IGN is 1.
				act := [4]uint64{1}
				_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
				if errno != 0 {
					fatal(errno)
				}
			}
		}
	}
	path, err := exec.LookPath(args[0])
	fatal(err)
	fatal(syscall.Exec(path, args, env))
}
