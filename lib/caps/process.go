package caps

import (
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"staves/lib/probe"
)

// Of returns the sets of the process pid, of this thread for 0 (capget(2)).
func Of(pid int) (Sets, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3, Pid: int32(pid)}
	var data [2]unix.CapUserData
	if _, _, errno := unix.RawSyscall(unix.SYS_CAPGET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&data)), 0); errno != 0 {
		return Sets{}, fmt.Errorf("read the capabilities of process %d: %w", pid, errno)
	}
	return joinSets(&data), nil
}

// IABOf returns the inheritable, ambient and blocked sets of the process pid, from its
// /proc/PID/status (proc(5)), or this thread's for 0.
func IABOf(pid int) (IAB, error) {
	if pid == 0 {
		s, err := Read()
		return s.IAB(), err
	}
	path := "/proc/" + strconv.Itoa(pid) + "/status"
	text, err := probe.ReadProc(path)
	if err != nil {
		return IAB{}, err
	}
	var iab IAB
	sets := map[string]*Set{"CapInh": &iab.Inheritable, "CapAmb": &iab.Ambient, "CapBnd": &iab.Blocked}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		if set := sets[name]; set != nil {
			n, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			if err != nil {
				return IAB{}, fmt.Errorf("read %s of %s: %w", name, path, err)
			}
			*set = Set(n)
			delete(sets, name)
		}
	}
	if len(sets) != 0 {
		return IAB{}, fmt.Errorf("read %s: it says nothing of capabilities", path)
	}
	iab.Blocked = All >> (63 - Last()) &^ iab.Blocked
	return iab, nil
}
