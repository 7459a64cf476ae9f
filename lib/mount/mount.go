// Package mount makes and places mounts through descriptors: fsopen(2), fsmount(2),
// open_tree(2), mount_setattr(2), move_mount(2), of Linux 5.12 and later.
//
// A mount is first made detached, with all its attributes, and only then attached to
// a directory that is named by a descriptor too. So nothing is visible half-made, and
// no path is resolved twice: a symbolic link that a hostile tree swaps in meanwhile
// has nothing to redirect.
//
// When not to use this package: for mounts the machine should keep, which belong in
// fstab(5); and for kernels before 5.12.
package mount

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Attributes of a mount, not of its file system (mount_setattr(2)).
const (
	ReadOnly = unix.MOUNT_ATTR_RDONLY
	NoSuid   = unix.MOUNT_ATTR_NOSUID
	NoDev    = unix.MOUNT_ATTR_NODEV
	NoExec   = unix.MOUNT_ATTR_NOEXEC
)

// Error is a mount operation that failed. Detail is what the kernel logged about it,
// if anything.
type Error struct {
	Op     string // "mount tmpfs", "bind /etc"
	Target string // "" while the mount is detached
	Err    error  // the errno
	Detail string
}

func (e *Error) Error() string {
	s := e.Op
	if e.Target != "" {
		s += " on " + e.Target
	}
	s += ": " + e.Err.Error()
	if e.Detail != "" {
		s += " (" + e.Detail + ")"
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// An Option is a parameter of a file system: "mode=755" is {"mode", "755"}, a flag
// has no value.
type Option struct{ Key, Value string }

// New makes a detached mount of a new file system of type fstype, with the given
// attributes. The descriptor is close-on-exec; closing it before [Attach] ends the mount.
func New(fstype string, attr int, opts ...Option) (int, error) {
	fd, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, &Error{Op: "mount " + fstype, Err: err}
	}
	defer unix.Close(fd)
	// The source is what df(1) and mountinfo show; it has no other meaning here.
	for _, o := range append([]Option{{"source", fstype}}, opts...) {
		if o.Value == "" {
			err = unix.FsconfigSetFlag(fd, o.Key)
		} else {
			err = unix.FsconfigSetString(fd, o.Key, o.Value)
		}
		if err != nil {
			return -1, &Error{Op: "mount " + fstype + " with " + strings.TrimSuffix(o.Key+"="+o.Value, "="), Err: err, Detail: log(fd)}
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return -1, &Error{Op: "mount " + fstype, Err: err, Detail: log(fd)}
	}
	m, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, attr)
	if err != nil {
		return -1, &Error{Op: "mount " + fstype, Err: err, Detail: log(fd)}
	}
	return m, nil
}

// log reads what the kernel has to say about a failed fsconfig(2): lines "e text".
func log(fd int) string {
	var lines []string
	buf := make([]byte, 512)
	for {
		n, err := unix.Read(fd, buf)
		if err != nil || n <= 0 {
			return strings.Join(lines, "; ")
		}
		text := strings.TrimSpace(string(buf[:n]))
		if kind, rest, ok := strings.Cut(text, " "); ok && len(kind) == 1 {
			text = rest
		}
		lines = append(lines, text)
	}
}

// Clone makes a detached copy of the mount at path, as a bind mount is, with the
// mounts beneath it if recursive. A path of "" means dir itself.
func Clone(dir int, path string, recursive bool) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	fd, err := unix.OpenTree(dir, path, flags)
	if err != nil {
		return -1, &Error{Op: "bind " + path, Err: err}
	}
	return fd, nil
}

// SetAttr sets attributes of the mount fd, and of all mounts beneath it if recursive.
func SetAttr(fd int, attr uint64, recursive bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if err := unix.MountSetattr(fd, "", flags, &unix.MountAttr{Attr_set: attr}); err != nil {
		return fmt.Errorf("set mount attributes %s: %w", attrNames(attr), err)
	}
	return nil
}

func attrNames(attr uint64) string {
	var n []string
	for _, a := range []struct {
		bit  uint64
		name string
	}{{ReadOnly, "ro"}, {NoSuid, "nosuid"}, {NoDev, "nodev"}, {NoExec, "noexec"}} {
		if attr&a.bit != 0 {
			n = append(n, a.name)
		}
	}
	return strings.Join(n, ",")
}

// Attach puts the detached mount fd on the directory or file that target, an O_PATH
// descriptor, names. What is for the error's text.
func Attach(fd, target int, what string) error {
	if err := unix.MoveMount(fd, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("attach %s: %w", what, err)
	}
	return nil
}

// OverRoot is the path under which [AttachOverRoot] leaves a mount.
const OverRoot = "/.."

// AttachOverRoot puts the detached mount fd on "/" of this mount namespace. Processes
// whose root lies beneath do not see it: a path that starts at "/" starts below the
// mount, and only ".." from the root crosses onto it (path_resolution(7)). So it is a
// place to keep a tree that needs no directory of its own and hides nothing.
func AttachOverRoot(fd int, what string) error {
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("attach %s over /: %w", what, err)
	}
	return nil
}

// MakePrivate cuts the whole mount tree off from mount events of other namespaces.
func MakePrivate() error {
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		if errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("make / private: %w (a chroot whose / is no mount point)", err)
		}
		return fmt.Errorf("make / private: %w", err)
	}
	return nil
}

// PrivateNamespace moves the calling thread into a mount namespace of its own, cut off
// from the one it leaves. The caller has locked its goroutine to the thread.
func PrivateNamespace() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare(CLONE_NEWNS): %w", err)
	}
	return MakePrivate()
}

// InitialUserNamespace tells whether the calling process is in the user namespace that
// the machine started with: whether ids mean there what they mean on disk. Without
// /proc it says no, which costs only the detour that a user namespace needs.
func InitialUserNamespace() bool {
	fd, err := unix.Open("/proc/self/uid_map", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var buf [128]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return false
	}
	f := strings.Fields(string(buf[:n]))
	return len(f) == 3 && f[0] == "0" && f[1] == "0" && f[2] == "4294967295"
}
