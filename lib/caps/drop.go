package caps

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// DropBounding takes set out of the bounding set: no execve gives these capabilities
// again, be it to root or through a file. It wants CAP_SETPCAP effective
// (PR_CAPBSET_DROP of prctl(2)).
func DropBounding(b *entry.Builder, set Set) {
	b.EachBit("drop {} from the bounding set", uint64(set), unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, entry.Bit, 0, 0, 0)
}

// SetThread sets the permitted, effective and inheritable sets, exactly. Nothing can
// be added to permitted, and losing a capability there or in inheritable takes it out
// of ambient (capset(2)).
func SetThread(b *entry.Builder, permitted, effective, inheritable Set) {
	b.Do("capset to "+permitted.String(), unix.SYS_CAPSET, capHeader(), capData(permitted, effective, inheritable))
}

func capHeader() []byte {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	return entry.Struct(&hdr)
}

// capData are the sets as capget(2) and capset(2) want them in version 3: two words for
// each, the low halves first.
func capData(permitted, effective, inheritable Set) []byte {
	return entry.Struct(&[2]unix.CapUserData{
		{Permitted: uint32(permitted), Effective: uint32(effective), Inheritable: uint32(inheritable)},
		{Permitted: uint32(permitted >> 32), Effective: uint32(effective >> 32), Inheritable: uint32(inheritable >> 32)},
	})
}

// SetAmbient sets the ambient set, exactly: what a program executed by an ordinary
// user keeps. A capability must be permitted and inheritable to become ambient
// (PR_CAP_AMBIENT of prctl(2)).
func SetAmbient(b *entry.Builder, set Set) {
	ClearAmbient(b)
	RaiseAmbient(b, set)
}

// NoNewPrivs has no execve grant anything that the thread does not have: setuid bits
// and file capabilities do nothing from now on. It cannot be taken back
// (PR_SET_NO_NEW_PRIVS of prctl(2)).
func NoNewPrivs(b *entry.Builder) {
	prctl(b, "set no_new_privs", unix.PR_SET_NO_NEW_PRIVS, 1, 0)
}

// Verify reads the five sets, the securebits and no_new_privs back, and fails with EPERM if one of them
// is not what want says.
func Verify(b *entry.Builder, want *State) {
	const what = "read back: "
	is := &entry.Buffer{Size: 24}
	b.Do("capget", unix.SYS_CAPGET, capHeader(), is)
	should := capData(want.Permitted, want.Effective, want.Inheritable)
	for off := 0; off < len(should); off += 8 {
		word := *(*uint64)(unsafe.Pointer(&should[off]))
		b.Check(what+"the permitted, effective or inheritable set is not "+want.Permitted.String(),
			entry.Field{Buffer: is, Offset: off}, uintptr(word), ^uintptr(0), unix.EPERM)
	}
	all := uint64(want.Supported())
	b.CheckEachBit(what+"{} in the bounding set", all, uint64(want.Bounding), unix.SYS_PRCTL, unix.PR_CAPBSET_READ, entry.Bit, 0, 0, 0)
	// The kernel has no other ambient ones than those that are permitted and inheritable.
	b.CheckEachBit(what+"{} in the ambient set", uint64(want.Permitted&want.Inheritable), uint64(want.Ambient),
		unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, entry.Bit, 0, 0)
	b.Want(what+"the securebits are not "+want.Securebits.String(), uintptr(want.Securebits), unix.SYS_PRCTL, unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	nnp := uintptr(0)
	if want.NoNewPrivs {
		nnp = 1
	}
	b.Want(what+"no_new_privs", nnp, unix.SYS_PRCTL, unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
}

// VerifyIDs reads the ids and the groups back, and fails with EPERM if one of them is
// not what want says. The groups must be in the kernel's order: sorted by the numbers
// that they have outside every user namespace.
func VerifyIDs(b *entry.Builder, want *State) {
	for i, ids := range [...][3]uint32{want.UID, want.GID} {
		call, name := [...]int{unix.SYS_GETRESUID, unix.SYS_GETRESGID}[i], [...]string{"user", "group"}[i]
		is := &entry.Buffer{Size: 24}
		b.Do("read the "+name+" ids", call, entry.Field{Buffer: is}, entry.Field{Buffer: is, Offset: 8}, entry.Field{Buffer: is, Offset: 16})
		for j, id := range ids {
			b.Check(fmt.Sprintf("read back: a %s id is not %d", name, id), entry.Field{Buffer: is, Offset: 8 * j}, uintptr(id), 0xffffffff, unix.EPERM)
		}
	}
	// No list that is right is as long as this one is long.
	room := &entry.Buffer{Size: 4 * (len(want.Groups) + 2)}
	what := "read back: the supplementary groups are not " + GroupsText(want.Groups)
	b.Want(what, uintptr(len(want.Groups)), unix.SYS_GETGROUPS, len(want.Groups)+1, room)
	for i, g := range want.Groups {
		word, shift := i/2, 32*(i%2)
		b.Check(what, entry.Field{Buffer: room, Offset: 8 * word}, uintptr(g)<<shift, uintptr(0xffffffff)<<shift, unix.EPERM)
	}
}

// prctl makes prctl(2) with the unused arguments 0, as the kernel insists.
func prctl(b *entry.Builder, what string, option, arg2, arg3 int) {
	b.Do(what, unix.SYS_PRCTL, option, arg2, arg3, 0, 0)
}
