package entry

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Trace has the program print what follows: text first, if there is any operation, and then
// each system call right before it is made, whatever life of the process that is in. An
// empty text ends that.
func (b *Builder) Trace(text string) { b.trace, b.note = text != "", text }

// Traces tells whether what is written now is printed.
func (b *Builder) Traces() bool { return b.trace }

// Tell has the program print a line, as if it were a system call, before the operation that is
// written next: what of it a system call does not show.
func (b *Builder) Tell(line string) { b.note += Told(line) }

// Told is a line of a trace that is about a call, or a message, of a step.
func Told(line string) string { return "+     " + line + "\n" }

// line adds to what is printed before the operation at a place.
func (b *Builder) line(place int, text string) {
	if text == "" {
		return
	}
	if b.lines == nil {
		b.lines = map[int]string{}
	}
	b.lines[place] += text
}

// traces places the lines, and the table by which premain finds them.
func (b *Builder) traces() uint64 {
	table := make([]byte, 8*len(b.ops))
	for place, text := range b.lines {
		binary.NativeEndian.PutUint64(table[8*place:], b.text(text)+1)
	}
	return b.room(string(table))
}

// printLine prints what belongs before an operation. Standard error may be closed.
//
//go:nosplit
//go:norace
func printLine(base unsafe.Pointer, i uintptr) {
	off := *(*uint64)(at(base, uintptr((*header)(base).trace)+8*i))
	if off == 0 {
		return
	}
	text := at(base, uintptr(off-1))
	n := uintptr(0)
	for *(*byte)(unsafe.Add(text, n)) != 0 {
		n++
	}
	sys(unix.SYS_WRITE, 2, uintptr(text), n, 0, 0, 0)
}

// callText writes a system call as a manual page does, with flags by name; what is known
// only when it is made is "fd" or "...". Calls that only look or tidy up are left out.
func callText(what string, nr int, args []any) string {
	c := shapeOf(nr)
	if c.name == "" || nr == unix.SYS_IOCTL && args[1] != unix.SIOCSIFFLAGS {
		return ""
	}
	words := make([]string, 0, len(args))
	for i, a := range args {
		words = append(words, argText(c, i, a))
	}
	if nr == unix.SYS_PRCTL && args[0] == unix.PR_CAP_AMBIENT && len(args) > 1 {
		words[1] = argText(callShape{named: 1, mode: -1, flags: ambients}, 1, args[1])
	}
	if path, ok := strings.CutPrefix(what, "write "); ok && nr == unix.SYS_WRITE {
		words[0] = path
	}
	return Told(c.name + "(" + strings.Join(words, ", ") + ")")
}

func argText(c callShape, i int, a any) string {
	var n uint64
	switch v := a.(type) {
	case string:
		return fmt.Sprintf("%q", v)
	case Reg:
		if v == Bit {
			return "..." // each of several
		}
		return "fd"
	case int:
		n = uint64(v)
	case uint:
		n = uint64(v)
	case uintptr:
		n = uint64(v)
	case []byte:
		switch {
		case c.name == "mount_setattr": // struct mount_attr begins with what is set
			return "{attr_set=" + flagNames(mountAttrs, true, binary.NativeEndian.Uint64(v)) + "}"
		case c.name == "capset" && i == 1 && len(v) == 24: // struct __user_cap_data_struct[2]
			set := func(at int) uint64 {
				return uint64(binary.NativeEndian.Uint32(v[at:])) | uint64(binary.NativeEndian.Uint32(v[at+12:]))<<32
			}
			return fmt.Sprintf("{effective=%#x, permitted=%#x, inheritable=%#x}", set(0), set(4), set(8))
		case c.name == "capset" && i == 0:
			return "{version=_LINUX_CAPABILITY_VERSION_3, pid=0}"
		}
		return "..."
	default:
		return "..."
	}
	if int64(n) == unix.AT_FDCWD && i != c.named {
		return "AT_FDCWD"
	}
	if i == c.named {
		return flagNames(c.flags, c.bits, n)
	}
	switch {
	case i == c.mode:
		return fmt.Sprintf("%#o", n)
	case c.name == "mknodat" && i == 3:
		return fmt.Sprintf("makedev(%d, %d)", unix.Major(n), unix.Minor(n))
	case c.name == "fsmount" && i == 1:
		return flagNames([]flagName{{unix.FSMOUNT_CLOEXEC, "FSMOUNT_CLOEXEC"}}, true, n)
	}
	return fmt.Sprint(int64(n))
}

