// Package mount makes and places mounts through descriptors: fsopen(2), fsmount(2),
// open_tree(2), mount_setattr(2), move_mount(2), of Linux 5.12 and later.
//
// A mount is first made detached, with all its attributes, and only then attached to
// a directory that is named by a descriptor too. So nothing is visible half-made, and
// no path is resolved twice: a symbolic link that a hostile tree swaps in meanwhile
// has nothing to redirect.
//
// The functions write system calls down in an [entry.Builder]; a [entry.Reg] they
// return is the descriptor that there will be.
//
// When not to use this package: for mounts the machine should keep, which belong in
// fstab(5); and for kernels before 5.12.
package mount

import (
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// Attributes of a mount, not of its file system (mount_setattr(2)).
const (
	ReadOnly = unix.MOUNT_ATTR_RDONLY
	NoSuid   = unix.MOUNT_ATTR_NOSUID
	NoDev    = unix.MOUNT_ATTR_NODEV
	NoExec   = unix.MOUNT_ATTR_NOEXEC

	NoSymFollow = unix.MOUNT_ATTR_NOSYMFOLLOW
	NoATime     = unix.MOUNT_ATTR_NOATIME
	StrictATime = unix.MOUNT_ATTR_STRICTATIME
	NoDirATime  = unix.MOUNT_ATTR_NODIRATIME
)

// An Option is a parameter of a file system: "mode=755" is {"mode", "755"}, a flag has
// no value.
type Option struct{ Key, Value string }

// New makes a detached mount of a new file system of type fstype, with the given
// attributes. Closing the descriptor before [Attach] ends the mount.
func New(b *entry.Builder, fstype string, attr int, opts ...Option) entry.Reg {
	what := "mount " + fstype
	fs := open(b, fstype)
	for _, o := range opts {
		configure(b, what+" with "+strings.TrimSuffix(o.Key+"="+o.Value, "="), fs, o)
	}
	create(b, what, fs)
	return finish(b, what, fs, attr)
}

// NewWith is [New] with one more option, which the file system may refuse (EINVAL): when
// it is set, or, if the file system has not been moved to fsconfig(2) yet, when it is
// created.
func NewWith(b *entry.Builder, fstype string, attr int, wish Option, opts ...Option) entry.Reg {
	what := "mount " + fstype
	set := func() entry.Reg {
		fs := open(b, fstype)
		for _, o := range opts {
			configure(b, what+" with "+strings.TrimSuffix(o.Key+"="+o.Value, "="), fs, o)
		}
		return fs
	}
	fs := set()
	b.Try(what, unix.EINVAL, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_SET_STRING, wish.Key, wish.Value, 0)
	var m entry.Reg
	b.If(what, unix.EINVAL, func(entry.Reg) {
		m = finish(b, what, fs, attr)
	}, func() {
		fs := set()
		create(b, what, fs)
		b.Again(m, what, unix.SYS_FSMOUNT, fs, unix.FSMOUNT_CLOEXEC, attr)
		b.Log(0)
		b.Close(fs)
	}, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
	return m
}

// open makes a file system context. What the kernel logs in it explains later errors.
func open(b *entry.Builder, fstype string) entry.Reg {
	fs := b.Get("mount "+fstype, unix.SYS_FSOPEN, fstype, unix.FSOPEN_CLOEXEC)
	b.Log(fs)
	// The source is what df(1) and mountinfo show; it has no other meaning here.
	configure(b, "mount "+fstype, fs, Option{"source", fstype})
	return fs
}

func configure(b *entry.Builder, what string, fs entry.Reg, o Option) {
	if o.Value == "" {
		b.Do(what, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_SET_FLAG, o.Key, 0, 0)
	} else {
		b.Do(what, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_SET_STRING, o.Key, o.Value, 0)
	}
}

func create(b *entry.Builder, what string, fs entry.Reg) {
	b.Do(what, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
}

// finish turns a context whose file system has been created into a detached mount.
func finish(b *entry.Builder, what string, fs entry.Reg, attr int) entry.Reg {
	m := b.Get(what, unix.SYS_FSMOUNT, fs, unix.FSMOUNT_CLOEXEC, attr)
	b.Log(0)
	b.Close(fs)
	return m
}

// Clone makes a detached copy of the mount at path, as a bind mount is, with the mounts
// beneath it if recursive. dir is a Reg or AT_FDCWD; a path of "" means dir itself.
func Clone(b *entry.Builder, what string, dir any, path string, recursive bool) entry.Reg {
	return b.Get(what, unix.SYS_OPEN_TREE, dir, path, cloneFlags(path, recursive))
}

func cloneFlags(path string, recursive bool) int {
	flags := unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	return flags
}

// SetAttr sets attributes of the mount fd, and of all mounts beneath it if recursive.
func SetAttr(b *entry.Builder, what string, fd entry.Reg, attr uint64, recursive bool) {
	flags := unix.AT_EMPTY_PATH
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	arg := unix.MountAttr{Attr_set: attr}
	b.Do(what, unix.SYS_MOUNT_SETATTR, fd, "", flags, entry.Struct(&arg), int(unsafe.Sizeof(arg)))
}

// MapIDs has the detached mount fd, and all beneath it if recursive, show the owners of its
// files by the map of a user namespace, a descriptor: inner ids are those on disk, outer
// ones those that are seen. Not every file system can (Linux 5.12 for ext4, 6.3 for tmpfs,
// overlay never: EINVAL), and only root of the machine may (EPERM).
func MapIDs(b *entry.Builder, what string, fd entry.Reg, userns int, recursive bool) {
	b.Do(what, unix.SYS_MOUNT_SETATTR, mapIDs(fd, userns, recursive)...)
}

func mapIDs(fd entry.Reg, userns int, recursive bool) []any {
	flags := unix.AT_EMPTY_PATH
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	arg := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns)}
	return []any{fd, "", flags, entry.Struct(&arg), int(unsafe.Sizeof(arg))}
}

// Attach puts the detached mount fd on the directory or file that target, an O_PATH
// descriptor, names.
func Attach(b *entry.Builder, what string, fd, target entry.Reg) {
	b.Do(what, unix.SYS_MOVE_MOUNT, fd, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// AttachPath puts the detached mount fd on the directory at path.
func AttachPath(b *entry.Builder, what string, fd entry.Reg, path string) {
	b.Do(what, unix.SYS_MOVE_MOUNT, fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// OverRoot is the path under which [AttachOverRoot] leaves a mount.
const OverRoot = "/.."

// AttachOverRoot puts the detached mount fd on "/" of this mount namespace. Processes
// whose root lies beneath do not see it: a path that starts at "/" starts below the
// mount, and only ".." from the root crosses onto it (path_resolution(7)). So it is a
// place to keep a tree that needs no directory of its own and hides nothing.
func AttachOverRoot(b *entry.Builder, what string, fd entry.Reg) {
	AttachPath(b, what+" over /", fd, "/")
}

// OwnNamespace moves the process into a mount namespace of its own, cut off from mount
// events of the one it leaves: on a machine with systemd the mounts are shared, and
// what is mounted inside would appear outside (mount_namespaces(7)).
func OwnNamespace(b *entry.Builder) {
	b.Do("unshare(CLONE_NEWNS)", unix.SYS_UNSHARE, unix.CLONE_NEWNS)
	b.Do("make / private", unix.SYS_MOUNT, "none", "/", 0, unix.MS_REC|unix.MS_PRIVATE, 0)
}

// SlaveNamespace is [OwnNamespace], but that what is mounted outside later, on a mount that
// is shared there, is seen inside too.
func SlaveNamespace(b *entry.Builder) {
	b.Do("unshare(CLONE_NEWNS)", unix.SYS_UNSHARE, unix.CLONE_NEWNS)
	b.Do("make / slave", unix.SYS_MOUNT, "none", "/", 0, unix.MS_REC|unix.MS_SLAVE, 0)
}

// PlainModes has file modes meant as they are written while f writes its calls: mkdir(2)
// and mknod(2) obey the umask.
func PlainModes(b *entry.Builder, f func()) {
	old := b.Get("umask", unix.SYS_UMASK, 0)
	f()
	b.Do("umask", unix.SYS_UMASK, old)
	b.Forget(old)
}
