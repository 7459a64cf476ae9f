package mount

import (
	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// hidden are the attributes of the file systems in which the kernel shows itself.
const hidden = NoSuid | NoDev | NoExec

// Proc mounts a new proc on proc in the tree, with parts of it covered. It shows the pid
// namespace of the process; in a user namespace the kernel wants that to be one of its
// own (EPERM otherwise). Opts are those of proc(5): subset=pid.
func Proc(b *entry.Builder, root *Tree, cover Cover, opts ...Option) {
	fd := New(b, "proc", hidden, opts...)
	attachReal(b, fd, root, "proc")
	cover.proc(b, &Tree{FD: fd, Name: "/proc"})
	b.Close(fd)
}

// A Sysfs says where the sysfs of a new root comes from.
type Sysfs int

// The kernel lets a user namespace mount sysfs only with a network namespace of its own.
const (
	NewSys    Sysfs = iota // a new one, of this network namespace
	BoundSys               // the present /sys, with what is mounted beneath it
	EitherSys              // the one, or where that is refused the other
)

// Sys puts sysfs, read-only throughout, on sys in the tree, with parts of it covered.
func Sys(b *entry.Builder, root *Tree, from Sysfs, cover Cover) {
	const attr = hidden | ReadOnly
	fd := newSys(b, attr, from)
	attachReal(b, fd, root, "sys")
	t := &Tree{FD: fd, Name: "/sys"}
	cover.sys(b, t)
	if from == BoundSys && cover.Mask {
		t.maskDirs(b, []string{"fs/cgroup"}) // the host's, with all groups
	}
	b.Close(fd)
}

// newSys makes a detached mount of sysfs, or a copy of the present one. Both to begin
// with sysfs and to mount it can be refused: the one without a network namespace of its
// own, the other where parts of the present /sys are masked.
func newSys(b *entry.Builder, attr int, from Sysfs) (fd entry.Reg) {
	const what, copied = "mount sysfs", "bind /sys"
	switch from {
	case NewSys:
		return New(b, "sysfs", attr)
	case BoundSys:
		fd = Clone(b, copied, unix.AT_FDCWD, "/sys", true)
		SetAttr(b, copied+" read-only", fd, uint64(attr), true)
		return fd
	}
	instead := func() {
		b.Again(fd, copied, unix.SYS_OPEN_TREE, unix.AT_FDCWD, "/sys", cloneFlags("/sys", true))
		SetAttr(b, copied+" read-only", fd, uint64(attr), true)
	}
	b.If(what, unix.EPERM, func(fs entry.Reg) {
		configure(b, what, fs, Option{"source", "sysfs"})
		create(b, what, fs)
		b.If(what, unix.EPERM, func(m entry.Reg) {
			fd = m
		}, instead, unix.SYS_FSMOUNT, fs, unix.FSMOUNT_CLOEXEC, attr)
		b.Close(fs)
	}, instead, unix.SYS_FSOPEN, "sysfs", unix.FSOPEN_CLOEXEC)
	return fd
}

// Mqueue mounts the POSIX message queues of this ipc namespace on dev/mqueue in the tree
// (mq_overview(7)).
func Mqueue(b *entry.Builder, root *Tree) {
	fd := New(b, "mqueue", hidden)
	attachReal(b, fd, root, "dev/mqueue")
	b.Close(fd)
}

// A Hierarchy is one of the machine's hierarchies of control groups (cgroups(7)).
type Hierarchy struct {
	Name        string // of its directory in /sys/fs/cgroup, where there are several
	V2          bool
	Controllers []string // of one of v1
}

// Cgroup mounts the control groups below this cgroup namespace's root on sys/fs/cgroup in
// the tree: a single hierarchy of v2 there, several each on a directory of their own.
func Cgroup(b *entry.Builder, root *Tree, all []Hierarchy, writable bool) {
	attr := hidden
	if !writable {
		attr |= ReadOnly
	}
	const at = "sys/fs/cgroup"
	if len(all) == 1 && all[0].V2 {
		fd := New(b, "cgroup2", attr)
		attachReal(b, fd, root, at)
		b.Close(fd)
		return
	}
	dir := New(b, "tmpfs", hidden, Option{"mode", "755"}, Option{"size", "4k"})
	attachReal(b, dir, root, at)
	for _, h := range all {
		what := "mount " + at + "/" + h.Name
		b.Do(what, unix.SYS_MKDIRAT, dir, h.Name, 0o755)
		fd := h.mount(b, attr)
		b.Do(what, unix.SYS_MOVE_MOUNT, fd, "", dir, h.Name, unix.MOVE_MOUNT_F_EMPTY_PATH)
		b.Close(fd)
		for _, c := range h.Controllers {
			if c != h.Name {
				b.Do("link "+at+"/"+c, unix.SYS_SYMLINKAT, h.Name, dir, c)
			}
		}
	}
	SetAttr(b, "make "+at+" read-only", dir, ReadOnly, false)
	b.Close(dir)
}

func (h Hierarchy) mount(b *entry.Builder, attr int) entry.Reg {
	if h.V2 {
		return New(b, "cgroup2", attr)
	}
	var opts []Option
	for _, c := range h.Controllers {
		opts = append(opts, Option{c, ""})
	}
	return New(b, "cgroup", attr, opts...)
}

// attachReal attaches fd to a directory of the tree that no symbolic link leads to:
// a tree whose proc is a link would have programs read, and us write, somewhere else.
func attachReal(b *entry.Builder, fd entry.Reg, root *Tree, name string) {
	at := root.RealDir(b, name)
	Attach(b, "mount on "+root.Name+"/"+name, fd, at)
	b.Close(at)
}

// CheckDevice verifies that fd is the device major:minor (statx(2)), a block or else a
// character device; it fails with ENODEV.
func CheckDevice(b *entry.Builder, name string, fd entry.Reg, block bool, major, minor uint32) {
	st := &entry.Buffer{Size: 256}
	what := "verify the device " + name
	kind := uintptr(unix.S_IFCHR)
	if block {
		kind = unix.S_IFBLK
	}
	b.Do(what, unix.SYS_STATX, fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, st)
	const modeShift = 32 // stx_gid and stx_mode share the word at 24
	b.Check(what, entry.Field{Buffer: st, Offset: 24}, kind<<modeShift, unix.S_IFMT<<modeShift, unix.ENODEV)
	b.Check(what, entry.Field{Buffer: st, Offset: 128}, uintptr(major)|uintptr(minor)<<32, ^uintptr(0), unix.ENODEV)
}
