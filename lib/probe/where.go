// Package probe tells what this kernel is and where in it this process stands: the facts
// that a chain needs before it begins (namespaces(7), capabilities(7), proc(5)).
//
// When not to use this package: to learn whether a step will succeed. Take the step; its
// errno is the answer, and lib/diag explains it.
package probe

import (
	"strings"

	"golang.org/x/sys/unix"
)

// InitialUserNamespace tells whether the calling process is in the user namespace that
// the machine started with: whether ids mean there what they mean on disk. Without
// /proc it says no, which costs only the detour that a user namespace needs.
func InitialUserNamespace() bool {
	fd, err := unix.Open("/proc/self/uid_map", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var buf [128]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return false
	}
	f := strings.Fields(string(buf[:n]))
	return len(f) == 3 && f[0] == "0" && f[1] == "0" && f[2] == "4294967295"
}

// Capable tells whether the calling thread has the capability in its user namespace; no,
// where the kernel does not say.
func Capable(capability int) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	return data[capability/32].Effective&(1<<(capability%32)) != 0
}

// KernelAtLeast tells whether the running kernel is Linux major.minor or newer, by
// uname(2): for what cannot be tried out.
func KernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return false // cannot be: EFAULT is its only error
	}
	return release(unix.ByteSliceToString(u.Release[:]), major, minor)
}

// release reads a kernel's release, "6.1.0-56-cloud-amd64".
func release(text string, major, minor int) bool {
	var have [2]int
	for i := range have {
		digits := 0
		for digits < len(text) && text[digits] >= '0' && text[digits] <= '9' {
			have[i] = have[i]*10 + int(text[digits]-'0')
			digits++
		}
		text = strings.TrimPrefix(text[digits:], ".")
	}
	return have[0] > major || have[0] == major && have[1] >= minor
}

// InitialCgroupNamespace tells whether the caller is in the cgroup namespace that the
// machine started with, whose inode number is fixed (PROC_CGROUP_INIT_INO of the kernel).
// Where /proc does not tell, it says yes: the answer that gives least away.
func InitialCgroupNamespace() bool {
	const initial = 0xeffffffb
	var st unix.Stat_t
	return unix.Stat("/proc/self/ns/cgroup", &st) != nil || st.Ino == initial
}

// InitialPidNamespace tells whether the caller is in the pid namespace that the machine
// started with, whose inode number is fixed (PROC_PID_INIT_INO of the kernel). Without
// /proc it says yes, the answer that gives least away.
func InitialPidNamespace() bool {
	const initial = 0xeffffffc
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		// Where the /proc in view belongs to an outer pid namespace, self dangles: then
		// this process is in an inner one.
		return unix.Stat("/proc/version", &st) != nil
	}
	return st.Ino == initial
}
