// Package dev makes a minimal /dev: the device nodes, links and mounts that the OCI
// runtime specification asks for, on a tmpfs of its own (null(4), random(4), tty(4),
// ptmx(4), pts(4), shm_overview(7)).
//
// Nodes are made with mknod(2): an inode of their own, so that a chmod inside cannot
// change the host's device. In a user namespace, where mknod is not allowed, the host's
// nodes are bound instead, read-only, which forbids a chmod but no use.
//
// Only the nodes made here are devices: each is a mount of its own, and the tree is nodev. So
// CAP_MKNOD, which container engines leave to root, opens nobody the host's disk.
//
// The tree is built on a detached mount and attached when its own files are complete, so
// nothing in a hostile image, such as a dev that is a symbolic link or planted nodes, is
// touched.
//
// When not to use this package: for a whole machine's /dev, which is devtmpfs and udev(7);
// nothing appears here later.
package dev

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
	"staves/lib/mount"
)

// A Node is a device in the new /dev.
type Node struct {
	Name         string // may lie in directories, which are made: net/tun
	Block        bool   // else it is a character device
	Major, Minor uint32
	Mode         uint32 // permissions
	UID, GID     uint32
	Host         string // the node to bind where none can be made
}

// Nodes are those of a minimal /dev.
var Nodes = []Node{
	{Name: "null", Major: 1, Minor: 3, Mode: 0o666, Host: "/dev/null"},
	{Name: "zero", Major: 1, Minor: 5, Mode: 0o666, Host: "/dev/zero"},
	{Name: "full", Major: 1, Minor: 7, Mode: 0o666, Host: "/dev/full"},
	{Name: "random", Major: 1, Minor: 8, Mode: 0o666, Host: "/dev/random"},
	{Name: "urandom", Major: 1, Minor: 9, Mode: 0o666, Host: "/dev/urandom"},
	{Name: "tty", Major: 5, Minor: 0, Mode: 0o666, Host: "/dev/tty"},
}

// links are the symbolic links of a minimal /dev: where they lead, and their names.
var links = [][2]string{
	{"/proc/self/fd", "fd"},
	{"/proc/self/fd/0", "stdin"},
	{"/proc/self/fd/1", "stdout"},
	{"/proc/self/fd/2", "stderr"},
	{"pts/ptmx", "ptmx"},
}

// Taken tells whether a minimal /dev has something of that name.
func Taken(name string) bool {
	return name == "pts" || name == "shm" || name == "console" || name == "mqueue" ||
		slices.ContainsFunc(Nodes, func(n Node) bool { return n.Name == name }) ||
		slices.ContainsFunc(links, func(l [2]string) bool { return l[1] == name })
}

// Options are the choices that a minimal /dev leaves.
type Options struct {
	ShmSize string // size of /dev/shm as tmpfs(5) takes it; "" for half the memory
	Bind    bool   // bind the nodes of the present /dev, where none can be made
	NoPts   bool   // no /dev/pts, and no ptmx
	Console bool   // the terminal of a standard descriptor is /dev/console: see console.go
	Nodes   []Node // more nodes than [Nodes]
}

// Mount makes the tree and attaches it to target, an O_PATH descriptor of a directory.
func Mount(b *entry.Builder, target entry.Reg, opt Options) {
	all := append(slices.Clone(Nodes), opt.Nodes...)
	var fd entry.Reg
	mount.PlainModes(b, func() {
		fd = mount.New(b, "tmpfs", mount.NoSuid|mount.NoExec, mount.Option{Key: "mode", Value: "755"}, mount.Option{Key: "size", Value: "64k"})
		for _, n := range all {
			n.make(b, fd, opt.Bind)
		}
		if opt.Console {
			file(b, fd, "console")
		}
		for _, l := range links {
			if l[1] != "ptmx" || !opt.NoPts {
				b.Do("link /dev/"+l[1], unix.SYS_SYMLINKAT, l[0], fd, l[1])
			}
		}
		directory(b, fd, "shm")
		if !opt.NoPts {
			directory(b, fd, "pts")
		}
	})
	// What is bound is of a /dev that the new one may be about to cover.
	var bound []entry.Reg
	if opt.Bind {
		for _, n := range all {
			bound = append(bound, n.copy(b))
		}
	}
	var terminal entry.Reg
	if opt.Console {
		terminal = console(b)
	}
	// A mount can be attached to, or copied from, only where it is attached itself.
	mount.Attach(b, "mount tmpfs on /dev", fd, target)
	for i, n := range all {
		if opt.Bind {
			place(b, bound[i], fd, n.Name)
		} else {
			place(b, mount.Clone(b, "bind /dev/"+n.Name, fd, n.Name, false), fd, n.Name)
		}
	}
	mount.SetAttr(b, "make /dev nodev", fd, mount.NoDev, false)
	if opt.Console {
		place(b, terminal, fd, "console")
	}
	if !opt.NoPts {
		place(b, newPts(b), fd, "pts")
	}
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

// make makes the node in the tmpfs fd, which nobody else sees yet; or a file to bind it on.
func (n Node) make(b *entry.Builder, fd entry.Reg, bind bool) {
	for i, c := range n.Name {
		if c == '/' {
			b.Try("make /dev/"+n.Name[:i], unix.EEXIST, unix.SYS_MKDIRAT, fd, n.Name[:i], 0o755)
		}
	}
	if bind {
		file(b, fd, n.Name)
		return
	}
	mode := n.Mode | unix.S_IFCHR
	if n.Block {
		mode = n.Mode | unix.S_IFBLK
	}
	what := "mknod /dev/" + n.Name
	b.Do(what, unix.SYS_MKNODAT, fd, n.Name, int(mode), uintptr(unix.Mkdev(n.Major, n.Minor)))
	if n.UID != 0 || n.GID != 0 {
		b.Do(what, unix.SYS_FCHOWNAT, fd, n.Name, int(n.UID), int(n.GID), unix.AT_SYMLINK_NOFOLLOW)
	}
}

func file(b *entry.Builder, fd entry.Reg, name string) {
	b.Do("make /dev/"+name, unix.SYS_MKNODAT, fd, name, unix.S_IFREG, 0)
}

func directory(b *entry.Builder, fd entry.Reg, name string) {
	b.Do("make /dev/"+name, unix.SYS_MKDIRAT, fd, name, 0o755)
}

// shared are the attributes of a node that is the host's as well. Read-only forbids no
// write to a device, but a chmod, which the host would see.
const shared = mount.ReadOnly | mount.NoSuid | mount.NoExec

// copy makes a detached copy of the host's node, after a look at what it is.
func (n Node) copy(b *entry.Builder) entry.Reg {
	fd := mount.Clone(b, "bind "+n.Host, unix.AT_FDCWD, n.Host, false)
	mount.CheckDevice(b, n.Host, fd, n.Block, n.Major, n.Minor)
	mount.SetAttr(b, "bind "+n.Host, fd, shared, false)
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
