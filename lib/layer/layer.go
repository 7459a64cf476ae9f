// Package layer turns the upper directory of an overlay into a layer of an OCI image and
// back: what changed in it ([Changes]), the layer as a tar archive ([Pack]), and a layer
// put on a directory tree, or made a lower directory for overlayfs ([Apply]).
//
// The two say "deleted" differently. Overlayfs: a character device 0:0 under the name,
// and for a directory that hides what lies beneath it an attribute overlay.opaque. An OCI
// layer: an empty file .wh.NAME, and .wh..wh..opq in the directory (image-spec, layer.md).
//
// Archives and trees need not be trusted: every path is resolved by the kernel with the
// tree's root as "/" (openat2(2), RESOLVE_IN_ROOT), nothing is opened through a symbolic
// link at its end, and of extended attributes only those that make sense in an image are
// taken.
//
// When not to use this package: for backups. Sockets, the holes of sparse files and the
// attributes of security modules are not kept in an archive.
package layer

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	whiteoutPrefix = ".wh."
	// opaqueMark stands in a directory of an archive that hides what lies beneath it.
	opaqueMark = ".wh..wh..opq"
	// reserved is what an archive keeps other names of its own under (aufs's).
	reserved = ".wh..wh."
)

// Overlayfs keeps its marks in trusted.* or, mounted with userxattr, in user.*.
var overlayNames = []string{"trusted.overlay.", "user.overlay."}

// keeps tells whether an extended attribute is part of an image: neither the host's
// labels nor the marks of an overlay are.
func keeps(xattr string) bool {
	return xattr == "security.capability" || strings.HasPrefix(xattr, "system.posix_acl_") ||
		strings.HasPrefix(xattr, "user.") && !strings.HasPrefix(xattr, overlayNames[1])
}

// node is a file of a tree that is being walked.
type node struct {
	path string // from the tree's root, without "/" at its beginning
	dir  int    // descriptor of the directory it is in
	name string
	stat unix.Stat_t
}

func (n *node) isDir() bool { return n.stat.Mode&unix.S_IFMT == unix.S_IFDIR }

// proc is a path for calls that take no descriptor of a directory: what it names is the
// file itself, never what a link points to, with calls that do not follow one.
func (n *node) proc() string { return fmt.Sprintf("/proc/self/fd/%d/%s", n.dir, n.name) }

// mark returns the value of an overlay's own attribute.
func (n *node) mark(name string) (value string, ok bool, err error) {
	for _, prefix := range overlayNames {
		buf := make([]byte, 256)
		size, err := unix.Lgetxattr(n.proc(), prefix+name, buf)
		switch {
		case err == nil:
			return string(buf[:size]), true, nil
		case errors.Is(err, unix.ERANGE):
			return "", true, nil
		case !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EPERM):
			return "", false, fmt.Errorf("read %s of /%s: %w", prefix+name, n.path, err)
		}
	}
	return "", false, nil
}

// whiteout tells whether the file stands for one that was deleted.
func (n *node) whiteout() (bool, error) {
	switch n.stat.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		return n.stat.Rdev == 0, nil
	case unix.S_IFREG:
		if n.stat.Size == 0 { // the other form, since Linux 6.7
			_, ok, err := n.mark("whiteout")
			return ok, err
		}
	}
	return false, nil
}

// walk calls f for everything in the tree at dir but its root, directories before what is
// in them, in the order of the names.
func walk(dir string, f func(n *node) error) error {
	root, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	return walkOpen(root, "", f)
}

// walkOpen walks an open directory, and closes it.
func walkOpen(dir int, path string, f func(n *node) error) error {
	file := os.NewFile(uintptr(dir), "/"+path)
	defer file.Close()
	names, err := file.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("list /%s: %w", path, unwrap(err))
	}
	slices.Sort(names)
	for _, name := range names {
		n := node{path: strings.TrimPrefix(path+"/"+name, "/"), dir: dir, name: name}
		if err := unix.Fstatat(dir, name, &n.stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("stat /%s: %w", n.path, err)
		}
		if err := f(&n); err != nil {
			return err
		}
		if !n.isDir() {
			continue
		}
		sub, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open /%s: %w", n.path, err)
		}
		if err := walkOpen(sub, n.path, f); err != nil {
			return err
		}
	}
	return nil
}

// unwrap takes the path out of an error of package os, which names it in its own way.
func unwrap(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
