package mount

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// scratch is a tmpfs to keep upper and work directories in. The kernel takes an upper
// directory only from a mount that is attached in this namespace (before Linux 6.15),
// so it lies over "/" while overlays are made of it; they hold on to it afterwards.
type scratch struct {
	fd, cwd int
}

// newScratch makes a scratch and makes it the working directory: directories in it are
// named by relative paths.
func newScratch(size string) (*scratch, error) {
	cwd, err := unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the working directory: %w", err)
	}
	fd, err := New("tmpfs", NoSuid|NoDev, Option{"mode", "755"}, Option{"size", size})
	if err == nil {
		if err = AttachOverRoot(fd, "a tmpfs"); err == nil {
			err = unix.Fchdir(fd)
		}
	}
	if err != nil {
		_ = unix.Close(cwd)
		return nil, err
	}
	return &scratch{fd, cwd}, nil
}

// leave goes back to where newScratch was called and takes the scratch away.
func (s *scratch) leave() error {
	err := unix.Unmount(".", unix.MNT_DETACH)
	if err != nil {
		err = fmt.Errorf("unmount the tmpfs for changes: %w", err)
	}
	if back := unix.Fchdir(s.cwd); back != nil {
		err = errors.Join(err, fmt.Errorf("return to the working directory: %w", back))
	}
	_ = unix.Close(s.cwd)
	_ = unix.Close(s.fd)
	return err
}

// absolute makes paths usable from another working directory.
func absolute(paths []string) ([]string, error) {
	abs := make([]string, len(paths))
	for i, p := range paths {
		var err error
		if abs[i], err = filepath.Abs(p); err != nil {
			return nil, err
		}
	}
	return abs, nil
}

// OnTmpfs makes a detached overlay of lower whose changes go to a tmpfs of at most size
// (tmpfs(5)); the tmpfs lives as long as the overlay does. The calling thread must have
// a mount namespace of its own.
func OnTmpfs(lower []string, size string, userXattr bool) (int, error) {
	lower, err := absolute(lower)
	if err != nil {
		return -1, err
	}
	defer unix.Umask(unix.Umask(0)) // modes are meant as they are written
	s, err := newScratch(size)
	if err != nil {
		return -1, err
	}
	fd, err := s.overlay("root", lower, userXattr)
	if leave := s.leave(); err == nil && leave != nil {
		_ = unix.Close(fd)
		err = leave
	}
	return fd, err
}

// overlay makes a detached overlay whose changes go to directories of the scratch
// called name.up and name.work. The upper directory takes mode and owner of the
// topmost layer, since the kernel shows them as those of the whole.
func (s *scratch) overlay(name string, lower []string, userXattr bool) (int, error) {
	var st unix.Stat_t
	if err := unix.Stat(lower[0], &st); err != nil {
		return -1, fmt.Errorf("use %s: %w", lower[0], err)
	}
	up, work := name+".up", name+".work"
	if err := unix.Mkdir(work, 0o700); err != nil {
		return -1, fmt.Errorf("make a directory for changes: %w", err)
	}
	if err := unix.Mkdir(up, 0o700); err != nil {
		return -1, fmt.Errorf("make a directory for changes: %w", err)
	}
	// An owner that is not mapped here cannot be given; the caller's then serves.
	if err := unix.Chown(up, int(st.Uid), int(st.Gid)); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
		return -1, fmt.Errorf("chown a directory for changes: %w", err)
	}
	if err := unix.Chmod(up, st.Mode&0o7777); err != nil {
		return -1, fmt.Errorf("chmod a directory for changes: %w", err)
	}
	return Overlay{Lower: lower, Upper: up, Work: work, UserXattr: userXattr, Attr: NoDev}.Mount()
}

// AttachPath puts the detached mount fd on the directory at path.
func AttachPath(fd int, path string) error {
	at, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(at)
	return Attach(fd, at, path)
}

// Here makes a detached mount in a mount namespace of its own, which hides the making,
// and attaches it to target in the caller's. The caller has locked its goroutine to the
// thread, which shares no working directory with other threads afterwards.
func Here(make func() (int, error), target string) error {
	at, err := unix.Open(target, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", target, err)
	}
	defer unix.Close(at)
	home, err := unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open this mount namespace: %w", err)
	}
	defer unix.Close(home)
	cwd, err := unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the working directory: %w", err)
	}
	defer unix.Close(cwd)
	if err := PrivateNamespace(); err != nil {
		return err
	}
	fd, err := make()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Setns(home, unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("return to this mount namespace: %w", err)
	}
	if err := unix.Fchdir(cwd); err != nil { // setns(2) moves the thread to the root
		return fmt.Errorf("return to the working directory: %w", err)
	}
	return Attach(fd, at, target)
}
