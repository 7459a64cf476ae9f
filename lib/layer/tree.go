package layer

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// tree is a directory that is written to; paths in it have no "/" at their beginning, and
// "" is the root.
type tree struct{ root int }

func openTree(dir string) (*tree, error) {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	return &tree{root}, nil
}

func (t *tree) close() { _ = unix.Close(t.root) }

// open opens a path as if the tree's root were "/". Links on the way are followed inside,
// one at the end is not.
func (t *tree) open(p string, flags int) (int, error) {
	if p == "" {
		p = "."
	}
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC | unix.O_NOFOLLOW),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for tries := 0; ; tries++ {
		fd, err := unix.Openat2(t.root, p, &how)
		// EAGAIN: something was renamed meanwhile, and the kernel is not sure any more.
		if (errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)) && tries < 100 {
			continue
		}
		return fd, err
	}
}

func parentOf(p string) string {
	dir := path.Dir(p)
	if dir == "." {
		return ""
	}
	return dir
}

// remove removes what a directory has under a name, with all that is in it; keep is asked
// about each path: a file that it wants is left, and a directory, but for what is in it. It is no error if there is nothing.
func remove(dir int, name, p string, keep func(p string) bool) error {
	if keep(p) {
		err := empty(dir, name, p, keep)
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			return nil
		}
		return err
	}
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return err
	}
	if err := empty(dir, name, p, keep); err != nil {
		return err
	}
	err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.ENOTEMPTY) {
		return nil // something was to be kept
	}
	return err
}

// empty removes what is in a directory, but what is to be kept.
func empty(dir int, name, p string, keep func(p string) bool) error {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EACCES) && unix.Fchmodat(dir, name, 0o700, 0) == nil {
		// Its owner may forbid himself to look into it: overlayfs leaves such ones.
		fd, err = unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return unwrap(err)
	}
	for _, n := range names {
		if err := remove(fd, n, strings.TrimPrefix(p+"/"+n, "/"), keep); err != nil {
			return err
		}
	}
	return nil
}

// Remove removes a directory with all that is in it, also directories that their owner
// may not search, such as overlayfs leaves in its work directory. Links are not followed.
func Remove(dir string) error {
	parent, err := unix.Open(path.Dir(dir), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(parent)
		err = remove(parent, path.Base(dir), "", func(string) bool { return false })
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}
