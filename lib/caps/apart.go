package caps

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// These are the single calls, for who decides on the order: capsh and setpriv do.

// With makes what write writes down with capability n effective, from the sets now, and
// puts those back after it. Where n is not permitted, that is what fails.
func With(b *entry.Builder, n int, now Sets, write func()) {
	if now.Effective.Has(n) {
		write()
		return
	}
	b.Do("make "+Name(n)+" effective", unix.SYS_CAPSET, capHeader(), capData(now.Permitted, now.Effective|1<<n, now.Inheritable))
	write()
	SetThread(b, now.Permitted, now.Effective, now.Inheritable)
}

// RaiseAmbient makes set ambient, beside what is so already.
func RaiseAmbient(b *entry.Builder, set Set) {
	b.EachBit("raise {} in the ambient set", uint64(set), unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, entry.Bit, 0, 0)
}

// LowerAmbient takes set out of the ambient set.
func LowerAmbient(b *entry.Builder, set Set) {
	b.EachBit("lower {} in the ambient set", uint64(set), unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_LOWER, entry.Bit, 0, 0)
}

// ClearAmbient empties the ambient set.
func ClearAmbient(b *entry.Builder) {
	prctl(b, "clear the ambient set", unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0)
}

// SetKeepCaps says, with 1, that the next changes of user leave the permitted set alone;
// an execve ends that (PR_SET_KEEPCAPS of prctl(2)).
func SetKeepCaps(b *entry.Builder, value int) {
	prctl(b, fmt.Sprintf("set PR_SET_KEEPCAPS to %d", value), unix.PR_SET_KEEPCAPS, value, 0)
}

// SetUID is setuid(2): with CAP_SETUID it sets all three ids, else the effective one.
func SetUID(b *entry.Builder, uid uint32) {
	b.Do(fmt.Sprintf("setuid to %d", uid), unix.SYS_SETUID, uintptr(uid))
}

// SetGID is setgid(2), likewise.
func SetGID(b *entry.Builder, gid uint32) {
	b.Do(fmt.Sprintf("setgid to %d", gid), unix.SYS_SETGID, uintptr(gid))
}

// SetGroups sets the supplementary groups (setgroups(2)).
func SetGroups(b *entry.Builder, groups []uint32) {
	list := make([]byte, 0, 4*len(groups))
	for _, g := range groups {
		list = binary.NativeEndian.AppendUint32(list, g)
	}
	b.Do("setgroups to "+GroupsText(groups), unix.SYS_SETGROUPS, len(groups), list)
}

// Chroot makes dir the root, and the working directory with it: one that lies outside
// would be a way out (chroot(2)).
func Chroot(b *entry.Builder, dir string) {
	b.Do("chroot to "+dir, unix.SYS_CHROOT, dir)
	b.Do("chdir to the new root", unix.SYS_CHDIR, "/")
}

// SetUIDs sets the real, the effective and the saved user id (setresuid(2)).
func SetUIDs(b *entry.Builder, ids [3]uint32) {
	b.Do(fmt.Sprintf("setresuid to %d", ids[1]), unix.SYS_SETRESUID, uintptr(ids[0]), uintptr(ids[1]), uintptr(ids[2]))
}

// SetGIDs sets the real, the effective and the saved group id (setresgid(2)).
func SetGIDs(b *entry.Builder, ids [3]uint32) {
	b.Do(fmt.Sprintf("setresgid to %d", ids[1]), unix.SYS_SETRESGID, uintptr(ids[0]), uintptr(ids[1]), uintptr(ids[2]))
}
