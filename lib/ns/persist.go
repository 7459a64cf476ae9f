package ns

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
	"staves/lib/probe"
)

// A Keep is a namespace that is to outlive its processes: a mount of its file on another
// file keeps it (namespaces(7)), until that is unmounted.
type Keep struct {
	Kind *Kind
	// File is where it is mounted; it is made if it is not there.
	File string
}

// Link is the name of a kind's file in /proc/PID/ns: of the children's namespace, where
// the process itself may not be in the new one.
func (k *Kind) Link() string {
	switch k.Flag {
	case unix.CLONE_NEWNS:
		return "mnt"
	case unix.CLONE_NEWPID, unix.CLONE_NEWTIME:
		return k.Long + "_for_children"
	}
	return k.Long
}

// Own is the name of the file of the namespace that the process itself is in.
func (k *Kind) Own() string { return strings.TrimSuffix(k.Link(), "_for_children") }

// KeepAll mounts namespaces of the process in target. It is made outside of them: a mount
// made in the new mount namespace would be seen there only, and the new user namespace has
// no right to make one outside. If one of them fails, none is kept.
func KeepAll(b *entry.Builder, target entry.Reg, keeps []Keep) {
	made := make([]entry.Reg, len(keeps)) // -EEXIST of what was there before
	remove := func(i int) {
		b.IfDiffer("undo", made[i], -int(unix.EEXIST), func() {
			b.Try("undo", entry.AnyError, unix.SYS_UNLINKAT, unix.AT_FDCWD, keeps[i].File, 0)
		})
	}
	for i, k := range keeps {
		// Where it can neither be made nor is there, the mount will say so.
		b.If("make "+k.File, entry.AnyError, func(fd entry.Reg) {
			b.Do("close "+k.File, unix.SYS_CLOSE, fd)
			made[i] = fd
		}, nil, unix.SYS_OPENAT, unix.AT_FDCWD, k.File, unix.O_RDONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o444)
		b.Undo(fmt.Sprintf("bind the %s namespace on %s", k.Kind.Long, k.File), func() {
			remove(i)
			for j := range i {
				b.Try("undo", entry.AnyError, unix.SYS_UMOUNT2, keeps[j].File, unix.MNT_DETACH)
				remove(j)
			}
		}, unix.SYS_MOUNT, b.Format("/proc/", target, "/ns/"+k.Kind.Link()), k.File, 0, unix.MS_BIND, 0)
	}
	for _, r := range made {
		b.Forget(r)
	}
}

// Propagates returns the mount that path lies on and tells whether it passes mounts on to
// others (mount_namespaces(7)): a mount namespace cannot be kept there, as it would be
// seen inside itself. No, where /proc does not tell.
func Propagates(path string) (mount string, shared bool) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", false
	}
	if real, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(real, filepath.Base(path))
	}
	text, err := probe.ReadProc("/proc/self/mountinfo")
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 7 {
			continue
		}
		// The last of those that are equally long lies on top.
		at := probe.Unescape(f[4])
		if len(at) >= len(mount) && (path == at || strings.HasPrefix(path, strings.TrimSuffix(at, "/")+"/")) {
			mount, shared = at, strings.Contains(line[:strings.Index(line+" - ", " - ")], " shared:")
		}
	}
	return mount, shared
}

// A Clock is one of the two that a time namespace has of its own (time_namespaces(7)).
type Clock string

// The clocks, in the order in which unshare(1) sets them.
const (
	BootTime  Clock = "boottime"
	Monotonic Clock = "monotonic"
)

// SetClock shifts a clock of the time namespace that this process has made, in which there
// is no process yet, by seconds. It takes CAP_SYS_TIME in the user namespace.
func SetClock(b *entry.Builder, c Clock, seconds int64) {
	b.WriteFile("/proc/self/timens_offsets", fmt.Sprintf("%s %d 0", c, seconds))
}
