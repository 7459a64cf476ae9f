package dev

import (
	"fmt"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
	"staves/lib/mount"
)

// console makes a detached copy of the node of a terminal: that of the first standard
// descriptor that is one. The node is looked up by its path, which must lead to that
// terminal and no other: a path is only a name, and another mount may have taken it.
func console(b *entry.Builder) entry.Reg {
	const what = "find a terminal for /dev/console"
	path := &entry.Buffer{Size: unix.PathMax}
	terminal, node := &entry.Buffer{Size: 256}, &entry.Buffer{Size: 256}
	settings := &entry.Buffer{Size: 64} // struct termios of the kernel
	read := func(fd int) {
		b.Do(what, unix.SYS_READLINKAT, unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), path, path.Size-1)
		b.Do(what, unix.SYS_STATX, fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, terminal)
	}
	var look func(fd int)
	look = func(fd int) {
		if fd == 2 {
			b.Do(what, unix.SYS_IOCTL, fd, unix.TCGETS, settings)
			read(fd)
			return
		}
		b.If(what, entry.AnyError, func(r entry.Reg) {
			b.Forget(r)
			read(fd)
		}, func() { look(fd + 1) }, unix.SYS_IOCTL, fd, unix.TCGETS, settings)
	}
	look(0)
	const bind = "bind the terminal on /dev/console"
	fd := b.Get(bind, unix.SYS_OPEN_TREE, unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	b.Do(bind, unix.SYS_STATX, fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, node)
	for _, offset := range []int{32, 128, 136} { // stx_ino, stx_rdev, stx_dev
		b.Check(bind, entry.Field{Buffer: node, Offset: offset}, entry.Field{Buffer: terminal, Offset: offset}, ^uintptr(0), unix.ENXIO)
	}
	mount.SetAttr(b, bind, fd, shared, false)
	return fd
}
