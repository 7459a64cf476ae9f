package mount

import (
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// A Tree is a directory tree that need not be trusted, such as an image: every path in
// it is resolved with its root as "/", by the kernel (openat2(2), RESOLVE_IN_ROOT), so
// no symbolic link and no ".." in it leads out.
type Tree struct {
	FD   entry.Reg // O_PATH descriptor of the root
	Name string    // before the paths in errors, with no "/" at its end
}

// OpenTree opens the directory at path as a tree.
func OpenTree(b *entry.Builder, path string) *Tree {
	fd := b.Get("open "+path, unix.SYS_OPENAT, unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return &Tree{FD: fd, Name: strings.TrimSuffix(path, "/")}
}

const (
	followInside = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	// noLinks is for places where a link has no business, such as the mount points of
	// proc and of devices.
	noLinks = followInside | unix.RESOLVE_NO_SYMLINKS
)

// args are openat2(2)'s arguments for path in the tree.
func (t *Tree) args(path string, flags int, resolve uint64) []any {
	rel := below(path)
	if rel == "" {
		rel = "."
	}
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve}
	return []any{t.FD, rel, entry.Struct(&how), int(unsafe.Sizeof(how))}
}

// below is path without the slashes around it: relative to a root.
func below(path string) string { return strings.Trim(path, "/") }

func (t *Tree) what(path string) string { return "open " + t.Name + "/" + below(path) }

// RealDir opens the directory at path, making it where missing, if no component of the
// path is a symbolic link (ELOOP otherwise).
func (t *Tree) RealDir(b *entry.Builder, path string) entry.Reg {
	return t.mountpoint(b, path, true, noLinks)
}

// Mountpoint opens the directory, or else the file, at path for something to be mounted
// on it, and makes it, and the directories that lead to it (mode 0755), where missing.
// A file is made empty.
func (t *Tree) Mountpoint(b *entry.Builder, path string, dir bool) entry.Reg {
	return t.mountpoint(b, path, dir, followInside)
}

func (t *Tree) mountpoint(b *entry.Builder, path string, dir bool, resolve uint64) entry.Reg {
	flags := unix.O_PATH
	if dir {
		flags |= unix.O_DIRECTORY
	}
	var fd entry.Reg
	b.If(t.what(path), unix.ENOENT, func(r entry.Reg) { fd = r }, func() {
		PlainModes(b, func() {
			at, name := t.FD, ""
			parts := strings.Split(below(path), "/")
			for i, part := range parts {
				name = strings.Join(parts[:i+1], "/")
				what := "make " + t.Name + "/" + name
				if last := i == len(parts)-1; dir || !last {
					b.Try(what, unix.EEXIST, unix.SYS_MKDIRAT, at, part, 0o755)
				} else {
					// O_EXCL follows no link, and never opens what somebody planted.
					b.If(what, unix.EEXIST, func(f entry.Reg) { b.Close(f) }, nil,
						unix.SYS_OPENAT, at, part, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
				}
				if i == len(parts)-1 {
					break
				}
				next := b.Get(t.what(name), unix.SYS_OPENAT2, t.args(name, unix.O_PATH|unix.O_DIRECTORY, resolve)...)
				if at != t.FD {
					b.Close(at)
				}
				at = next
			}
			if at != t.FD {
				b.Close(at)
			}
			b.Again(fd, t.what(path), unix.SYS_OPENAT2, t.args(path, flags, resolve)...)
		})
	}, unix.SYS_OPENAT2, t.args(path, flags, resolve)...)
	return fd
}
