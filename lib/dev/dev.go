// Package dev makes a minimal /dev: the device nodes, links and mounts that the OCI
// runtime specification asks for, on a tmpfs of its own (null(4), random(4), tty(4),
// ptmx(4), pts(4), shm_overview(7)).
//
// Nodes are made with mknod(2): an inode of their own, so that a chmod inside cannot
// change the host's device. In a user namespace, where mknod is not allowed, the host's
// nodes are bound instead, read-only, which forbids a chmod but no use.
//
// Only these nodes are devices: each is a mount of its own, and the tree is nodev. So
// CAP_MKNOD, which container engines leave to root, opens nobody the host's disk.
//
// The tree is built on a detached mount and attached when its own files are complete, so
// nothing in a hostile image, such as a dev that is a symbolic link or planted nodes, is
// touched.
//
// When not to use this package: to give a container a real device; it makes only those
// that are harmless to anybody.
package dev

import (
	"fmt"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
	"staves/lib/mount"
)

// A Node is a character device.
type Node struct {
	Name         string
	Major, Minor uint32
}

// Nodes are those of a minimal /dev, each with mode 0666.
var Nodes = []Node{
	{"null", 1, 3},
	{"zero", 1, 5},
	{"full", 1, 7},
	{"random", 1, 8},
	{"urandom", 1, 9},
	{"tty", 5, 0},
}

var links = [][2]string{
	{"/proc/self/fd", "fd"},
	{"/proc/self/fd/0", "stdin"},
	{"/proc/self/fd/1", "stdout"},
	{"/proc/self/fd/2", "stderr"},
	{"pts/ptmx", "ptmx"},
}

// Options are the choices that a minimal /dev leaves.
type Options struct {
	ShmSize string // size of /dev/shm as tmpfs(5) takes it; "" for half the memory
	Bind    bool   // bind the nodes of the present /dev, where none can be made
}

// Mount makes the tree and attaches it to target, an O_PATH descriptor of a directory.
func Mount(b *entry.Builder, target entry.Reg, opt Options) {
	var fd entry.Reg
	mount.PlainModes(b, func() {
		fd = mount.New(b, "tmpfs", mount.NoSuid|mount.NoExec, mount.Option{Key: "mode", Value: "755"}, mount.Option{Key: "size", Value: "64k"})
		for _, n := range Nodes {
			if opt.Bind {
				b.Do("make /dev/"+n.Name, unix.SYS_MKNODAT, fd, n.Name, unix.S_IFREG, 0)
			} else {
				b.Do("mknod /dev/"+n.Name, unix.SYS_MKNODAT, fd, n.Name, unix.S_IFCHR|0o666, uintptr(unix.Mkdev(n.Major, n.Minor)))
			}
		}
		for _, l := range links {
			b.Do("link /dev/"+l[1], unix.SYS_SYMLINKAT, l[0], fd, l[1])
		}
		for _, d := range []string{"pts", "shm"} {
			b.Do("make /dev/"+d, unix.SYS_MKDIRAT, fd, d, 0o755)
		}
	})
	// The nodes are bound from a /dev that the new one may be about to cover.
	var nodes []entry.Reg
	if opt.Bind {
		for _, n := range Nodes {
			nodes = append(nodes, n.copy(b))
		}
	}
	// A mount can be attached to, or copied from, only where it is attached itself.
	mount.Attach(b, "mount tmpfs on /dev", fd, target)
	for i, n := range Nodes {
		if opt.Bind {
			place(b, nodes[i], fd, n.Name)
		} else {
			place(b, mount.Clone(b, "bind /dev/"+n.Name, fd, n.Name, false), fd, n.Name)
		}
	}
	mount.SetAttr(b, "make /dev nodev", fd, mount.NoDev, false)
	place(b, newPts(b), fd, "pts")
	shm := []mount.Option{{Key: "mode", Value: "1777"}}
	if opt.ShmSize != "" {
		shm = append(shm, mount.Option{Key: "size", Value: opt.ShmSize})
	}
	place(b, mount.New(b, "tmpfs", mount.NoSuid|mount.NoExec|mount.NoDev, shm...), fd, "shm")

	// A node can be there and yet be no device: on a file system that the kernel takes
	// for nodev, or under a device cgroup that forbids it.
	null := b.Get("open the new /dev/null", unix.SYS_OPENAT, fd, "null", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	b.Close(null)
	b.Close(fd)
}

// copy makes a detached copy of the host's node, after a look at what it is.
func (n Node) copy(b *entry.Builder) entry.Reg {
	path := "/dev/" + n.Name
	fd := mount.Clone(b, "bind "+path, unix.AT_FDCWD, path, false)
	mount.CheckDevice(b, path, fd, n.Major, n.Minor)
	mount.SetAttr(b, "bind "+path, fd, mount.ReadOnly|mount.NoSuid|mount.NoExec, false)
	return fd
}

// newPts mounts a devpts of its own. Group 5 (tty) is what grantpt(3) wants; in a user
// namespace that does not map it the kernel says EINVAL, and it is left out.
func newPts(b *entry.Builder) entry.Reg {
	const attr = mount.NoSuid | mount.NoExec
	opts := []mount.Option{{Key: "newinstance"}, {Key: "ptmxmode", Value: "0666"}, {Key: "mode", Value: "0620"}}
	return mount.NewWith(b, "devpts", attr, mount.Option{Key: "gid", Value: "5"}, opts...)
}

func place(b *entry.Builder, fd, dir entry.Reg, name string) {
	b.Do(fmt.Sprintf("mount on /dev/%s", name), unix.SYS_MOVE_MOUNT, fd, "", dir, name, unix.MOVE_MOUNT_F_EMPTY_PATH)
	b.Close(fd)
}
