package mount

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// A Tree is a directory tree that need not be trusted, such as an image: every path in
// it is resolved with its root as "/", by the kernel (openat2(2), RESOLVE_IN_ROOT), so
// no symbolic link and no ".." in it leads out.
type Tree struct {
	FD   int    // O_PATH descriptor of the root
	Name string // for errors
}

// OpenTree opens the directory at path as a tree.
func OpenTree(path string) (*Tree, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return &Tree{FD: fd, Name: strings.TrimSuffix(path, "/")}, nil
}

// Close closes the tree's descriptor.
func (t *Tree) Close() { _ = unix.Close(t.FD) } // an O_PATH descriptor has nothing to flush

// Open opens path in the tree, with flags of open(2) and O_CLOEXEC.
func (t *Tree) Open(path string, flags int) (int, error) {
	return t.open(path, flags, 0)
}

// OpenReal opens path in the tree if no component of it is a symbolic link: for places
// where a link has no business, such as the mount points of proc and of devices.
func (t *Tree) OpenReal(path string, flags int) (int, error) {
	fd, err := t.open(path, flags, unix.RESOLVE_NO_SYMLINKS)
	if errors.Is(err, unix.ELOOP) {
		return -1, fmt.Errorf("%s/%s is or lies behind a symbolic link, which could lead anywhere: %w", t.Name, strings.TrimPrefix(path, "/"), unix.ELOOP)
	}
	return fd, err
}

func (t *Tree) open(path string, flags int, resolve uint64) (int, error) {
	rel := strings.TrimLeft(path, "/")
	if rel == "" {
		rel = "."
	}
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | resolve,
	}
	for range 32 { // EAGAIN: something was renamed meanwhile (openat2(2))
		fd, err := unix.Openat2(t.FD, rel, &how)
		if !errors.Is(err, unix.EAGAIN) {
			if err != nil {
				err = fmt.Errorf("open %s/%s: %w", t.Name, rel, err)
			}
			return fd, err
		}
	}
	return -1, fmt.Errorf("open %s/%s: %w", t.Name, rel, unix.EAGAIN)
}

// Dir opens the directory at path, making it and what leads to it (mode 0755) where
// missing.
func (t *Tree) Dir(path string) (int, error) { return t.make(path, true) }

// File opens the file at path by O_PATH, making it, empty, and the directories that
// lead to it where missing: a mount point for a file.
func (t *Tree) File(path string) (int, error) { return t.make(path, false) }

func (t *Tree) make(path string, dir bool) (int, error) {
	flags := unix.O_PATH
	if dir {
		flags |= unix.O_DIRECTORY
	}
	fd, err := t.Open(path, flags)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	parent, name := "", strings.Trim(path, "/")
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		parent, name = name[:i], name[i+1:]
	}
	if name == "" || name == "." || name == ".." {
		return -1, err
	}
	at, err := t.make(parent, true)
	if err != nil {
		return -1, err
	}
	defer unix.Close(at)
	if dir {
		err = unix.Mkdirat(at, name, 0o755)
	} else {
		var f int
		// O_EXCL follows no link, and never opens what somebody planted.
		if f, err = unix.Openat(at, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644); err == nil {
			_ = unix.Close(f) // empty
		}
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, fmt.Errorf("make %s/%s: %w", t.Name, strings.Trim(path, "/"), err)
	}
	return t.Open(path, flags)
}
