package limits

import (
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// Nice values and what the out-of-memory killer adds to a process's badness.
const (
	MinNice, MaxNice = -20, 19
	MinOOM, MaxOOM   = -1000, 1000
)

// SetNice sets the nice value, -20 to 19, and reads it back. A lower one than now takes
// CAP_SYS_NICE, or room under RLIMIT_NICE (setpriority(2)).
func SetNice(b *entry.Builder, n int) {
	b.Do(fmt.Sprintf("set the nice value to %d", n), unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, n)
	// The system call returns 20 minus the value, which is never an error's number.
	b.Want(fmt.Sprintf("read back: the nice value is not %d", n), uintptr(20-n), unix.SYS_GETPRIORITY, unix.PRIO_PROCESS, 0)
}

// NiceRaises tells whether nice value n needs CAP_SYS_NICE in this process.
func NiceRaises(n int) (bool, error) {
	now, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return false, fmt.Errorf("read the nice value: %w", err)
	}
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NICE, &l); err != nil {
		return false, fmt.Errorf("read the limit nice: %w", err)
	}
	return n < 20-now && uint64(20-n) > l.Cur, nil
}

const oomFile = "/proc/self/oom_score_adj"

// SetOOMScoreAdj has the out-of-memory killer think n thousandths of the memory worse of
// the process, and reads that back. Less than it has been set to by root takes
// CAP_SYS_RESOURCE (proc(5)).
func SetOOMScoreAdj(b *entry.Builder, n int) { setOOMScoreAdj(b, oomFile, n) }

func setOOMScoreAdj(b *entry.Builder, file string, n int) {
	text := strconv.Itoa(n)
	b.WriteFile(file, text)
	b.WantFile("read back: "+file+" is not "+text, file, text+"\n")
}

// ParseUmask reads an octal mask of file mode bits.
func ParseUmask(text string) (int, error) {
	n, err := strconv.ParseUint(text, 8, 16)
	if err != nil || n > 0o777 || strings.HasPrefix(text, "+") {
		return 0, fmt.Errorf("%q is no mask of mode bits: write 022 or the like", text)
	}
	return int(n), nil
}

// SetUmask sets the mode bits that new files do not get (umask(2)), and reads them back.
func SetUmask(b *entry.Builder, mask int) {
	b.Do("set the file mode mask", unix.SYS_UMASK, mask)
	b.Want(fmt.Sprintf("read back: the file mode mask is not %03o", mask), uintptr(mask), unix.SYS_UMASK, mask)
}

// SetDeathsig has the kernel send signal to the process when its parent, the thread that
// it was forked by, ends; 0 is none. A later change of ids clears it, and so does an
// execve that gains privileges, or enters an AppArmor profile or an SELinux context
// (PR_SET_PDEATHSIG of prctl(2)).
func SetDeathsig(b *entry.Builder, signal unix.Signal) {
	b.Do("set the parent-death signal", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, int(signal), 0, 0, 0)
	is := &entry.Buffer{Size: 8}
	what := fmt.Sprintf("read back: the parent-death signal is not %d", signal)
	b.Do(what, unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, is, 0, 0, 0)
	b.Check(what, entry.Field{Buffer: is}, uintptr(signal), 0xffffffff, unix.EPERM)
}

// AnyPtracer lets every process of the same user trace.
const AnyPtracer = ^uintptr(0)

// SetPtracer lets the process pid, with its children, trace this one where the Yama module
// restricts that to descendants; 0 lets nobody (PR_SET_PTRACER of prctl(2)). The kernel
// has nothing to read it back by.
func SetPtracer(b *entry.Builder, pid uintptr) {
	b.Do("allow a tracer", unix.SYS_PRCTL, unix.PR_SET_PTRACER, pid, 0, 0, 0)
}

// Deathsig is the parent-death signal of this thread, 0 for none.
func Deathsig() (unix.Signal, error) {
	var signal int32
	if err := unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&signal)), 0, 0, 0); err != nil {
		return 0, fmt.Errorf("read the parent-death signal: %w", err)
	}
	return unix.Signal(signal), nil
}
