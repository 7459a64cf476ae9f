// Package caps lowers what a process may do: capability sets, user and group ids, and
// no_new_privs, for the calling thread, each step by one system call and read back
// ([Read]). capabilities(7), credentials(7), prctl(2).
//
// A thread has five sets. Permitted and effective are what it has now; inheritable
// and ambient are what an execve(2) can carry over; the bounding set is what an
// execve can still give. They must be lowered in an order: the bounding set needs
// CAP_SETPCAP, a change of user clears permitted and ambient, ambient capabilities
// must be permitted and inheritable. In order: [DropBounding], [IDs.Enter],
// [SetThread], [SetAmbient], [NoNewPrivs], and [Read] to see that it is so.
//
// What has another order ([With], [SetUID], ...) and what is read and printed
// ([ParseText], [ParseIAB], [ReadFile], [Of]) follows libcap, whose programs capdrop
// stands in for.
//
// All calls are raw ones and act on the calling thread alone, which must be locked
// (runtime.LockOSThread) and go on to execve: then the other threads are gone.
//
// When not to use this package: to lower the privileges of a Go program that goes on
// living. Its other threads would keep theirs: use kernel.org/pub/linux/libs/security/libcap/cap.
package caps

import (
	"strconv"
	"strings"

	"staves/lib/entry"
)

// A Set is a set of capabilities, bit n for capability n, as in /proc/PID/status.
type Set uint64

// Capabilities that this package itself, or who uses it, needs (capabilities(7)).
const (
	SETGID     = 6
	SETUID     = 7
	SETPCAP    = 8
	SYS_CHROOT = 18
	SYS_ADMIN  = 21
	SETFCAP    = 31
)

// All is every capability there can ever be.
const All = ^Set(0)

// names are the kernel's, without CAP_, by number (linux/capability.h).
var names = [...]string{
	"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid",
	"setpcap", "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
	"sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
	"sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
	"mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
	"checkpoint_restore",
}

func init() { entry.BitName = Name }

// Name returns capability n's name, cap_chown for 0; cap_N for one without a name.
func Name(n int) string {
	if n >= 0 && n < len(names) {
		return "cap_" + names[n]
	}
	return "cap_" + strconv.Itoa(n)
}

// Has tells whether capability n is in s.
func (s Set) Has(n int) bool { return s>>n&1 != 0 }

// String writes s as names with commas between, "none" for the empty set.
func (s Set) String() string {
	if s == 0 {
		return "none"
	}
	var b strings.Builder
	for n := range 64 {
		if s.Has(n) {
			if b.Len() > 0 {
				b.WriteByte(',')
			}
			b.WriteString(Name(n))
		}
	}
	return b.String()
}
