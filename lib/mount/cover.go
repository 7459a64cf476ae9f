package mount

import (
	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// What of proc and sysfs a program in a container has no business with. Masked: it
// tells about the machine or its secrets. Read-only: it changes the machine.
// The list is that of the container engines (OCI runtime defaults, and Docker's).
var (
	procMaskedDirs  = []string{"acpi", "asound", "scsi"}
	procMaskedFiles = []string{"interrupts", "kcore", "keys", "latency_stats", "sched_debug", "timer_list", "timer_stats"}
	procReadOnly    = []string{"bus", "fs", "irq", "sys", "sysrq-trigger"}
	sysMaskedDirs   = []string{"devices/virtual/powercap", "firmware"}
)

// A Cover says which of the usual parts of proc and sysfs are covered.
type Cover struct{ Mask, ReadOnly bool }

// proc covers parts of a proc whose mount is t.
func (c Cover) proc(b *entry.Builder, t *Tree) {
	if c.ReadOnly {
		for _, name := range procReadOnly {
			b.If(t.readOnly(name), unix.ENOENT, func(at entry.Reg) { t.keep(b, name, at) }, nil,
				unix.SYS_OPENAT2, t.args(name, unix.O_PATH, noLinks)...)
		}
	}
	if !c.Mask {
		return
	}
	t.maskDirs(b, procMaskedDirs)
	null := nullDevice(b)
	for _, name := range procMaskedFiles {
		b.If(t.mask(name), unix.ENOENT, func(at entry.Reg) {
			t.maskFile(b, name, at, null)
			b.Close(at)
		}, nil, unix.SYS_OPENAT2, t.args(name, unix.O_PATH, noLinks)...)
	}
	b.Close(null)
}

// sys covers parts of a sysfs whose mount is t.
func (c Cover) sys(b *entry.Builder, t *Tree) {
	if c.Mask {
		t.maskDirs(b, sysMaskedDirs)
	}
}

func (t *Tree) mask(name string) string     { return "mask " + t.Name + "/" + name }
func (t *Tree) readOnly(name string) string { return "make " + t.Name + "/" + name + " read-only" }

// maskDirs covers directories with empty ones. What is not there is left out.
func (t *Tree) maskDirs(b *entry.Builder, names []string) {
	for _, name := range names {
		b.If(t.mask(name), unix.ENOENT, func(at entry.Reg) {
			fd := nothing(b)
			Attach(b, t.mask(name), fd, at)
			b.Close(fd)
			b.Close(at)
		}, nil, unix.SYS_OPENAT2, t.args(name, unix.O_PATH|unix.O_DIRECTORY, noLinks)...)
	}
}

// nothing is a directory that is empty and stays so.
func nothing(b *entry.Builder) entry.Reg {
	return New(b, "tmpfs", ReadOnly|NoSuid|NoDev|NoExec, Option{"size", "4k"}, Option{"nr_inodes", "2"}, Option{"mode", "555"})
}

// nullDevice opens the null device, not what somebody calls so.
func nullDevice(b *entry.Builder) entry.Reg {
	null := b.Get("open /dev/null", unix.SYS_OPENAT, unix.AT_FDCWD, "/dev/null", unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	CheckDevice(b, "/dev/null", null, false, 1, 3)
	return null
}

// maskFile covers the file at with the null device.
func (t *Tree) maskFile(b *entry.Builder, name string, at, null entry.Reg) {
	fd := Clone(b, t.mask(name), null, "", false)
	// Read-only forbids no write to a device, but a chmod, which would reach the host.
	SetAttr(b, t.mask(name), fd, ReadOnly|NoSuid|NoExec, false)
	Attach(b, t.mask(name), fd, at)
	b.Close(fd)
}

// keep covers what is at with a read-only copy of itself.
func (t *Tree) keep(b *entry.Builder, name string, at entry.Reg) {
	fd := Clone(b, t.readOnly(name), at, "", true)
	SetAttr(b, t.readOnly(name), fd, ReadOnly, true)
	Attach(b, t.readOnly(name), fd, at)
	b.Close(fd)
	b.Close(at)
}

// Mask covers what is at path in the tree: a directory with an empty one, anything else
// with the null device. A path that is not there is an error (ENOENT): what was to be
// hidden might stand under another name.
func (t *Tree) Mask(b *entry.Builder, path string) {
	name := below(path)
	at := b.Get(t.mask(name), unix.SYS_OPENAT2, t.args(name, unix.O_PATH, followInside)...)
	b.If(t.mask(name), unix.ENOTDIR, func(dir entry.Reg) {
		b.Close(dir)
		fd := nothing(b)
		Attach(b, t.mask(name), fd, at)
		b.Close(fd)
	}, func() {
		null := nullDevice(b)
		t.maskFile(b, name, at, null)
		b.Close(null)
	}, unix.SYS_OPENAT, at, ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	b.Close(at)
}

// ReadOnly covers what is at path in the tree, and all that is mounted beneath it, with a
// read-only copy. A path that is not there is an error (ENOENT).
func (t *Tree) ReadOnly(b *entry.Builder, path string) {
	name := below(path)
	t.keep(b, name, b.Get(t.readOnly(name), unix.SYS_OPENAT2, t.args(name, unix.O_PATH, followInside)...))
}
