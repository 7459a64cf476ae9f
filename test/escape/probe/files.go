package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// doubleChroot leaves a chroot as root can: a second one beneath the working directory
// leaves that outside, and ".." leads on from there (chroot(2)).
func doubleChroot(words []string) (string, error) {
	if err := os.MkdirAll("/tmp/jail", 0o755); err != nil {
		return "", err
	}
	if err := os.Chdir("/"); err != nil {
		return "", err
	}
	if err := unix.Chroot("/tmp/jail"); err != nil {
		return "", fmt.Errorf("chroot: %w", err)
	}
	if marked(strings.Repeat("../", 64) + words[0]) {
		return "by .. from a chroot beneath the working directory", nil
	}
	for range 64 {
		_ = os.Chdir("..")
	}
	_ = unix.Chroot(".")
	return path(words)
}

// unmountRoot takes mounts away from over the old root, if it is still there, and enters
// its own mount namespace anew, which leads to the root of that.
func unmountRoot(words []string) (string, error) {
	own, err := os.Open("/proc/self/ns/mnt")
	if err != nil {
		return "", err
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // setns(2) wants that for a mount namespace
		return "", err
	}
	var last error
	for range 8 {
		for _, p := range []string{"/", "/..", "."} {
			if err := unix.Unmount(p, unix.MNT_DETACH); err != nil {
				last = err
			}
		}
		_ = unix.Setns(int(own.Fd()), unix.CLONE_NEWNS)
		if marked(words[0]) || marked("/.."+words[0]) || marked(strings.Repeat("../", 64)+words[0]) {
			return "beneath the root", nil
		}
	}
	return "", last
}

// descriptors looks at each descriptor above 2 that was inherited, and at the directories
// among 0 to 2.
func descriptors(words []string) (string, error) {
	for fd := range 1024 {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 { // those are the runtime's
			continue
		}
		for _, p := range []string{strings.TrimPrefix(words[0], "/"), strings.Repeat("../", 64) + words[0]} {
			if f, err := unix.Openat(fd, p, unix.O_RDONLY, 0); err == nil {
				_ = unix.Close(f)
				return fmt.Sprintf("through descriptor %d", fd), nil
			}
		}
		if fd > 2 {
			return fmt.Sprintf("descriptor %d is open", fd), nil
		}
	}
	return "", nil
}

// openByHandle opens a file by its handle, as any file of a disk can be that holds the
// root (open_by_handle_at(2)).
func openByHandle(words []string) (string, error) {
	kind, err := strconv.ParseInt(words[0], 10, 32)
	if err != nil {
		return "", err
	}
	handle, err := hex.DecodeString(words[1])
	if err != nil {
		return "", err
	}
	root, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", err
	}
	fd, err := unix.OpenByHandleAt(root, unix.NewFileHandle(int32(kind), handle), unix.O_RDONLY)
	if err != nil {
		return "", fmt.Errorf("open_by_handle_at: %w", err)
	}
	if marked("/proc/self/fd/" + strconv.Itoa(fd)) {
		return "the file of that handle", nil
	}
	return "", errors.New("the handle is another file's")
}

// makeNode makes a device that is nobody's, /dev/zero's numbers, in each directory, and
// opens it: where that works, a disk's would.
func makeNode(words []string) (string, error) {
	var last error
	for _, dir := range words {
		p := filepath.Join(dir, "node")
		if last = unix.Mknod(p, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); last != nil {
			continue
		}
		f, err := os.OpenFile(p, os.O_RDWR, 0)
		_ = os.Remove(p)
		if err == nil {
			_ = f.Close()
			return "a device that was made in " + dir, nil
		}
		last = err
	}
	return "", last
}

// changeDevices changes the mode, the owner and the times of each node: where it is the
// host's, the host sees it. What it changed, who started it compares.
func changeDevices([]string) (string, error) {
	nodes, err := filepath.Glob("/dev/*")
	if err != nil {
		return "", err
	}
	for _, p := range nodes {
		var st unix.Stat_t
		if unix.Lstat(p, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
			continue
		}
		_ = unix.Chmod(p, 0o600)
		_ = unix.Lchown(p, 7, 7)
		_ = unix.Utimes(p, []unix.Timeval{{Sec: 1}, {Sec: 1}})
		_ = unix.Setxattr(p, "trusted.staves", []byte("x"), 0)
	}
	return "", nil
}

// becomeRoot tells whether it is somebody else's privileges that this program runs with.
func becomeRoot([]string) (string, error) {
	if os.Geteuid() == 0 {
		return "root", nil
	}
	return "", fmt.Errorf("user %d", os.Geteuid())
}

// openDevices opens devices that are there.
func openDevices(words []string) (string, error) {
	var last error
	for _, p := range words {
		f, err := os.OpenFile(p, os.O_RDWR, 0)
		if err == nil {
			_ = f.Close()
			return "the device " + p, nil
		}
		last = err
	}
	return "", last
}