// flagNames names a value: the one that it is, or with bits those that it is made of.
func flagNames(names []flagName, bits bool, n uint64) string {
	var all []string
	for _, f := range names {
		switch {
		case !bits && f.value == n:
			return f.name
		case bits && f.value != 0 && n&f.value == f.value:
			all, n = append(all, f.name), n&^f.value
		}
	}
	if n != 0 || len(all) == 0 && !bits {
		all = append(all, fmt.Sprintf("%#x", n))
	}
	if len(all) == 0 {
		return "0"
	}
	return strings.Join(all, "|")
}

type flagName struct {
	value uint64
	name  string
}

// A callShape is how a system call is shown: which argument is named by flags, and which is
// a mode, -1 for none.
type callShape struct {
	name        string
	named, mode int
	bits        bool
	flags       []flagName
}

var cloneFlags = []flagName{
	{unix.CLONE_NEWNS, "CLONE_NEWNS"},
	{unix.CLONE_NEWUTS, "CLONE_NEWUTS"},
	{unix.CLONE_NEWIPC, "CLONE_NEWIPC"},
	{unix.CLONE_NEWPID, "CLONE_NEWPID"},
	{unix.CLONE_NEWNET, "CLONE_NEWNET"},
	{unix.CLONE_NEWUSER, "CLONE_NEWUSER"},
	{unix.CLONE_NEWCGROUP, "CLONE_NEWCGROUP"},
	{unix.CLONE_NEWTIME, "CLONE_NEWTIME"},
}

