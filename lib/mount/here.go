package mount

import (
	"fmt"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// Here makes a detached mount in a mount namespace of its own, which hides the making,
// and attaches it to target in the caller's: at once, in this process. The caller has
// locked its goroutine to the thread, which shares no working directory with other
// threads afterwards.
func Here(target string, make func(b *entry.Builder) entry.Reg) error {
	at, err := unix.Open(target, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", target, err)
	}
	defer unix.Close(at)
	home, err := unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open this mount namespace: %w", err)
	}
	defer unix.Close(home)
	cwd, err := unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the working directory: %w", err)
	}
	defer unix.Close(cwd)

	var b entry.Builder
	OwnNamespace(&b)
	reg := make(&b)
	if err := (&entry.Program{Ops: b.Ops()}).Run(); err != nil {
		return err
	}
	fd := entry.Value(reg)
	defer unix.Close(fd)
	if err := unix.Setns(home, unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("return to this mount namespace: %w", err)
	}
	if err := unix.Fchdir(cwd); err != nil { // setns(2) moves the thread to the root
		return fmt.Errorf("return to the working directory: %w", err)
	}
	if err := unix.MoveMount(fd, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("attach the mount to %s: %w", target, err)
	}
	return nil
}
