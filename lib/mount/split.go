package mount

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// SplitRoot makes a detached copy-on-write view of "/" where the kernel refuses one
// overlay of the whole: in a user namespace, whose inherited mounts are locked, so that
// no view may show what lies beneath them (clone_private_mount, since Linux 5.15).
//
// The view is a tmpfs with an overlay for every directory of "/". A directory that has
// other mounts beneath it is bound read-only, with them. proc, sys, dev, run and tmp are
// left empty: they belong to the pivot, or to nobody outside.
func SplitRoot(size string) (int, error) {
	defer unix.Umask(unix.Umask(0)) // modes are meant as they are written
	s, err := newScratch(size)
	if err != nil {
		return -1, err
	}
	fd, err := s.split()
	if leave := s.leave(); err == nil && leave != nil {
		_ = unix.Close(fd)
		err = leave
	}
	return fd, err
}

func (s *scratch) split() (int, error) {
	if err := unix.Mkdir("root", 0o755); err != nil {
		return -1, fmt.Errorf("make the new root: %w", err)
	}
	// A mount of its own, so that it can be taken out of the scratch with all that is
	// attached to it.
	if err := unix.Mount("root", "root", "", unix.MS_BIND, ""); err != nil {
		return -1, fmt.Errorf("bind the new root: %w", err)
	}
	root, err := OpenTree("root")
	if err != nil {
		return -1, err
	}
	root.Name = "" // for errors: what is made in it will be in /
	defer root.Close()
	host, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open /: %w", err)
	}
	defer unix.Close(host)
	names, err := list(host)
	if err != nil {
		return -1, err
	}
	for _, name := range names {
		if err := s.entry(root, host, name); err != nil {
			return -1, err
		}
	}
	return Clone(root.FD, "", true)
}

// entry gives the new root what "/" has under name.
func (s *scratch) entry(root *Tree, host int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(host, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("stat /%s: %w", name, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(host, name, buf)
		if err == nil {
			err = unix.Symlinkat(string(buf[:n]), root.FD, name)
		}
		if err != nil {
			return fmt.Errorf("copy the link /%s: %w", name, err)
		}
		return nil
	case unix.S_IFDIR:
		at, err := root.Dir(name)
		if err != nil {
			return err
		}
		defer unix.Close(at)
		switch name {
		case "proc", "sys", "dev", "run":
			return nil
		case "tmp":
			if err := unix.Fchmodat(root.FD, name, 0o1777, 0); err != nil {
				return fmt.Errorf("chmod /tmp: %w", err)
			}
			return nil
		}
		fd, err := s.overlay(name, []string{"/" + name}, true)
		if err != nil {
			fd, err = readOnlyCopy(host, name)
		}
		if errors.Is(err, unix.EACCES) {
			return nil // a directory that is none of this user's business stays empty
		}
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return Attach(fd, at, "/"+name)
	case unix.S_IFREG:
		fd, err := readOnlyCopy(host, name)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		at, err := root.File(name)
		if err != nil {
			return err
		}
		defer unix.Close(at)
		return Attach(fd, at, "/"+name)
	}
	return nil // sockets, pipes and devices in / are no part of a root file system
}

// readOnlyCopy is a bind mount of name, with what is mounted beneath it, read-only.
func readOnlyCopy(dir int, name string) (int, error) {
	fd, err := Clone(dir, name, true)
	if err != nil {
		return -1, err
	}
	if err := SetAttr(fd, ReadOnly|NoDev|NoSuid, true); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("/%s: %w", name, err)
	}
	return fd, nil
}

// list returns the names in the directory dir.
func list(dir int) ([]string, error) {
	var names []string
	buf := make([]byte, 8192)
	for {
		n, err := unix.ReadDirent(dir, buf)
		if err != nil {
			return nil, fmt.Errorf("list a directory: %w", err)
		}
		if n <= 0 {
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}