var atFlags = []flagName{
	{unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"},
	{unix.AT_RECURSIVE, "AT_RECURSIVE"},
	{unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"},
	{unix.OPEN_TREE_CLONE, "OPEN_TREE_CLONE"},
	{unix.OPEN_TREE_CLOEXEC, "OPEN_TREE_CLOEXEC"},
}

var mountFlags = []flagName{
	{unix.MS_BIND, "MS_BIND"},
	{unix.MS_REC, "MS_REC"},
	{unix.MS_PRIVATE, "MS_PRIVATE"},
	{unix.MS_SLAVE, "MS_SLAVE"},
	{unix.MS_SHARED, "MS_SHARED"},
	{unix.MS_UNBINDABLE, "MS_UNBINDABLE"},
	{unix.MS_REMOUNT, "MS_REMOUNT"},
	{unix.MS_MOVE, "MS_MOVE"},
	{unix.MS_RDONLY, "MS_RDONLY"},
	{unix.MS_NOSUID, "MS_NOSUID"},
	{unix.MS_NODEV, "MS_NODEV"},
	{unix.MS_NOEXEC, "MS_NOEXEC"},
}

var mountAttrs = []flagName{
	{unix.MOUNT_ATTR_RDONLY, "MOUNT_ATTR_RDONLY"},
	{unix.MOUNT_ATTR_NOSUID, "MOUNT_ATTR_NOSUID"},
	{unix.MOUNT_ATTR_NODEV, "MOUNT_ATTR_NODEV"},
	{unix.MOUNT_ATTR_NOEXEC, "MOUNT_ATTR_NOEXEC"},
}

var prctls = []flagName{
	{unix.PR_SET_PDEATHSIG, "PR_SET_PDEATHSIG"},
	{unix.PR_GET_PDEATHSIG, "PR_GET_PDEATHSIG"},
	{unix.PR_CAPBSET_READ, "PR_CAPBSET_READ"},
	{unix.PR_CAPBSET_DROP, "PR_CAPBSET_DROP"},
	{unix.PR_CAP_AMBIENT, "PR_CAP_AMBIENT"},
	{unix.PR_SET_SECUREBITS, "PR_SET_SECUREBITS"},
	{unix.PR_GET_SECUREBITS, "PR_GET_SECUREBITS"},
	{unix.PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS"},
	{unix.PR_GET_NO_NEW_PRIVS, "PR_GET_NO_NEW_PRIVS"},
	{unix.PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS"},
	{unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE"},
	{unix.PR_GET_DUMPABLE, "PR_GET_DUMPABLE"},
	{unix.PR_SET_NAME, "PR_SET_NAME"},
}

var ambients = []flagName{
	{unix.PR_CAP_AMBIENT_IS_SET, "PR_CAP_AMBIENT_IS_SET"},
	{unix.PR_CAP_AMBIENT_RAISE, "PR_CAP_AMBIENT_RAISE"},
	{unix.PR_CAP_AMBIENT_LOWER, "PR_CAP_AMBIENT_LOWER"},
	{unix.PR_CAP_AMBIENT_CLEAR_ALL, "PR_CAP_AMBIENT_CLEAR_ALL"},
}

// shapeOf is the shape of a call that a trace shows, with no name for any other. A map would
// be filled whenever a process starts.
func shapeOf(nr int) callShape {
	switch nr {
	case unix.SYS_UNSHARE:
		return callShape{"unshare", 0, -1, true, cloneFlags}
	case unix.SYS_SETNS:
		return callShape{"setns", 1, -1, true, cloneFlags}
	case unix.SYS_MOUNT:
		return callShape{"mount", 3, -1, true, mountFlags}
	case unix.SYS_UMOUNT2:
		return callShape{"umount2", 1, -1, true, []flagName{{unix.MNT_DETACH, "MNT_DETACH"}, {unix.UMOUNT_NOFOLLOW, "UMOUNT_NOFOLLOW"}}}
	case unix.SYS_PIVOT_ROOT:
		return callShape{"pivot_root", -1, -1, false, nil}
	case unix.SYS_CHROOT:
		return callShape{"chroot", -1, -1, false, nil}
	case unix.SYS_CHDIR:
		return callShape{"chdir", -1, -1, false, nil}
	case unix.SYS_FCHDIR:
		return callShape{"fchdir", -1, -1, false, nil}
	case unix.SYS_OPEN_TREE:
		return callShape{"open_tree", 2, -1, true, atFlags}
	case unix.SYS_MOUNT_SETATTR:
		return callShape{"mount_setattr", 2, -1, true, atFlags}
	case unix.SYS_MOVE_MOUNT:
		return callShape{"move_mount", 4, -1, true, []flagName{
			{unix.MOVE_MOUNT_F_EMPTY_PATH, "MOVE_MOUNT_F_EMPTY_PATH"}, {unix.MOVE_MOUNT_T_EMPTY_PATH, "MOVE_MOUNT_T_EMPTY_PATH"},
		}}
	case unix.SYS_FSOPEN:
		return callShape{"fsopen", 1, -1, true, []flagName{{unix.FSOPEN_CLOEXEC, "FSOPEN_CLOEXEC"}}}
	case unix.SYS_FSMOUNT:
		return callShape{"fsmount", 2, -1, true, mountAttrs}
	case unix.SYS_FSCONFIG:
		return callShape{"fsconfig", 1, -1, false, []flagName{{0, "FSCONFIG_SET_FLAG"}, {1, "FSCONFIG_SET_STRING"}, {3, "FSCONFIG_SET_PATH"}, {5, "FSCONFIG_SET_FD"}, {6, "FSCONFIG_CMD_CREATE"}}}
	case unix.SYS_CAPSET:
		return callShape{"capset", -1, -1, false, nil}
	case unix.SYS_PRCTL:
		return callShape{"prctl", 0, -1, false, prctls}
	case unix.SYS_SECCOMP:
		return callShape{"seccomp", 0, -1, false, []flagName{
			{unix.SECCOMP_SET_MODE_STRICT, "SECCOMP_SET_MODE_STRICT"}, {unix.SECCOMP_SET_MODE_FILTER, "SECCOMP_SET_MODE_FILTER"},
		}}
	case unix.SYS_LANDLOCK_RESTRICT_SELF:
		return callShape{"landlock_restrict_self", -1, -1, false, nil}
	case unix.SYS_SETGROUPS:
		return callShape{"setgroups", -1, -1, false, nil}
	case unix.SYS_SETRESUID:
		return callShape{"setresuid", -1, -1, false, nil}
	case unix.SYS_SETRESGID:
		return callShape{"setresgid", -1, -1, false, nil}
	case unix.SYS_KEYCTL:
		return callShape{"keyctl", 0, -1, false, []flagName{{unix.KEYCTL_GET_KEYRING_ID, "KEYCTL_GET_KEYRING_ID"}, {unix.KEYCTL_JOIN_SESSION_KEYRING, "KEYCTL_JOIN_SESSION_KEYRING"}}}
	case unix.SYS_SETHOSTNAME:
		return callShape{"sethostname", -1, -1, false, nil}
	case unix.SYS_SETSID:
		return callShape{"setsid", -1, -1, false, nil}
	case unix.SYS_MKNODAT:
		return callShape{"mknodat", -1, 2, false, nil}
	case unix.SYS_MKDIRAT:
		return callShape{"mkdirat", -1, 2, false, nil}
	case unix.SYS_SYMLINKAT:
		return callShape{"symlinkat", -1, -1, false, nil}
	case unix.SYS_WRITE:
		return callShape{"write", -1, -1, false, nil}
	case unix.SYS_IOCTL:
		return callShape{"ioctl", 1, -1, false, []flagName{{unix.SIOCSIFFLAGS, "SIOCSIFFLAGS"}}}
	case unix.SYS_PRLIMIT64:
		return callShape{"prlimit64", -1, -1, false, nil}
	}
	return callShape{named: -1, mode: -1}
}
