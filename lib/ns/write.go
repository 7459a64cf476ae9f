package ns

import (
	"fmt"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// An Axis is one of the two maps of a user namespace.
type Axis struct {
	File   string // of /proc/PID
	Tool   string // that writes it for an ordinary user, by the lines of SubIDs
	SubIDs string // subuid(5), subgid(5)
}

// The two maps, in the order in which they are written.
var (
	Users  = Axis{"uid_map", "newuidmap", "/etc/subuid"}
	Groups = Axis{"gid_map", "newgidmap", "/etc/subgid"}
)

// WriteMap writes a map of this process's user namespace from the inside, which only a
// map of one id, its own, may be (user_namespaces(7)).
func (a Axis) WriteMap(b *entry.Builder, m Map) { b.WriteFile("/proc/self/"+a.File, m.Text()) }

// WriteMapOf writes the map of another process's user namespace, which is one below: the
// process is the one whose id is in target. It takes CAP_SETUID, or CAP_SETGID, here; or
// the map is one of the namespace's maker's own id.
func (a Axis) WriteMapOf(b *entry.Builder, target entry.Reg, m Map) {
	writeOf(b, target, a.File, m.Text())
}

// writeOf writes to a file of the process in target, which is the one that asks for it.
func writeOf(b *entry.Builder, target entry.Reg, file, text string) {
	what := "write /proc/self/" + file
	fd := b.Get(what, unix.SYS_OPENAT, unix.AT_FDCWD, b.Format("/proc/", target, "/"+file), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	b.Do(what, unix.SYS_WRITE, fd, text, len(text))
	b.Close(fd)
}

// RunTool has the tool, a setuid program at path, write the map of the process in target.
// What it says goes to messages, and is part of the error.
func (a Axis) RunTool(b *entry.Builder, path string, target entry.Reg, m Map, messages entry.Reg) {
	argv := []any{a.Tool, b.Format("", target, "")}
	for _, r := range m {
		for _, n := range []uint32{r.Inner, r.Outer, r.Count} {
			argv = append(argv, fmt.Sprint(n))
		}
	}
	b.Spawn("run "+a.Tool, path, argv, messages)
}

// DenySetgroups gives up setgroups(2) in this process's user namespace, which an ordinary
// user must before the map of groups is written.
func DenySetgroups(b *entry.Builder) { b.WriteFile("/proc/self/setgroups", deny) }

// DenySetgroupsOf does the same in the user namespace of the process in target.
func DenySetgroupsOf(b *entry.Builder, target entry.Reg) { writeOf(b, target, "setgroups", deny) }

const deny = "deny"
