// Package ns makes Linux namespaces: namespaces(7), and the page of each kind.
//
// The functions write system calls down in an [entry.Builder], since a user namespace
// has to be made before the Go runtime starts, and a pid namespace wants a parent that
// only waits.
//
// When not to use this package: to start a child in new namespaces from a Go program
// that goes on living; os/exec with SysProcAttr.Cloneflags does that.
package ns

import (
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// A Kind is one kind of namespace.
type Kind struct {
	Flag  uintptr // of clone(2) and unshare(2)
	Name  string  // the kernel's, as in CLONE_NEWNS
	Short string  // option letter
	Long  string  // option name
	Usage string  // of the option
}

// Kinds are all kinds, in the order in which their flags are named: the user namespace
// first, since the kernel makes it first and it owns the others.
var Kinds = []Kind{
	{unix.CLONE_NEWUSER, "CLONE_NEWUSER", "U", "user", "user and group ids, capabilities (user_namespaces(7))"},
	{unix.CLONE_NEWNS, "CLONE_NEWNS", "m", "mount", "mounts (mount_namespaces(7))"},
	{unix.CLONE_NEWUTS, "CLONE_NEWUTS", "u", "uts", "host name (uts_namespaces(7))"},
	{unix.CLONE_NEWIPC, "CLONE_NEWIPC", "i", "ipc", "System V IPC, message queues (ipc_namespaces(7))"},
	{unix.CLONE_NEWNET, "CLONE_NEWNET", "n", "net", "network (network_namespaces(7)); lo is brought up"},
	{unix.CLONE_NEWPID, "CLONE_NEWPID", "p", "pid", "process ids (pid_namespaces(7)); implies --fork"},
	{unix.CLONE_NEWCGROUP, "CLONE_NEWCGROUP", "C", "cgroup", "cgroup root (cgroup_namespaces(7))"},
	{unix.CLONE_NEWTIME, "CLONE_NEWTIME", "T", "time", "monotonic and boot clocks (time_namespaces(7))"},
}

// Names writes flags as the kernel's constants.
func Names(flags uintptr) string {
	var n []string
	for _, k := range Kinds {
		if flags&k.Flag != 0 {
			n = append(n, k.Name)
		}
	}
	if n == nil {
		return "0"
	}
	return strings.Join(n, "|")
}

// Unshare moves the process into new namespaces (unshare(2)). CLONE_NEWUSER wants a
// process of one thread; CLONE_NEWPID and CLONE_NEWTIME act on children.
func Unshare(b *entry.Builder, flags uintptr) {
	b.Do("unshare("+Names(flags)+")", unix.SYS_UNSHARE, flags)
}

// EnterTime moves the process into the time namespace that it has made for its children.
// Newer kernels do so on an execve. Those before (6.1, for one) leave the program outside
// for good, where its vfork(2) fails as well: memory is not shared between two of them.
// Without a proc to find the namespace in it is left to the execve.
func EnterTime(b *entry.Builder) {
	const what = "setns(CLONE_NEWTIME)"
	b.If("open /proc/self/ns/time_for_children", unix.ENOENT, func(fd entry.Reg) {
		b.Do(what, unix.SYS_SETNS, fd, unix.CLONE_NEWTIME)
		b.Close(fd)
	}, nil, unix.SYS_OPENAT, unix.AT_FDCWD, "/proc/self/ns/time_for_children", unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// Propagation is how mount events pass between this mount namespace and its peers.
type Propagation string

// The kinds of propagation (mount_namespaces(7)).
const (
	Private   Propagation = "private"
	Slave     Propagation = "slave"
	Shared    Propagation = "shared"
	Unchanged Propagation = "unchanged"
)

// SetPropagation applies p to every mount of the namespace. A new mount namespace
// starts with its creator's propagation: shared, on a machine with systemd, and what
// is mounted inside would appear outside.
func SetPropagation(b *entry.Builder, p Propagation) {
	var flag int
	switch p {
	case Private:
		flag = unix.MS_PRIVATE
	case Slave:
		flag = unix.MS_SLAVE
	case Shared:
		flag = unix.MS_SHARED
	case Unchanged:
		return
	}
	b.Do("make / "+string(p), unix.SYS_MOUNT, "none", "/", 0, flag|unix.MS_REC, 0)
}

// SetHostname names the host in this uts namespace: sethostname(2), at most 64 bytes.
func SetHostname(b *entry.Builder, name string) {
	b.Do("sethostname "+name, unix.SYS_SETHOSTNAME, name, len(name))
}

// LoopbackUp brings up lo, which a new network namespace has, but down (netdevice(7)).
func LoopbackUp(b *entry.Builder) {
	var req struct {
		name  [16]byte
		flags uint16
		_     [22]byte // struct ifreq has 40 bytes
	}
	copy(req.name[:], "lo")
	req.flags = unix.IFF_UP
	fd := b.Get("bring up lo", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	b.Do("bring up lo", unix.SYS_IOCTL, fd, unix.SIOCSIFFLAGS, entry.Struct(&req))
	b.Close(fd)
}

// MountProc mounts a new proc, which shows the pid namespace of the process, on dir.
func MountProc(b *entry.Builder, dir string) {
	b.Do("mount proc on "+dir, unix.SYS_MOUNT, "proc", dir, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, 0)
}

// OwnMount has what is mounted on dir, if anything is, not appear elsewhere.
func OwnMount(b *entry.Builder, dir string) {
	b.Try("make "+dir+" private", unix.EINVAL, unix.SYS_MOUNT, "none", dir, 0, unix.MS_PRIVATE|unix.MS_REC, 0)
}

// MountBinfmt mounts the interpreters of the process's user namespace on dir. There are
// such since Linux 6.7; before, it takes the first user namespace.
func MountBinfmt(b *entry.Builder, dir string) {
	b.Do("mount binfmt_misc on "+dir, unix.SYS_MOUNT, "binfmt_misc", dir, "binfmt_misc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, 0)
}

// LoadInterpreter registers an interpreter at the binfmt_misc mounted on dir.
func LoadInterpreter(b *entry.Builder, dir, definition string) {
	b.WriteFile(dir+"/register", definition)
}
