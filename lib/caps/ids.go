package caps

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
	"staves/lib/probe"
)

// IDs are a user, a group, and the supplementary groups: what a process is, in the
// numbers of its user namespace (credentials(7)).
type IDs struct {
	UID, GID uint32
	Groups   []uint32
}

// Enter makes the thread this user, real, effective and saved id, with these groups
// and no others; the list is left alone if it is the one in force: see [IDs.Reach]. The
// permitted set stays as it is if keep is true; otherwise it is lost where root becomes
// another user. The effective set is lost there in any case. A parent-death signal is
// kept (prctl(2): a change of ids clears it).
func (ids *IDs) Enter(b *entry.Builder, now *State, keep bool) {
	KeepDeathSignal(b, func() {
		if keep {
			SetKeepCaps(b, 1)
		}
		// Groups first, the user last: each change may take the right to the one before.
		if !SameGroups(ids.Groups, now.Groups) {
			SetGroups(b, ids.Groups)
		}
		gid, uid := uintptr(ids.GID), uintptr(ids.UID)
		b.Do(fmt.Sprintf("setresgid to %d", gid), unix.SYS_SETRESGID, gid, gid, gid)
		b.Do(fmt.Sprintf("setresuid to %d", uid), unix.SYS_SETRESUID, uid, uid, uid)
		if keep {
			SetKeepCaps(b, 0)
		}
	})
}

// KeepDeathSignal has the parent-death signal survive the change of ids that change
// writes (prctl(2): it is cleared by one).
func KeepDeathSignal(b *entry.Builder, change func()) {
	signal := &entry.Buffer{Size: 8}
	b.Do("read the parent-death signal", unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, signal, 0, 0, 0)
	parent := b.Get("getppid", unix.SYS_GETPPID)
	change()
	b.Do("restore the parent-death signal", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, entry.Load{Field: entry.Field{Buffer: signal}}, 0, 0, 0)
	after := b.Get("getppid", unix.SYS_GETPPID)
	b.IfDiffer("getppid", after, parent, func() {
		// The parent died while there was no signal to send. Signal 0 does nothing.
		pid := b.Get("getpid", unix.SYS_GETPID)
		b.Do("signal the death of the parent", unix.SYS_KILL, pid, entry.Load{Field: entry.Field{Buffer: signal}})
		b.Forget(pid)
	})
	b.Forget(parent)
	b.Forget(after)
}

// Mapped finds an id of the state that has no number in this process's user namespace, and
// so cannot be had (user_namespaces(7)). Where /proc does not tell, it finds none.
func (s *State) Mapped() error {
	for _, kind := range []struct {
		file, call string
		ids        []uint32
	}{
		{"/proc/self/gid_map", "setgroups", s.Groups},
		{"/proc/self/gid_map", "setresgid", s.GID[:]},
		{"/proc/self/uid_map", "setresuid", s.UID[:]},
	} {
		text, err := probe.ReadProc(kind.file)
		if err != nil {
			return nil
		}
		for _, id := range kind.ids {
			if !inMap(text, id) {
				return fmt.Errorf("%s to %d: %w", kind.call, id, unix.EINVAL)
			}
		}
	}
	return nil
}

// inMap tells whether a map, in lines of first id inside, first id outside and length, has
// an id inside.
func inMap(text string, id uint32) bool {
	for line := range strings.Lines(text) {
		var inside, outside, length uint64
		if n, _ := fmt.Sscan(line, &inside, &outside, &length); n == 3 && uint64(id) >= inside && uint64(id)-inside < length {
			return true
		}
	}
	return false
}

// errGroupsStay is the reason why a list of groups that cannot be set will not do.
var errGroupsStay = errors.New("this user namespace denies setgroups(2)")

// Reach says which groups the thread will have when it has become ids, and whether that
// takes setgroups(2), with now the state before.
//
// Where the user namespace denies setgroups (user_namespaces(7)), the kernel keeps the
// caller's groups for good. Then the list must be one that could have been asked for:
// every group wanted is there, and none that can be named in the namespace is there
// unwanted. Groups without a number here are left; they cannot be dropped.
func (ids *IDs) Reach(now *State) ([]uint32, error) {
	if SameGroups(ids.Groups, now.Groups) {
		return now.Groups, nil
	}
	missing, left := ids.groupsLeft(now.Groups)
	if !now.Permitted.Has(SETGID) && len(missing) == 0 && len(left) == 0 && !slices.Contains(now.Groups, Overflow) {
		return now.Groups, nil // they differ in the group itself, which counts anyhow
	}
	// Whether it is denied shows in a call that cannot succeed: EINVAL for a list that is
	// too long comes after EPERM.
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 65537, 0, 0)
	if errno != unix.EPERM || !now.Effective.Has(SETGID) {
		return slices.Sorted(slices.Values(ids.Groups)), nil // what else is wrong shows when it is done
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("take groups %s: %w (%w)", GroupsText(missing), errGroupsStay, errno)
	} else if len(left) > 0 {
		return nil, fmt.Errorf("leave groups %s: %w (%w)", GroupsText(left), errGroupsStay, errno)
	}
	return now.Groups, nil
}

// Overflow is how the kernel shows an id that has no number in the user namespace
// (/proc/sys/kernel/overflowgid, which nobody changes).
const Overflow = 65534

// groupsLeft compares the groups wanted with those that cannot be changed: which are
// missing, and which are there and should not be.
func (ids *IDs) groupsLeft(have []uint32) (missing, left []uint32) {
	for _, g := range ids.Groups {
		if g != ids.GID && !slices.Contains(have, g) {
			missing = append(missing, g)
		}
	}
	for _, g := range have {
		if g != ids.GID && g != Overflow && !slices.Contains(ids.Groups, g) {
			left = append(left, g)
		}
	}
	return missing, left
}

// SameGroups compares two lists as sets.
func SameGroups(a, b []uint32) bool {
	in := func(x, y []uint32) bool {
		return !slices.ContainsFunc(x, func(g uint32) bool { return !slices.Contains(y, g) })
	}
	return in(a, b) && in(b, a)
}

// GroupsText writes a list of groups, "none" for an empty one.
func GroupsText(groups []uint32) string {
	if len(groups) == 0 {
		return "none"
	}
	var s []string
	for _, g := range groups {
		s = append(s, strconv.FormatUint(uint64(g), 10))
	}
	return strings.Join(s, ",")
}
