package mount

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// carried are the mounts that a new root takes over from an initramfs.
var carried = []string{"/dev", "/proc", "/sys", "/run"}

// ErrNoInitramfs tells that the old root is no file system in memory, and was left as it is.
var ErrNoInitramfs = errors.New("old root filesystem is not an initramfs")

// CheckSwitch finds what would make [SwitchRoot] fail half-way, or leave a machine without
// an init: dir must be where something is mounted, and have the program.
func CheckSwitch(dir, program string) error {
	var top, root unix.Statx_t
	const mask = unix.STATX_TYPE | unix.STATX_MNT_ID
	err := unix.Statx(unix.AT_FDCWD, "/", 0, mask, &top)
	if err == nil {
		err = unix.Statx(unix.AT_FDCWD, dir, 0, mask, &root)
	}
	if err == nil && root.Mode&unix.S_IFMT != unix.S_IFDIR {
		err = unix.ENOTDIR
	}
	if err != nil {
		return fmt.Errorf("use %s: %w", dir, err)
	}
	if root.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 || root.Mnt_id == top.Mnt_id {
		return fmt.Errorf("%s is not a mount point", dir)
	}
	if root.Dev_major == top.Dev_major && root.Dev_minor == top.Dev_minor {
		return fmt.Errorf("%s is on the file system of the old root, which would be emptied", dir)
	}
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(at)
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	fd, err := unix.Openat2(at, program, &how)
	if err != nil {
		return fmt.Errorf("cannot access %s in %s: %w", program, dir, err)
	}
	return unix.Close(fd)
}

// SwitchRoot makes the mount on dir the root of this mount namespace in place of an
// initramfs, which pivot_root(2) cannot put away: what is mounted on /dev, /proc, /sys and
// /run goes along, the mount is moved over "/", and what the old root holds is removed. It
// is done at once, by this process, whose root and working directory are the new root then.
//
// What cannot be moved or removed is in left; where the old root is not in memory nothing
// is removed, and that is [ErrNoInitramfs]. Source: switch_root(8).
func SwitchRoot(dir string) (left []error, err error) {
	old, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /: %w", err)
	}
	defer unix.Close(old)
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(at)
	for _, path := range carried {
		if err := carry(path, at); err != nil {
			left = append(left, err)
		}
	}
	if err := unix.Fchdir(at); err != nil {
		return nil, fmt.Errorf("chdir to %s: %w", dir, err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return nil, fmt.Errorf("move the mount %s to /: %w", dir, err)
	}
	if err := unix.Chroot("."); err != nil {
		return nil, fmt.Errorf("chroot to %s: %w", dir, err)
	}
	if err := unix.Chdir("/"); err != nil {
		return nil, fmt.Errorf("chdir to the new root: %w", err)
	}
	return append(left, emptyInitramfs(old)...), nil
}

// carry moves what is mounted on path to the same path in the directory root, if that is
// there, free, and no link; otherwise it is unmounted.
func carry(path string, root int) error {
	var top, here unix.Statx_t
	const mask = unix.STATX_TYPE | unix.STATX_MNT_ID
	if unix.Statx(unix.AT_FDCWD, "/", 0, mask, &top) != nil || unix.Statx(unix.AT_FDCWD, path, 0, mask, &here) != nil || here.Mnt_id == top.Mnt_id {
		return nil // nothing is mounted there
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV}
	target, err := unix.Openat2(root, strings.TrimPrefix(path, "/"), &how)
	if err == nil {
		defer unix.Close(target)
		err = unix.MoveMount(unix.AT_FDCWD, path, target, "", unix.MOVE_MOUNT_T_EMPTY_PATH)
	}
	if err == nil {
		return nil
	}
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return nil
}

// emptyInitramfs removes what is on the file system of the directory, if that is in memory.
func emptyInitramfs(dir int) (left []error) {
	const ramfs = 0x858458f6
	var fs unix.Statfs_t
	var st unix.Stat_t
	if err := errors.Join(unix.Fstatfs(dir, &fs), unix.Fstat(dir, &st)); err != nil {
		return []error{fmt.Errorf("look at the old root: %w", err)}
	}
	if fs.Type != ramfs && fs.Type != unix.TMPFS_MAGIC {
		return []error{ErrNoInitramfs}
	}
	return empty(dir, "", st.Dev)
}

// empty removes what is in the directory, called path, and not in another file system.
func empty(dir int, path string, dev uint64) (left []error) {
	var names []string
	for buf := make([]byte, 8192); ; {
		n, err := unix.ReadDirent(dir, buf)
		if err != nil {
			return []error{fmt.Errorf("list %s/ of the old root: %w", path, err)}
		}
		if n <= 0 {
			break
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
	for _, name := range names {
		left = append(left, remove(dir, path, name, dev)...)
	}
	return left
}

func remove(dir int, path, name string, dev uint64) []error {
	path += "/" + name
	fail := func(err error) []error { return []error{fmt.Errorf("remove %s of the old root: %w", path, err)} }
	var st unix.Stat_t
	flags := 0
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fail(err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Dev == dev {
		sub, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fail(err)
		}
		defer unix.Close(sub)
		// Something may have been mounted there between the one look and the other.
		if err := unix.Fstat(sub, &st); err != nil {
			return fail(err)
		}
		if st.Dev == dev {
			if left := empty(sub, path, dev); left != nil {
				return left
			}
		}
		flags = unix.AT_REMOVEDIR
	}
	if st.Dev != dev {
		return nil // another file system is left alone
	}
	if err := unix.Unlinkat(dir, name, flags); err != nil {
		return fail(err)
	}
	return nil
}
