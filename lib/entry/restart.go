package entry

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// restart executes this program's own file with env, at the entry point start.
func restart(env []string) error {
	if rec.link != 0 { // the next life goes on with it
		sys(unix.SYS_FCNTL, rec.link, unix.F_SETFD, 0, 0, 0, 0)
	}
	if !rec.ran {
		return restartCopy(env)
	}
	err := execve(selfExe, os.Args, env)
	if errors.Is(err, unix.ENOENT) { // no /proc here
		if fn := execfn(); fn != "" {
			err = execve(fn, os.Args, env)
		}
		if errors.Is(err, unix.ENOENT) {
			return errNoSelf
		}
	}
	return fmt.Errorf("execute %s: %w", selfExe, err)
}

// restartCopy executes a copy of this program, in memory, whose ELF header names
// start as the entry point: what the linker flag -E would have done. The copy is
// sealed, so nothing in a container can write to it.
func restartCopy(env []string) error {
	src, err := os.Open(selfExe)
	if err != nil {
		return errNoSelf
	}
	defer src.Close()
	fd, err := unix.MemfdCreate("staves", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // MFD_EXEC: Linux 6.3
		fd, err = unix.MemfdCreate("staves", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return fmt.Errorf("copy this program to memory (it was linked without '-E staves/lib/entry.start'): %w", err)
	}
	dst := os.NewFile(uintptr(fd), "memfd")
	if _, err := io.Copy(dst, src); err != nil {
		return fmt.Errorf("copy this program to memory: %w", err)
	}
	pc := startPC()
	const entryOffset = 24 // e_entry of a 64-bit ELF header, elf(5)
	if _, err := unix.Pwrite(fd, unsafe.Slice((*byte)(unsafe.Pointer(&pc)), 8), entryOffset); err != nil {
		return fmt.Errorf("copy this program to memory: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE); err != nil {
		return fmt.Errorf("seal the copy of this program: %w", err)
	}
	return fmt.Errorf("execute the copy of this program: %w", execve(fmt.Sprintf("/proc/self/fd/%d", fd), os.Args, env))
}
