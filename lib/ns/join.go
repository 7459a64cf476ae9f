package ns

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// An Open is an open namespace, to be joined.
type Open struct {
	Kind *Kind
	FD   int
}

// Join moves the process into namespaces, whose descriptors it closes (setns(2)). The
// pid and time namespaces are those of its next children; the time namespace is its own
// after an execve, too.
//
// With a user namespace among them, the others may belong to it, or to the one the process
// is in now: each is tried before the user namespace, and if that fails after it.
//
// The pid namespace is the last, as nothing but a fork can follow.
func Join(b *entry.Builder, open []Open) {
	open = slices.Clone(open)
	slices.SortStableFunc(open, func(x, y Open) int {
		last := func(o Open) int { return int(o.Kind.Flag & unix.CLONE_NEWPID) }
		return last(x) - last(y)
	})
	left := map[*Kind]entry.Reg{}
	var user *Open
	for i, o := range open {
		if o.Kind.Flag == unix.CLONE_NEWUSER {
			user = &open[i]
		}
	}
	for _, o := range open {
		if user == nil {
			b.Do(o.what(), unix.SYS_SETNS, o.FD, o.Kind.Flag)
			b.Do(o.what(), unix.SYS_CLOSE, o.FD)
		} else if o.Kind.Flag != unix.CLONE_NEWUSER {
			// 0 when it is done, else an errno.
			b.If(o.what(), entry.AnyError, func(r entry.Reg) { left[o.Kind] = r }, nil, unix.SYS_SETNS, o.FD, o.Kind.Flag)
		}
	}
	if user == nil {
		return
	}
	b.Do(user.what(), unix.SYS_SETNS, user.FD, user.Kind.Flag)
	b.Do(user.what(), unix.SYS_CLOSE, user.FD)
	for _, o := range open {
		if o.Kind.Flag == unix.CLONE_NEWUSER {
			continue
		}
		r := left[o.Kind]
		b.IfDiffer(o.what(), r, 0, func() { b.Do(o.what(), unix.SYS_SETNS, o.FD, o.Kind.Flag) })
		b.Do(o.what(), unix.SYS_CLOSE, o.FD)
		b.Forget(r)
	}
}

func (o *Open) what() string { return "setns(" + o.Kind.Name + ")" }

// A Process is one whose namespaces are joined: a descriptor, since its number may come to
// be another's.
type Process struct {
	PID int
	FD  int
}

// OpenProcess opens the process with a number, and with inode not 0 only if its pidfd has
// that inode number (Linux 6.9): it is the number of no other process, ever.
func OpenProcess(pid int, inode uint64) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	if inode == 0 {
		return &Process{pid, fd}, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	if st.Ino != inode {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("open process %d: it is another one by now, of inode %d, not %d: %w", pid, st.Ino, inode, unix.ESRCH)
	}
	return &Process{pid, fd}, nil
}

// Close lets go of the process.
func (p *Process) Close() { _ = unix.Close(p.FD) }

// Path is a file of the process in /proc. What it leads to is the process's own only if
// [Process.Alive] holds afterwards.
func (p *Process) Path(name string) string { return fmt.Sprintf("/proc/%d/%s", p.PID, name) }

// Alive fails with ESRCH if the process has ended.
func (p *Process) Alive() error {
	if err := unix.PidfdSendSignal(p.FD, 0, nil, 0); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("open process %d: %w", p.PID, err)
	}
	return nil
}

// Namespace opens a namespace of the process; -1 where the kernel has no such kind, or,
// with differs, where it is the caller's own.
func (p *Process) Namespace(kind *Kind, differs bool) (int, error) {
	var own, other unix.Stat_t
	if unix.Stat("/proc/self/ns/"+kind.Own(), &own) != nil {
		if differs {
			return -1, nil
		}
		return -1, fmt.Errorf("open the %s namespace: the kernel has none: %w", kind.Long, unix.ENOENT)
	}
	fd, err := unix.Open(p.Path("ns/"+kind.Own()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", p.Path("ns/"+kind.Own()), err)
	}
	if err := unix.Fstat(fd, &other); err == nil && differs && own.Dev == other.Dev && own.Ino == other.Ino {
		_ = unix.Close(fd)
		return -1, nil
	}
	return fd, nil
}

// OpenFile opens the namespace that is kept by a mount on path, which must be of a kind.
func OpenFile(path string, kind *Kind) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	if err := checkKind(fd, kind); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	return fd, nil
}

// checkKind verifies that a descriptor is a namespace of a kind (ioctl_nsfs(2)).
func checkKind(fd int, kind *Kind) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return err
	}
	if fs.Type != unix.NSFS_MAGIC {
		return fmt.Errorf("it is no namespace: %w", unix.EINVAL)
	}
	flag, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil {
		return err
	}
	if uintptr(flag) != kind.Flag {
		return fmt.Errorf("it is a %s, not a %s: %w", strings.TrimSuffix(Names(uintptr(flag)), "|"), kind.Name, unix.EINVAL)
	}
	return nil
}

// Owner opens the user namespace that a namespace belongs to; of a user namespace, the
// one around it.
func Owner(fd int) (int, error) {
	owner, err := unix.IoctlRetInt(fd, unix.NS_GET_USERNS)
	if err != nil {
		return -1, fmt.Errorf("ioctl(NS_GET_USERNS): %w", err)
	}
	return owner, nil
}

// SocketNet opens the network namespace of a process's socket: the one that has the number
// socket there (pidfd_getfd(2), Linux 5.6).
func (p *Process) SocketNet(socket int) (int, error) {
	s, err := unix.PidfdGetfd(p.FD, socket, 0)
	if err != nil {
		return -1, fmt.Errorf("take descriptor %d of process %d: %w", socket, p.PID, err)
	}
	defer unix.Close(s)
	const getNet = 0x894c // SIOCGSKNS of <linux/sockios.h>
	fd, err := unix.IoctlRetInt(s, getNet)
	if err != nil {
		return -1, fmt.Errorf("ioctl(SIOCGSKNS) on descriptor %d of process %d: %w", socket, p.PID, err)
	}
	return fd, nil
}

// OpenID opens the namespace with an id (Linux 6.18): a file handle of nsfs.
func OpenID(id uint64, kind *Kind) (int, error) {
	root, err := unix.Open("/proc/self/ns/"+kind.Own(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open namespace %d: %w", id, err)
	}
	defer unix.Close(root)
	handle := struct { // struct nsfs_file_handle of <linux/nsfs.h>
		id         uint64
		kind, inum uint32
	}{id: id}
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&handle)), unsafe.Sizeof(handle))
	const nsfsHandle = 0xf1 // FILEID_NSFS
	fd, err := unix.OpenByHandleAt(root, unix.NewFileHandle(nsfsHandle, bytes), unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open namespace %d: %w", id, err)
	}
	if err := checkKind(fd, kind); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("open namespace %d: %w", id, err)
	}
	return fd, nil
}
