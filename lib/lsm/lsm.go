// Package lsm says under which confinement of a Linux security module the next program
// runs: an AppArmor profile or an SELinux context, in force from its execve on.
// proc_pid_attr(5), apparmor(7), setexeccon(3).
//
// When not to use this package: to confine the process that runs now, which both modules
// allow in special cases only.
package lsm

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
	"staves/lib/probe"
)

// Names of modules, as the kernel has them.
const (
	AppArmor = "apparmor"
	SELinux  = "selinux"
)

// active is the list of the modules that are in force (Linux 4.12); securityfs is not
// mounted everywhere.
const active = "/sys/kernel/security/lsm"

// Enabled tells whether a module is in force.
func Enabled(name string) bool {
	if text, err := probe.ReadProc(active); err == nil {
		return slices.Contains(strings.Split(strings.TrimSpace(text), ","), name)
	}
	if name == AppArmor {
		text, err := probe.ReadProc("/sys/module/apparmor/parameters/enabled")
		return err == nil && strings.HasPrefix(text, "Y")
	}
	return unix.Access("/sys/fs/selinux/status", unix.F_OK) == nil
}

// The attributes belong to a thread.
const (
	attrExec         = "/proc/thread-self/attr/exec"
	attrAppArmorExec = "/proc/thread-self/attr/apparmor/exec" // Linux 5.8: modules can be stacked
)

// ExecAppArmor has the next execve enter an AppArmor profile, which is loaded.
func ExecAppArmor(b *entry.Builder, profile string) {
	set(b, "enter the AppArmor profile "+profile, attrAppArmorExec, "exec "+profile)
}

// ExecSELinux has the next execve enter an SELinux context.
func ExecSELinux(b *entry.Builder, label string) {
	set(b, "enter the SELinux context "+label, attrExec, label)
}

func set(b *entry.Builder, what, path, text string) {
	fd := b.Get(fmt.Sprintf("open %s", path), unix.SYS_OPENAT, unix.AT_FDCWD, path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	b.Do(what, unix.SYS_WRITE, fd, text, len(text))
	b.Close(fd)
}

// Current is the profile or context that this thread is in.
func Current() (string, error) {
	text, err := probe.ReadProc("/proc/thread-self/attr/current")
	return strings.TrimRight(text, "\n\x00"), err
}
