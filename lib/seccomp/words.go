package seccomp

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// The words that profiles have for actions, comparisons and flags, and those that a dump
// has.

// ops are the names of comparisons, by [Op].
var ops = [...]string{
	NotEqual:     "SCMP_CMP_NE",
	Less:         "SCMP_CMP_LT",
	LessEqual:    "SCMP_CMP_LE",
	Equal:        "SCMP_CMP_EQ",
	GreaterEqual: "SCMP_CMP_GE",
	Greater:      "SCMP_CMP_GT",
	MaskedEqual:  "SCMP_CMP_MASKED_EQ",
}

var opSigns = [...]string{NotEqual: "!=", Less: "<", LessEqual: "<=", Equal: "==", GreaterEqual: ">=", Greater: ">"}

// String writes a as a condition of C: "arg0 & 0x7e020000 == 0".
func (a Arg) String() string {
	if a.Op == MaskedEqual {
		return fmt.Sprintf("arg%d & %#x == %#x", a.Index, a.Value, a.ValueTwo)
	}
	return fmt.Sprintf("arg%d %s %d", a.Index, opSigns[a.Op], a.Value)
}

// maxErrno is the largest errno that the kernel takes for one (linux/err.h).
const maxErrno = 4095

// parseAction reads an action with the number, or the name, of its errno.
func parseAction(name string, number *uint64, errno string) (Action, error) {
	n := uint64(unix.EPERM)
	if number != nil {
		n = *number
	}
	if errno != "" { // Podman's
		e := unix.Errno(1)
		for e <= maxErrno && unix.ErrnoName(e) != errno {
			e++
		}
		if e > maxErrno {
			return 0, fmt.Errorf("%q is no errno", errno)
		}
		n = uint64(e)
	}
	switch name {
	case "SCMP_ACT_ERRNO":
		if n > maxErrno {
			return 0, fmt.Errorf("errnoRet %d: the largest errno is %d", n, maxErrno)
		}
		return Errno(unix.Errno(n)), nil
	case "SCMP_ACT_TRACE":
		if n > unix.SECCOMP_RET_DATA {
			return 0, fmt.Errorf("errnoRet %d: a tracer's message has 16 bits", n)
		}
		return Trace(uint16(n)), nil
	}
	a, ok := KillThread, true
	switch name {
	case "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD":
	case "SCMP_ACT_KILL_PROCESS":
		a = KillProcess
	case "SCMP_ACT_TRAP":
		a = Trap
	case "SCMP_ACT_LOG":
		a = Log
	case "SCMP_ACT_ALLOW":
		a = Allow
	case "SCMP_ACT_NOTIFY":
		return 0, fmt.Errorf("%s: that needs an agent which decides on each call, and there is none here", name)
	default:
		ok = false
	}
	switch {
	case !ok:
		return 0, fmt.Errorf("%q is no action", name)
	case number != nil || errno != "":
		return 0, fmt.Errorf("%s takes no errno", name)
	}
	return a, nil
}

// String is the action in the words of a dump: "allow", "EPERM", "kill the thread".
func (a Action) String() string {
	data := a & unix.SECCOMP_RET_DATA
	switch a & unix.SECCOMP_RET_ACTION_FULL {
	case KillThread:
		return "kill the thread"
	case KillProcess:
		return "kill the process"
	case Trap:
		return "signal SIGSYS"
	case Log:
		return "log and allow"
	case Allow:
		return "allow"
	case unix.SECCOMP_RET_TRACE:
		return "tell the tracer " + strconv.Itoa(int(data))
	case unix.SECCOMP_RET_ERRNO:
		if name := unix.ErrnoName(unix.Errno(data)); name != "" {
			return name
		}
		return "errno " + strconv.Itoa(int(data))
	}
	return fmt.Sprintf("return %#x", uint32(a))
}

// parseFlags reads the flags of seccomp(2) that a profile may ask for.
func parseFlags(names []string) (bits uint, err error) {
	for _, name := range names {
		switch name {
		case "SECCOMP_FILTER_FLAG_TSYNC": // one thread is all that is left after execve
		case "SECCOMP_FILTER_FLAG_LOG":
			bits |= unix.SECCOMP_FILTER_FLAG_LOG
		case "SECCOMP_FILTER_FLAG_SPEC_ALLOW":
			bits |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		default:
			return 0, fmt.Errorf("flag %q: none that can be set here", name)
		}
	}
	return bits, nil
}
