package mount

import (
	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// A Bind shows a directory or file of the host in a new root.
type Bind struct {
	Source   string
	Dir      bool // Source is a directory
	Target   string
	ReadOnly bool
}

// Copy makes a detached copy of the source, with all that is mounted beneath it. It is
// nosuid and nodev, and read-only throughout where asked: a bind that leaves the mounts
// beneath it writable is what nobody means by read-only.
func (d Bind) Copy(b *entry.Builder) entry.Reg {
	fd := Clone(b, "bind "+d.Source, unix.AT_FDCWD, d.Source, true)
	attr := uint64(NoSuid | NoDev)
	if d.ReadOnly {
		attr |= ReadOnly
	}
	SetAttr(b, "bind "+d.Source, fd, attr, true)
	return fd
}

// Place attaches the copy at the target in the tree, making the mount point if missing.
func (d Bind) Place(b *entry.Builder, root *Tree, fd entry.Reg) {
	at := root.Mountpoint(b, d.Target, d.Dir)
	Attach(b, "bind "+d.Source+" on "+d.Target, fd, at)
	b.Close(at)
	b.Close(fd)
}

// What of proc and sysfs a program in a container has no business with. Masked: it
// tells about the machine or its secrets. Read-only: it changes the machine.
// The list is that of the container engines (OCI runtime defaults, and Docker's).
var (
	procMaskedDirs  = []string{"acpi", "asound", "scsi"}
	procMaskedFiles = []string{"interrupts", "kcore", "keys", "latency_stats", "sched_debug", "timer_list", "timer_stats"}
	procReadOnly    = []string{"bus", "fs", "irq", "sys", "sysrq-trigger"}
	sysMaskedDirs   = []string{"devices/virtual/powercap", "firmware"}
)

// Proc mounts a new proc on proc in the tree, with the usual parts of it masked and
// read-only. It shows the pid namespace of the process; in a user namespace the kernel
// wants that to be one of its own (EPERM otherwise).
func Proc(b *entry.Builder, root *Tree) {
	fd := New(b, "proc", NoSuid|NoDev|NoExec)
	attachReal(b, fd, root, "proc")
	t := &Tree{FD: fd, Name: "/proc"}
	for _, name := range procReadOnly {
		t.readOnly(b, name)
	}
	for _, name := range procMaskedDirs {
		t.maskDir(b, name)
	}
	// What masks a file must be the null device, not what somebody calls so.
	null := b.Get("open /dev/null", unix.SYS_OPENAT, unix.AT_FDCWD, "/dev/null", unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	CheckDevice(b, "/dev/null", null, 1, 3)
	for _, name := range procMaskedFiles {
		t.maskFile(b, name, null)
	}
	b.Close(null)
	b.Close(fd)
}

// Sys mounts sysfs, read-only, on sys in the tree. The kernel lets a user namespace
// mount it only with a network namespace of its own; otherwise, if bind is set, the
// present /sys is bound, read-only throughout.
func Sys(b *entry.Builder, root *Tree, bind bool) {
	const attr = NoSuid | NoDev | NoExec | ReadOnly
	fd := newSys(b, attr, bind)
	attachReal(b, fd, root, "sys")
	t := &Tree{FD: fd, Name: "/sys"}
	for _, name := range sysMaskedDirs {
		t.maskDir(b, name)
	}
	b.Close(fd)
}

// newSys makes a detached mount of sysfs, or a copy of the present one. Both to begin
// with sysfs and to mount it can be refused: the one without a network namespace of its
// own, the other where parts of the present /sys are masked.
func newSys(b *entry.Builder, attr int, bind bool) (fd entry.Reg) {
	if !bind {
		return New(b, "sysfs", attr)
	}
	const what = "mount sysfs"
	instead := func() {
		b.Again(fd, "bind /sys", unix.SYS_OPEN_TREE, unix.AT_FDCWD, "/sys", cloneFlags("/sys", true))
		SetAttr(b, "bind /sys read-only", fd, uint64(attr), true)
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

// attachReal attaches fd to a directory of the tree that no symbolic link leads to:
// a tree whose proc is a link would have programs read, and us write, somewhere else.
func attachReal(b *entry.Builder, fd entry.Reg, root *Tree, name string) {
	at := root.RealDir(b, name)
	Attach(b, "mount on "+root.Name+"/"+name, fd, at)
	b.Close(at)
}

// RealDir opens the directory at path, making it where missing, if no component of the
// path is a symbolic link (ELOOP otherwise).
func (t *Tree) RealDir(b *entry.Builder, path string) entry.Reg {
	return t.mountpoint(b, path, true, noLinks)
}

// readOnly covers name with a read-only copy of itself. What is not there is left out.
func (t *Tree) readOnly(b *entry.Builder, name string) {
	what := "make " + t.Name + "/" + name + " read-only"
	b.If(what, unix.ENOENT, func(fd entry.Reg) {
		SetAttr(b, what, fd, ReadOnly, true)
		at := b.Get(what, unix.SYS_OPENAT2, t.args(name, unix.O_PATH, noLinks)...)
		Attach(b, what, fd, at)
		b.Close(at)
		b.Close(fd)
	}, nil, unix.SYS_OPEN_TREE, t.FD, name, cloneFlags(name, true))
}

// maskDir covers a directory with an empty one. What is not there is left out.
func (t *Tree) maskDir(b *entry.Builder, name string) {
	what := "mask " + t.Name + "/" + name
	b.If(what, unix.ENOENT, func(at entry.Reg) {
		fd := New(b, "tmpfs", ReadOnly|NoSuid|NoDev|NoExec, Option{"size", "4k"}, Option{"nr_inodes", "2"}, Option{"mode", "555"})
		Attach(b, what, fd, at)
		b.Close(fd)
		b.Close(at)
	}, nil, unix.SYS_OPENAT2, t.args(name, unix.O_PATH|unix.O_DIRECTORY, noLinks)...)
}

// maskFile covers a file with the null device. What is not there is left out.
func (t *Tree) maskFile(b *entry.Builder, name string, null entry.Reg) {
	what := "mask " + t.Name + "/" + name
	b.If(what, unix.ENOENT, func(at entry.Reg) {
		fd := Clone(b, what, null, "", false)
		// Read-only forbids no write to a device, but a chmod, which would reach the host.
		SetAttr(b, what, fd, ReadOnly|NoSuid|NoExec, false)
		Attach(b, what, fd, at)
		b.Close(fd)
		b.Close(at)
	}, nil, unix.SYS_OPENAT2, t.args(name, unix.O_PATH, noLinks)...)
}

// CheckDevice verifies that fd is the character device major:minor (statx(2)); it fails
// with ENODEV.
func CheckDevice(b *entry.Builder, name string, fd entry.Reg, major, minor uint32) {
	st := &entry.Buffer{Size: 256}
	what := "verify the device " + name
	b.Do(what, unix.SYS_STATX, fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, st)
	const modeShift = 32 // stx_gid and stx_mode share the word at 24
	b.Check(what, entry.Field{Buffer: st, Offset: 24}, uintptr(unix.S_IFCHR)<<modeShift, unix.S_IFMT<<modeShift, unix.ENODEV)
	b.Check(what, entry.Field{Buffer: st, Offset: 128}, uintptr(major)|uintptr(minor)<<32, ^uintptr(0), unix.ENODEV)
}
