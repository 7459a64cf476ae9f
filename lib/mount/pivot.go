package mount

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Pivot makes the tree, whose descriptor is the root of a mount, the root of this mount
// namespace and of every process in it whose root was the old one, and detaches the old
// root with everything mounted on it. The working directory is then the new root.
func Pivot(root *Tree) error {
	old, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /: %w", err)
	}
	defer unix.Close(old)
	err = pivotRoot(root.FD)
	if errors.Is(err, unix.EINVAL) {
		// The mount may be locked: inherited when a user namespace was made after it.
		// A copy made here is not.
		if err = root.copyOverRoot(); err == nil {
			err = pivotRoot(root.FD)
		}
	}
	if err != nil {
		return err
	}
	if err := unix.Fchdir(old); err != nil {
		return fmt.Errorf("chdir to the old root: %w", err)
	}
	// The old root now lies on the new one. Other mounts may lie on it: each call takes
	// the topmost away, until the working directory is in no mount of the namespace.
	for err = nil; err == nil; {
		err = unix.Unmount(".", unix.MNT_DETACH)
	}
	if !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount the old root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("chdir to the new root: %w", err)
	}
	return alone()
}

// pivotRoot: with "." for both, the old root ends up on top of the new one, and no
// directory is needed to put it in (pivot_root(2)).
func pivotRoot(fd int) error {
	if err := unix.Fchdir(fd); err != nil {
		return fmt.Errorf("chdir to the new root: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	return nil
}

// copyOverRoot replaces the tree's mount by a copy of it, with all that is mounted
// beneath, over "/".
func (t *Tree) copyOverRoot() error {
	fd, err := Clone(t.FD, "", true)
	if err != nil {
		return err
	}
	t.Close()
	t.FD = fd
	return AttachOverRoot(fd, "a copy of the new root")
}

// alone verifies that nothing lies over the root: that the old one is gone.
func alone() error {
	var root, above unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, "/", 0, unix.STATX_MNT_ID, &root)
	if err == nil {
		err = unix.Statx(unix.AT_FDCWD, OverRoot, 0, unix.STATX_MNT_ID, &above)
	}
	if err != nil {
		return fmt.Errorf("verify that the old root is gone: %w", err)
	}
	if root.Mnt_id != above.Mnt_id {
		return fmt.Errorf("unmount the old root: it is still there: %w", unix.EBUSY)
	}
	return nil
}

// CloseDoors closes every descriptor above 2 but those in keep, and refuses a standard
// descriptor that is a directory: each is a way to the old root. To be called after
// [Pivot]; nothing of this program's own may be open but what the runtime keeps.
func CloseDoors(keep []int) error {
	for fd := range 3 {
		var st unix.Stat_t
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			continue // not the caller's, or not the payload's
		}
		if err := unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return fmt.Errorf("standard descriptor %d is a directory of the old root: %w", fd, unix.EBADF)
		}
	}
	stay, err := runtimeFDs()
	if err != nil {
		return err
	}
	stay = append(stay, keep...)
	slices.Sort(stay)
	from := uint(3)
	for _, fd := range stay {
		if uint(fd) > from {
			if err := unix.CloseRange(from, uint(fd)-1, 0); err != nil {
				return fmt.Errorf("close_range: %w", err)
			}
		}
		from = max(from, uint(fd)+1)
	}
	if err := unix.CloseRange(from, ^uint(0)>>32, 0); err != nil {
		return fmt.Errorf("close_range: %w", err)
	}
	return nil
}

// runtimeFDs are the descriptors of the runtime's poller, if it has one: close-on-exec
// ones that are no file (epoll(7), eventfd(2)). To close them would crash the runtime.
func runtimeFDs() ([]int, error) {
	var own []int
	var st unix.Stat_t
	limit := 64
	for fd := 3; fd < limit; fd++ {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if errors.Is(err, unix.EBADF) {
			continue
		}
		limit = max(limit, fd+64) // the lowest free ones are taken, so none lies far beyond
		if err != nil {
			return nil, fmt.Errorf("look at descriptor %d: %w", fd, err)
		}
		if flags&unix.FD_CLOEXEC != 0 && unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == 0 {
			own = append(own, fd)
		}
	}
	return own, nil
}

// Enter makes dir, a path in the new root, the working directory, and verifies that the
// kernel finds it there.
func Enter(dir string) error {
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("chdir %s: %w", dir, err)
	}
	// getcwd(2) says "(unreachable)" of a directory outside the root.
	wd, err := unix.Getwd()
	if err != nil {
		return fmt.Errorf("getcwd after chdir %s: %w", dir, err)
	}
	if !strings.HasPrefix(wd, "/") {
		return fmt.Errorf("chdir %s: that is outside the new root: %w", dir, unix.EXDEV)
	}
	return nil
}

// InitialPidNamespace tells whether the caller is in the pid namespace that the machine
// started with, whose inode number is fixed (PROC_PID_INIT_INO of the kernel). Without
// /proc it says yes, the answer that gives least away.
func InitialPidNamespace() bool {
	const initial = 0xeffffffc
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/pid", &st); err != nil {
		return !foreignPid()
	}
	return st.Ino == initial
}

// foreignPid tells, where the /proc in view belongs to another pid namespace, that this
// process is not in the initial one: there /proc shows it under its own pid.
func foreignPid() bool {
	buf := make([]byte, 32)
	n, err := unix.Readlink("/proc/self", buf)
	if err != nil {
		return false
	}
	pid, err := strconv.Atoi(string(buf[:n]))
	return err == nil && pid != unix.Getpid()
}
