package mount

import (
	"fmt"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// A RootEntry is what "/" has under a name.
type RootEntry struct {
	Name string
	Mode uint32 // as in stat(2), with the type
	Link string // where a symbolic link points to
}

// ListRoot lists "/".
func ListRoot() ([]RootEntry, error) {
	dir, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /: %w", err)
	}
	defer unix.Close(dir)
	var names []string
	for buf := make([]byte, 8192); ; {
		n, err := unix.ReadDirent(dir, buf)
		if err != nil {
			return nil, fmt.Errorf("list /: %w", err)
		}
		if n <= 0 {
			break
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
	var all []RootEntry
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return nil, fmt.Errorf("stat /%s: %w", name, err)
		}
		e := RootEntry{Name: name, Mode: st.Mode}
		if e.Mode&unix.S_IFMT == unix.S_IFLNK {
			buf := make([]byte, unix.PathMax)
			n, err := unix.Readlinkat(dir, name, buf)
			if err != nil {
				return nil, fmt.Errorf("read the link /%s: %w", name, err)
			}
			e.Link = string(buf[:n])
		}
		all = append(all, e)
	}
	return all, nil
}

// SplitRoot makes a detached copy-on-write view of "/" where the kernel refuses one
// overlay of the whole: in a user namespace, whose inherited mounts are locked, so that
// no view may show what lies beneath them (clone_private_mount, since Linux 5.15).
//
// The view is a tmpfs with an overlay for every directory of "/". A directory that has
// other mounts beneath it is bound read-only, with them. proc, sys, dev, run and tmp are
// left empty: they belong to the pivot, or to nobody outside.
func SplitRoot(b *entry.Builder, size string, entries []RootEntry) entry.Reg {
	return withScratch(b, size, func(s scratch) entry.Reg {
		b.Do("make the new root", unix.SYS_MKDIRAT, unix.AT_FDCWD, "root", 0o755)
		// A mount of its own, so that it can be taken out of the scratch with all that is
		// attached to it.
		b.Do("bind the new root", unix.SYS_MOUNT, "root", "root", 0, unix.MS_BIND, 0)
		root := b.Get("open the new root", unix.SYS_OPENAT, unix.AT_FDCWD, "root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		for _, e := range entries {
			s.entry(root, e)
		}
		fd := Clone(b, "take the new root out of the tmpfs", root, "", true)
		b.Close(root)
		return fd
	})
}

// entry gives the new root what "/" has under a name.
func (s scratch) entry(root entry.Reg, e RootEntry) {
	b, path := s.b, "/"+e.Name
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		b.Do("copy the link "+path, unix.SYS_SYMLINKAT, e.Link, root, e.Name)
	case unix.S_IFDIR:
		mode := int(e.Mode & 0o7777)
		b.Do("make "+path, unix.SYS_MKDIRAT, root, e.Name, mode)
		switch e.Name {
		case "proc", "sys", "dev", "run", "tmp":
			return
		}
		o := s.overlay(e.Name, path, &unix.Stat_t{Mode: e.Mode}, true)
		s.overlayOrCopy(o, root, e.Name)
	case unix.S_IFREG:
		b.If("make "+path, unix.EEXIST, func(f entry.Reg) { b.Close(f) }, nil,
			unix.SYS_OPENAT, root, e.Name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		s.readOnlyCopy(root, e.Name)
	}
	// Sockets, pipes and devices in / are no part of a root file system.
}

// overlayOrCopy puts the overlay on name in the new root, or where the kernel makes none a
// read-only copy of /name.
func (s scratch) overlayOrCopy(o Overlay, root entry.Reg, name string) {
	b := s.b
	fs := o.configure(b)
	b.Log(0)
	b.If(o.what(), entry.AnyError, func(r entry.Reg) {
		b.Forget(r)
		m := b.Get(o.what(), unix.SYS_FSMOUNT, fs, unix.FSMOUNT_CLOEXEC, NoDev)
		s.place(m, root, name)
	}, func() {
		s.readOnlyCopy(root, name)
	}, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
	b.Close(fs)
}

// readOnlyCopy binds /name, with what is mounted beneath it, read-only. What this user
// may not look into stays empty.
func (s scratch) readOnlyCopy(root entry.Reg, name string) {
	path := "/" + name
	s.b.If("bind "+path, unix.EACCES, func(fd entry.Reg) {
		SetAttr(s.b, "bind "+path+" read-only", fd, ReadOnly|NoDev|NoSuid, true)
		s.place(fd, root, name)
	}, nil, unix.SYS_OPEN_TREE, unix.AT_FDCWD, path, cloneFlags(path, true))
}

func (s scratch) place(fd, root entry.Reg, name string) {
	s.b.Do("attach /"+name, unix.SYS_MOVE_MOUNT, fd, "", root, name, unix.MOVE_MOUNT_F_EMPTY_PATH)
	s.b.Close(fd)
}
