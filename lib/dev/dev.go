// Package dev makes a minimal /dev: the device nodes, links and mounts that the OCI
// runtime specification asks for, on a tmpfs of its own (null(4), random(4), tty(4),
// ptmx(4), pts(4), shm_overview(7)).
//
// Nodes are made with mknod(2): an inode of their own, so that a chmod inside cannot
// change the host's device. Where mknod is not allowed (a user namespace), the host's
// nodes are bound instead.
//
// The tree is built on a detached mount and attached when it is complete, so nothing in
// a hostile image, such as a dev that is a symbolic link or planted nodes, is touched.
//
// When not to use this package: to give a container a real device; it makes only those
// that are harmless to anybody.
package dev

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

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

// Sources are the host's nodes, copied as detached mounts while the host's /dev is in
// view: what [Mount] binds where it may not make nodes.
type Sources map[string]int

// OpenSources copies the nodes of /dev. A node that is missing or is another device is
// an error that names it.
func OpenSources() (Sources, error) {
	src := Sources{}
	for _, n := range Nodes {
		fd, err := n.source()
		if err != nil {
			src.Close()
			return nil, err
		}
		src[n.Name] = fd
	}
	return src, nil
}

func (n Node) source() (int, error) {
	path := "/dev/" + n.Name
	fd, err := mount.Clone(unix.AT_FDCWD, path, false)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("stat %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != n.rdev() {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("bind %s: not the character device %d:%d", path, n.Major, n.Minor)
	}
	// The inode is the host's: read-only forbids no write to a device, but a chmod,
	// which would reach the host where its root is mapped.
	if err := mount.SetAttr(fd, mount.ReadOnly|mount.NoSuid|mount.NoExec, false); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("bind %s: %w", path, err)
	}
	return fd, nil
}

func (n Node) rdev() uint64 { return unix.Mkdev(n.Major, n.Minor) }

// Close gives up the sources that were not used.
func (s Sources) Close() {
	for _, fd := range s {
		_ = unix.Close(fd) // a detached mount: it ends here
	}
}

// Options are the choices that a minimal /dev leaves.
type Options struct {
	ShmSize string // size of /dev/shm as tmpfs(5) takes it; "" for half the memory
}

// Mount makes the tree and attaches it to target, an O_PATH descriptor of a directory.
// src may be nil; the host's /dev is then used if nodes cannot be made.
func Mount(target int, opt Options, src Sources) error {
	// Modes are meant as written here: mknod(2) and mkdir(2) obey the umask.
	defer unix.Umask(unix.Umask(0))
	fd, err := mount.New("tmpfs", mount.NoSuid|mount.NoExec, mount.Option{Key: "mode", Value: "755"}, mount.Option{Key: "size", Value: "64k"})
	if err != nil {
		return err
	}
	defer unix.Close(fd)

	bind, err := makeNodes(fd)
	if err != nil {
		return err
	}
	for _, l := range links {
		if err := unix.Symlinkat(l[0], fd, l[1]); err != nil {
			return fmt.Errorf("link /dev/%s: %w", l[1], err)
		}
	}
	for _, d := range []string{"pts", "shm"} {
		if err := unix.Mkdirat(fd, d, 0o755); err != nil {
			return fmt.Errorf("make /dev/%s: %w", d, err)
		}
	}
	pts, err := newPts()
	if err != nil {
		return err
	}
	defer unix.Close(pts)
	shmOpts := []mount.Option{{Key: "mode", Value: "1777"}}
	if opt.ShmSize != "" {
		shmOpts = append(shmOpts, mount.Option{Key: "size", Value: opt.ShmSize})
	}
	shm, err := mount.New("tmpfs", mount.NoSuid|mount.NoExec|mount.NoDev, shmOpts...)
	if err != nil {
		return err
	}
	defer unix.Close(shm)
	if bind && src == nil {
		if src, err = OpenSources(); err != nil {
			return err
		}
		defer src.Close()
	}

	// Mounts can be attached to a mount that is itself attached, so from here on the
	// tree is in place and only completed.
	if err := mount.Attach(fd, target, "/dev"); err != nil {
		return err
	}
	if bind {
		for _, n := range Nodes {
			if err := attachAt(src[n.Name], fd, n.Name); err != nil {
				return err
			}
		}
	}
	if err := attachAt(pts, fd, "pts"); err != nil {
		return err
	}
	if err := attachAt(shm, fd, "shm"); err != nil {
		return err
	}
	return usable(fd)
}

// makeNodes makes the nodes in dir, or empty files to bind them to where the kernel
// allows no nodes: bind tells which.
func makeNodes(dir int) (bind bool, err error) {
	for _, n := range Nodes {
		if !bind {
			err := unix.Mknodat(dir, n.Name, unix.S_IFCHR|0o666, int(n.rdev()))
			if err == nil {
				continue
			}
			if !errors.Is(err, unix.EPERM) {
				return false, fmt.Errorf("mknod /dev/%s: %w", n.Name, err)
			}
			bind = true
		}
		if err := unix.Mknodat(dir, n.Name, unix.S_IFREG, 0); err != nil && !errors.Is(err, unix.EEXIST) {
			return false, fmt.Errorf("make /dev/%s: %w", n.Name, err)
		}
	}
	return bind, nil
}

// newPts mounts a devpts of its own. Group 5 (tty) is what grantpt(3) wants; in a user
// namespace that does not map it, the kernel says EINVAL.
func newPts() (int, error) {
	opts := []mount.Option{
		{Key: "newinstance"}, {Key: "ptmxmode", Value: "0666"}, {Key: "mode", Value: "0620"}, {Key: "gid", Value: "5"},
	}
	const attr = mount.NoSuid | mount.NoExec
	fd, err := mount.New("devpts", attr, opts...)
	if errors.Is(err, unix.EINVAL) {
		return mount.New("devpts", attr, opts[:3]...)
	}
	return fd, err
}

func attachAt(fd, dir int, name string) error {
	at, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/%s: %w", name, err)
	}
	defer unix.Close(at)
	return mount.Attach(fd, at, "/dev/"+name)
}

// usable opens null: a node can be there and yet not be a device, on a file system
// mounted nodev or in a device cgroup that forbids it.
func usable(dir int) error {
	fd, err := unix.Openat(dir, "null", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("open the new /dev/null: %w", err)
	}
	return unix.Close(fd)
}
