package entry

import (
	"errors"
	"fmt"
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
	own, err := harmless()
	if err != nil {
		return err
	}
	err = execve(own, os.Args, env)
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

// harmless returns the path of this program's own file as it may be seen in a container:
// what runs there can reach it, as /proc/PID/exe of a process that waits, or by being
// /proc/self/exe itself (CVE-2019-5736), and is not to write to it.
//
// Root's is the file on a mount of its own, which is read-only and in no mount namespace,
// so that nobody can change that. Anybody else can make no mount yet; a file that is the
// caller's to write to is copied.
func harmless() (string, error) {
	if rec.resumed { // an earlier life has seen to it
		return selfExe, nil
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, selfExe, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if errors.Is(err, unix.EINVAL) {
		fd, err = cloneByPath()
	}
	if err == nil {
		err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	}
	if err == nil {
		return fmt.Sprintf("/proc/self/fd/%d", fd), nil
	}
	if unix.Faccessat(unix.AT_FDCWD, selfExe, unix.W_OK, unix.AT_EACCESS) != nil {
		return selfExe, nil // there may be no /proc, either
	}
	return sealedCopy()
}

// cloneByPath clones the mount of this program's file where it is found by its path: after
// an unshare(CLONE_NEWNS), selfExe leads into the mount namespace before, of which the
// kernel clones nothing.
func cloneByPath() (fd int, err error) {
	path, err := os.Readlink(selfExe)
	if err != nil {
		return -1, err
	}
	fd, err = unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return -1, err
	}
	var here, own unix.Stat_t
	if err = unix.Fstat(fd, &here); err == nil {
		err = unix.Stat(selfExe, &own)
	}
	if err == nil && (here.Dev != own.Dev || here.Ino != own.Ino) {
		err = unix.ENOENT // another file has its name by now
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// restartCopy executes a copy of this program whose ELF header names start as the entry
// point: what the linker flag -E would have done.
func restartCopy(env []string) error {
	own, err := sealedCopy()
	if err != nil {
		return err
	}
	return fmt.Errorf("execute the copy of this program: %w", execve(own, os.Args, env))
}

// sealedCopy returns the path of a copy of this program, in memory, that begins at start.
// It is sealed, so that nobody can write to it; it goes with the process's next execve.
func sealedCopy() (string, error) {
	src, err := unix.Open(selfExe, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return "", errNoSelf
	} else if err != nil {
		return "", fmt.Errorf("read this program: %w", err)
	}
	defer func() { _ = unix.Close(src) }()
	fd, err := unix.MemfdCreate("staves", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // MFD_EXEC: Linux 6.3
		fd, err = unix.MemfdCreate("staves", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return "", fmt.Errorf("copy this program to memory: %w", err)
	}
	for {
		n, err := unix.Sendfile(fd, src, nil, 1<<30)
		if err != nil {
			return "", fmt.Errorf("copy this program to memory: %w", err)
		}
		if n == 0 {
			break
		}
	}
	pc := startPC()
	const entryOffset = 24 // e_entry of a 64-bit ELF header, elf(5)
	if _, err := unix.Pwrite(fd, unsafe.Slice((*byte)(unsafe.Pointer(&pc)), 8), entryOffset); err != nil {
		return "", fmt.Errorf("copy this program to memory: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE); err != nil {
		return "", fmt.Errorf("seal the copy of this program: %w", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), nil
}
