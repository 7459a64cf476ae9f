package caps

import (
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A State is what the calling thread may do.
type State struct {
	Permitted, Effective, Inheritable, Bounding, Ambient Set

	NoNewPrivs bool
	Securebits Securebits
	// Last is the kernel's last capability.
	Last int

	UID, GID [3]uint32 // real, effective, saved
	Groups   []uint32
}

// Read returns the calling thread's state. It asks the kernel by calls alone: /proc
// may not be there.
func Read() (State, error) {
	var s State
	sets, err := Of(0)
	if err != nil {
		return s, err
	}
	s.Permitted, s.Effective, s.Inheritable = sets.Permitted, sets.Effective, sets.Inheritable
	s.Last = -1
	for n := range 64 {
		in, err := getPrctl(unix.PR_CAPBSET_READ, uintptr(n), 0)
		if err != 0 { // EINVAL: capability n does not exist
			break
		}
		s.Bounding |= Set(in) << n
		s.Last = n
	}
	for n := range s.Last + 1 {
		if !(s.Permitted & s.Inheritable).Has(n) { // the kernel has no other ambient ones
			continue
		}
		in, err := getPrctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, uintptr(n))
		if err != 0 {
			return s, fmt.Errorf("read the ambient set: %w", err)
		}
		s.Ambient |= Set(in) << n
	}
	nnp, errno := getPrctl(unix.PR_GET_NO_NEW_PRIVS, 0, 0)
	if errno != 0 {
		return s, fmt.Errorf("read no_new_privs: %w", errno)
	}
	bits, errno := getPrctl(unix.PR_GET_SECUREBITS, 0, 0)
	if errno != 0 {
		return s, fmt.Errorf("read securebits: %w", errno)
	}
	s.NoNewPrivs, s.Securebits = nnp != 0, Securebits(bits)
	return s, s.readIDs()
}

func (s *State) readIDs() error {
	for nr, id := range [...]*[3]uint32{&s.UID, &s.GID} {
		call := [...]uintptr{unix.SYS_GETRESUID, unix.SYS_GETRESGID}[nr]
		if _, _, err := unix.RawSyscall(call, uintptr(unsafe.Pointer(&id[0])), uintptr(unsafe.Pointer(&id[1])), uintptr(unsafe.Pointer(&id[2]))); err != 0 {
			return fmt.Errorf("read the process's ids: %w", err)
		}
	}
	n, _, err := unix.RawSyscall(unix.SYS_GETGROUPS, 0, 0, 0)
	if err == 0 && n > 0 {
		s.Groups = make([]uint32, n)
		n, _, err = unix.RawSyscall(unix.SYS_GETGROUPS, n, uintptr(unsafe.Pointer(&s.Groups[0])), 0)
		s.Groups = s.Groups[:min(int(n), len(s.Groups))]
	}
	if err != 0 {
		return fmt.Errorf("getgroups: %w", err)
	}
	return nil
}

// Last is the kernel's last capability.
func Last() int {
	low, high := 0, 64 // the first has always been there
	for high-low > 1 {
		middle := (low + high) / 2
		if _, errno := getPrctl(unix.PR_CAPBSET_READ, uintptr(middle), 0); errno == 0 {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

// Supported is the set of the capabilities that the kernel knows.
func (s *State) Supported() Set { return All >> (63 - s.Last) }

// Held is what can be kept: permitted, and not yet out of the bounding set.
func (s *State) Held() Set { return s.Permitted & s.Bounding }

// Foresee is the state in a user namespace that is yet to be made, of which this
// process will be root: all capabilities, over what belongs to it (user_namespaces(7)).
func (s *State) Foresee() State {
	return State{
		Permitted: s.Supported(), Effective: s.Supported(), Bounding: s.Supported(),
		NoNewPrivs: s.NoNewPrivs, Last: s.Last,
	}
}

func join(low, high uint32) Set { return Set(high)<<32 | Set(low) }

// joinSets reads the sets as capget(2) gives them in version 3: two words for each.
func joinSets(data *[2]unix.CapUserData) Sets {
	return Sets{
		Permitted:   join(data[0].Permitted, data[1].Permitted),
		Effective:   join(data[0].Effective, data[1].Effective),
		Inheritable: join(data[0].Inheritable, data[1].Inheritable),
	}
}

// getPrctl makes prctl(2) now, with the unused arguments 0, as the kernel insists.
func getPrctl(option int, arg2, arg3 uintptr) (uintptr, unix.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, uintptr(option), arg2, arg3, 0, 0, 0)
	return r, errno
}

// Differs says in what s is not want, "" if in nothing.
func (s *State) Differs(want *State) string {
	var diffs []string
	for i, set := range [...]string{"permitted", "effective", "inheritable", "bounding", "ambient"} {
		is := [...]Set{s.Permitted, s.Effective, s.Inheritable, s.Bounding, s.Ambient}[i]
		should := [...]Set{want.Permitted, want.Effective, want.Inheritable, want.Bounding, want.Ambient}[i]
		if more := is &^ should; more != 0 {
			diffs = append(diffs, fmt.Sprintf("the %s set still has %s", set, more))
		}
		if less := should &^ is; less != 0 {
			diffs = append(diffs, fmt.Sprintf("the %s set lacks %s", set, less))
		}
	}
	if s.NoNewPrivs != want.NoNewPrivs {
		diffs = append(diffs, fmt.Sprintf("no_new_privs is %v", s.NoNewPrivs))
	}
	if s.Securebits != want.Securebits {
		diffs = append(diffs, fmt.Sprintf("the securebits are %s, not %s", s.Securebits, want.Securebits))
	}
	if s.UID != want.UID {
		diffs = append(diffs, fmt.Sprintf("the user ids are %d, not %d", s.UID, want.UID))
	}
	if s.GID != want.GID {
		diffs = append(diffs, fmt.Sprintf("the group ids are %d, not %d", s.GID, want.GID))
	}
	if !SameGroups(s.Groups, want.Groups) {
		diffs = append(diffs, fmt.Sprintf("the supplementary groups are %s, not %s", GroupsText(s.Groups), GroupsText(want.Groups)))
	}
	return strings.Join(diffs, "; ")
}
