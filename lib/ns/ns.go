// Package ns makes Linux namespaces: namespaces(7), and the page of each kind.
//
// What it returns are system calls as data ([entry.Op]), since a user namespace has
// to be made before the Go runtime starts, and a pid namespace wants a parent that
// only waits. To take them at once: (&entry.Program{Ops: ops}).Run().
//
// When not to use this package: to start a child in new namespaces from a Go program
// that goes on living; os/exec with SysProcAttr.Cloneflags does that.
package ns

import (
	"fmt"
	"strings"
	"unsafe"

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
func Unshare(flags uintptr) entry.Op {
	return entry.Call{Label: "unshare(" + Names(flags) + ")", Nr: unix.SYS_UNSHARE, Args: []any{flags}}
}

// MapRoot maps root in the user namespace just made to the ids that the process had
// outside it: the one mapping that needs no privilege (user_namespaces(7)). The kernel
// wants setgroups(2) given up before an unprivileged process writes its gid map.
func MapRoot(uid, gid int) []entry.Op {
	return concat(
		entry.WriteFile("write /proc/self/setgroups", "/proc/self/setgroups", "deny"),
		entry.WriteFile("write /proc/self/uid_map", "/proc/self/uid_map", fmt.Sprintf("0 %d 1", uid)),
		entry.WriteFile("write /proc/self/gid_map", "/proc/self/gid_map", fmt.Sprintf("0 %d 1", gid)),
	)
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
func SetPropagation(p Propagation) []entry.Op {
	flag := map[Propagation]int{Private: unix.MS_PRIVATE, Slave: unix.MS_SLAVE, Shared: unix.MS_SHARED}[p]
	if flag == 0 {
		return nil
	}
	return []entry.Op{entry.Call{
		Label: "set propagation of / to " + string(p),
		Nr:    unix.SYS_MOUNT, Args: []any{"none", "/", 0, flag | unix.MS_REC, 0},
	}}
}

// SetHostname names the host in this uts namespace: sethostname(2), at most 64 bytes.
func SetHostname(name string) entry.Op {
	return entry.Call{Label: "sethostname " + name, Nr: unix.SYS_SETHOSTNAME, Args: []any{name, len(name)}}
}

// LoopbackUp brings up lo, which a new network namespace has, but down (netdevice(7)).
func LoopbackUp() []entry.Op {
	var req struct {
		name  [16]byte
		flags uint16
		_     [22]byte // struct ifreq has 40 bytes
	}
	copy(req.name[:], "lo")
	req.flags = unix.IFF_UP
	b := unsafe.Slice((*byte)(unsafe.Pointer(&req)), unsafe.Sizeof(req))
	const label = "bring up lo"
	return []entry.Op{
		entry.Call{Label: label, Nr: unix.SYS_SOCKET, Args: []any{unix.AF_INET, unix.SOCK_DGRAM | unix.SOCK_CLOEXEC, 0}, Keep: true},
		entry.Call{Label: label, Nr: unix.SYS_IOCTL, Args: []any{entry.Kept{}, unix.SIOCSIFFLAGS, append([]byte(nil), b...)}},
		entry.Call{Label: label, Nr: unix.SYS_CLOSE, Args: []any{entry.Kept{}}},
	}
}

// MountProc mounts a new proc, which shows the pid namespace of the process, on dir.
func MountProc(dir string) entry.Op {
	return entry.Call{
		Label: "mount proc on " + dir,
		Nr:    unix.SYS_MOUNT, Args: []any{"proc", dir, "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, 0},
	}
}

func concat(lists ...[]entry.Op) []entry.Op {
	var all []entry.Op
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}
