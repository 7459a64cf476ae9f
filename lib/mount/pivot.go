package mount

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
	"staves/lib/probe"
)

// Pivot makes the tree, whose descriptor is the root of a mount, the root of this mount
// namespace and of every process in it whose root was the old one, and detaches the old
// root with everything mounted on it. The working directory is then the new root.
func Pivot(b *entry.Builder, root *Tree) {
	old := b.Get("open /", unix.SYS_OPENAT, unix.AT_FDCWD, "/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	// pivot_root(2): with "." for both, the old root ends up on top of the new one, and
	// no directory is needed to put it in.
	b.Do("chdir to the new root", unix.SYS_FCHDIR, root.FD)
	b.If("pivot_root", unix.EINVAL, nil, func() {
		// The mount may be locked: inherited when a user namespace was made after it. A
		// copy made here is not.
		fd := Clone(b, "copy the new root", root.FD, "", true)
		AttachOverRoot(b, "attach a copy of the new root", fd)
		b.Do("chdir to the new root", unix.SYS_FCHDIR, fd)
		b.Close(fd)
		b.Do("pivot_root", unix.SYS_PIVOT_ROOT, ".", ".")
	}, unix.SYS_PIVOT_ROOT, ".", ".")
	b.Do("chdir to the old root", unix.SYS_FCHDIR, old)
	b.Close(old)
	// Other mounts may lie on the old root: each call takes the topmost away, until the
	// working directory is in no mount of the namespace.
	b.Do("unmount the old root", unix.SYS_UMOUNT2, ".", unix.MNT_DETACH)
	for range maxStacked {
		b.Try("unmount the old root", unix.EINVAL, unix.SYS_UMOUNT2, ".", unix.MNT_DETACH)
	}
	b.Do("chdir to the new root", unix.SYS_CHDIR, "/")
	alone(b)
	b.Close(root.FD)
}

// maxStacked is how many mounts may lie on the old root. A stage leaves at most two.
const maxStacked = 6

// PivotTo is [Pivot] without an end for the old root: it goes to dir in the tree, made
// where missing, with everything that is mounted on it.
func PivotTo(b *entry.Builder, root *Tree, dir string) {
	b.Close(root.RealDir(b, dir))
	b.Do("chdir to the new root", unix.SYS_FCHDIR, root.FD)
	b.Do("pivot_root", unix.SYS_PIVOT_ROOT, ".", below(dir))
	b.Do("chdir to the new root", unix.SYS_CHDIR, "/")
	b.Close(root.FD)
}

// Chroot makes the tree the root of this process, and of no other: chroot(2). The old
// root stays mounted, and root finds it again.
func Chroot(b *entry.Builder, root *Tree) {
	b.Do("chdir to the new root", unix.SYS_FCHDIR, root.FD)
	b.Do("chroot", unix.SYS_CHROOT, ".")
	b.Close(root.FD)
}

// Move makes the tree, which lies over "/" ([AttachOverRoot]), the root, where the old one
// is an initramfs: pivot_root(2) cannot put that away. All else that is mounted now is
// detached; a full proc among it would let a user namespace inside mount one without masks.
func Move(b *entry.Builder, root *Tree) error {
	others, err := onRoot()
	if err != nil {
		return err
	}
	for _, path := range others {
		what := "unmount " + path
		b.Do(what, unix.SYS_UMOUNT2, path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		for range maxStacked {
			b.Try(what, unix.EINVAL, unix.SYS_UMOUNT2, path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
	}
	b.Do("chdir to the new root", unix.SYS_FCHDIR, root.FD)
	b.Do("chroot", unix.SYS_CHROOT, ".")
	alone(b)
	b.Close(root.FD)
	return nil
}

// onRoot lists where on the root mount others are mounted, each once.
func onRoot() ([]string, error) {
	text, err := probe.ReadProc("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var top unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, "/", 0, unix.STATX_MNT_ID, &top); err != nil {
		return nil, fmt.Errorf("statx /: %w", err)
	}
	var paths []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 5 || f[1] != strconv.FormatUint(top.Mnt_id, 10) {
			continue
		}
		if path := probe.Unescape(f[4]); path != "/" && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths) // what lies over another one's path comes before it
	return paths, nil
}

// alone verifies that nothing lies over the root: that the old one is gone.
func alone(b *entry.Builder) {
	const what, mountID = "unmount the old root completely", 144 // stx_mnt_id
	root, above := &entry.Buffer{Size: 256}, &entry.Buffer{Size: 256}
	b.Do(what, unix.SYS_STATX, unix.AT_FDCWD, "/", 0, unix.STATX_MNT_ID, root)
	b.Do(what, unix.SYS_STATX, unix.AT_FDCWD, OverRoot, 0, unix.STATX_MNT_ID, above)
	b.Check(what, entry.Field{Buffer: root, Offset: mountID}, entry.Field{Buffer: above, Offset: mountID}, ^uintptr(0), unix.EBUSY)
}

// CloseDoors closes every descriptor above 2 but those in keep, and fails with EISDIR if
// a standard descriptor is a directory: each is a way to the old root. To be made before
// the Go runtime starts, which has descriptors of its own.
func CloseDoors(b *entry.Builder, keep []int) {
	for fd := range 3 {
		if entry.Closed(fd) {
			continue
		}
		what := fmt.Sprintf("take descriptor %d along, a directory of the old root", fd)
		// Any other error than ENOTDIR stays one: a directory that may not be searched now
		// may be opened to everybody with fchmod(2) later.
		b.If(what, unix.ENOTDIR, func(r entry.Reg) {
			b.Forget(r)
			b.Check(what, 0, 1, 1, unix.EISDIR)
		}, nil, unix.SYS_OPENAT, fd, ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	stay := slices.Clone(keep)
	slices.Sort(stay)
	from := 3
	for _, fd := range stay {
		if fd > from {
			b.CloseRange("close_range", uint(from), uint(fd-1))
		}
		from = max(from, fd+1)
	}
	b.CloseRange("close_range", uint(from), 0xffffffff)
}

// LeaveKeyring gives the process a session keyring of its own, empty: the caller's holds
// keys that programs of the caller's session may use (session-keyring(7)). Where there are
// no keys, or they may not be used here, there is nothing to leave.
func LeaveKeyring(b *entry.Builder) {
	b.If("find the session keyring", entry.AnyError, func(r entry.Reg) {
		b.Forget(r)
		b.Do("join a new session keyring", unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0)
	}, nil, unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, -3, 0) // KEY_SPEC_SESSION_KEYRING
}

// Enter makes dir, a path in the new root, the working directory, and verifies that the
// kernel finds it there: getcwd(2) says "(unreachable)" of a directory outside the root.
func Enter(b *entry.Builder, dir string) {
	b.Do("chdir "+dir, unix.SYS_CHDIR, dir)
	wd := &entry.Buffer{Size: unix.PathMax}
	b.Do("getcwd after chdir "+dir, unix.SYS_GETCWD, wd, wd.Size)
	b.Check("find "+dir+" in the new root", entry.Field{Buffer: wd}, int('/'), 0xff, unix.EXDEV)
}
