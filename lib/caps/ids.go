package caps

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// IDs are a user, a group, and the supplementary groups: what a process is, in the
// numbers of its user namespace (credentials(7)).
type IDs struct {
	UID, GID uint32
	Groups   []uint32
}

// errGroupsStay is the reason why a list of groups that cannot be set will not do.
var errGroupsStay = errors.New("this user namespace denies setgroups(2)")

// Enter makes the thread this user, real, effective and saved id, with these groups
// and no others. The permitted set stays as it is if keep is true; otherwise it is lost
// where root becomes another user. The effective set is lost there in any case. now is
// the state before, and a parent-death signal is kept (prctl(2): a change of ids clears
// it).
//
// Where the user namespace denies setgroups (user_namespaces(7)), the kernel keeps the
// caller's groups for good. Enter goes on if the list is one that could have been
// asked for: every group wanted is there, and none that can be named in the namespace
// is there unwanted. Groups without a number here are left; they cannot be dropped.
// Enter returns the groups that are in force.
func (ids *IDs) Enter(now *State, keep bool) ([]uint32, error) {
	var signal int32
	if _, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&signal)), 0); errno != 0 {
		return nil, fmt.Errorf("read the parent-death signal: %w", errno)
	}
	parent := unix.Getppid()
	if keep {
		if _, errno := prctl(unix.PR_SET_KEEPCAPS, 1, 0); errno != 0 {
			return nil, fmt.Errorf("set PR_SET_KEEPCAPS: %w", errno)
		}
	}
	// Groups first, the user last: each change may take the right to the one before.
	groups, err := ids.setGroups(now)
	if err != nil {
		return nil, err
	}
	gid, uid := uintptr(ids.GID), uintptr(ids.UID)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return nil, fmt.Errorf("setresgid to %d: %w", gid, errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return nil, fmt.Errorf("setresuid to %d: %w", uid, errno)
	}
	if keep {
		if _, errno := prctl(unix.PR_SET_KEEPCAPS, 0, 0); errno != 0 {
			return nil, fmt.Errorf("clear PR_SET_KEEPCAPS: %w", errno)
		}
	}
	if signal == 0 {
		return groups, nil
	}
	if _, errno := prctl(unix.PR_SET_PDEATHSIG, uintptr(signal), 0); errno != 0 {
		return nil, fmt.Errorf("restore the parent-death signal: %w", errno)
	}
	if unix.Getppid() != parent { // it died while there was no signal to send
		_ = unix.Kill(unix.Getpid(), unix.Signal(signal)) // a process may always signal itself
		return nil, errors.New("the parent process has ended")
	}
	return groups, nil
}

func (ids *IDs) setGroups(now *State) ([]uint32, error) {
	if SameGroups(ids.Groups, now.Groups) {
		return now.Groups, nil
	}
	list := unsafe.Pointer(unsafe.SliceData(ids.Groups)) // setgroups(2) reads none of an empty list
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(ids.Groups)), uintptr(list), 0)
	switch {
	case errno == 0:
		return ids.Groups, nil
	case errno != unix.EPERM || !now.Effective.Has(SETGID):
		return nil, fmt.Errorf("setgroups to %s: %w", GroupsText(ids.Groups), errno)
	}
	// With CAP_SETGID it is the namespace that denies.
	if missing, left := ids.groupsLeft(now.Groups); len(missing) > 0 {
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
