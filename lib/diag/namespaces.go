package diag

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Hints for steps of namespaces(7), by looks at this machine.

// userNamespaceRefused: the causes that can be seen, in the order in which the kernel looks.
func userNamespaceRefused() []string {
	switch {
	case readFile("/proc/sys/kernel/unprivileged_userns_clone") == "0" && unix.Geteuid() != 0:
		return []string{"this kernel keeps user namespaces from ordinary users: sysctl kernel.unprivileged_userns_clone=1"}
	case inChroot():
		return []string{"the kernel makes no user namespace inside a chroot (user_namespaces(7)); use 'pivot ROOT' instead of chroot"}
	case !mapped("/proc/self/uid_map", unix.Geteuid()) || !mapped("/proc/self/gid_map", unix.Getegid()):
		return []string{"the present user or group has no id in this user namespace, so none can be made in it: map it where this one is made (nsrun -U -r)"}
	case strings.Contains(readFile("/proc/self/status"), "Seccomp:\t2"):
		return []string{"a seccomp filter is in force here, as in a container: it may forbid user namespaces"}
	}
	return []string{"the kernel refuses user namespaces here: in a chroot it always does (user_namespaces(7)), and a security module may (dmesg)"}
}

// mapped tells whether a user namespace has an id, by its map; an id without one looks
// like 65534, which could be one too.
func mapped(file string, id int) bool {
	for line := range strings.Lines(readFile(file)) {
		var inner, outer, count int
		if _, err := fmt.Sscan(line, &inner, &outer, &count); err == nil && id >= inner && id-inner < count {
			return true
		}
	}
	return false
}

// inChroot tells whether this process's root is another than its mount namespace's, as far as
// that can be seen: it is no mount, or one that some process sees elsewhere.
func inChroot() bool {
	id := ""
	for line := range strings.Lines(readFile("/proc/self/mountinfo")) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == "/" {
			id = f[0] // the last one lies on top
		}
	}
	if id == "" {
		return true
	}
	all, _ := filepath.Glob("/proc/[0-9]*/mountinfo") // its only error is of the pattern
	for _, file := range all {
		for line := range strings.Lines(readFile(file)) {
			if f := strings.Fields(line); len(f) > 4 && f[0] == id && f[4] != "/" {
				return true
			}
		}
	}
	return false
}

// pidNamespaceApart says why a process cannot make a pid namespace, or a child at all, if it is
// because its children's pid namespace is another one.
func pidNamespaceApart() []string {
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return nil
	}
	// While nothing has been forked in a new one, there is nothing to read.
	if children, err := os.Readlink("/proc/self/ns/pid_for_children"); err == nil && children == own {
		return []string{"this kernel may lack one of these namespaces: ls /proc/self/ns shows what it has"}
	}
	return []string{"the caller has left its pid namespace without a fork, as unshare -p does, and its children cannot make another one: unshare -p -f ..., or nsrun -p alone"}
}

// dropRefused says what keeps supplementary groups.
func dropRefused() []string {
	if readFile("/proc/self/setgroups") == "deny" {
		return []string{
			"this user namespace denies setgroups(2), so the supplementary groups stay (id -G): without --setgid they are no error",
			"it is not denied where a range of groups is mapped, --map-auto; or leave them before, as root: capdrop --clear-groups",
		}
	}
	return []string{"to leave supplementary groups takes CAP_SETGID: be root; in a user namespace of one's own add a range of groups (nsrun -r --map-auto)"}
}

// limitReached shows the limits, and the one that is 0 if there is such.
func limitReached() []string {
	var all []string
	for _, k := range []string{"user", "mnt", "pid", "net", "uts", "ipc", "cgroup", "time"} {
		n := readFile("/proc/sys/user/max_" + k + "_namespaces")
		if n == "0" {
			return []string{fmt.Sprintf("/proc/sys/user/max_%s_namespaces is 0: sysctl user.max_%[1]s_namespaces=10000", k)}
		}
		if n != "" {
			all = append(all, k+" "+n)
		}
	}
	return []string{
		"as many namespaces as there may be (/proc/sys/user/max_*_namespaces: " + strings.Join(all, ", ") + ")",
		"or user or pid namespaces are nested 32 deep: no more go within each other",
	}
}

func mapRefused() []string {
	switch {
	case readFile("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
		return []string{
			"AppArmor keeps ordinary users from using user namespaces on this machine",
			"allow it: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or give this program a profile with 'userns,'",
		}
	}
	// It is "NAME (enforce)", or "unconfined".
	if profile, mode, _ := strings.Cut(readFile("/proc/self/attr/apparmor/current"), " "); mode == "(enforce)" {
		return []string{
			"it is confined by the AppArmor profile " + profile + ", which may withhold capabilities in its user namespace too",
			"where it does: give it a profile that allows them, or as root aa-complain " + profile,
		}
	}
	return []string{
		"an ordinary user can map only itself, once; to map root's id its maker needs CAP_SETFCAP as well (user_namespaces(7))",
		"what this process may: grep -E 'Uid|CapPrm' /proc/self/status; what there is to map: cat /proc/self/uid_map",
	}
}

func subIDsRefused() []string {
	return []string{"an ordinary user maps the ids that its lines in /etc/subuid and /etc/subgid give it, and its own: see newuidmap(1)"}
}

func bindRefused() []string {
	return []string{
		"a mount namespace cannot be kept on a shared mount, nor within itself (findmnt -o TARGET,PROPAGATION -T FILE)",
		"keep it in a directory that is a private mount: mount --bind DIR DIR; mount --make-private DIR",
	}
}

func joinRefused() []string {
	if unix.Geteuid() == 0 {
		return []string{"the namespace belongs to a user namespace in which this process has no CAP_SYS_ADMIN: join that as well (--join PID/user,...)"}
	}
	return []string{"to join takes CAP_SYS_ADMIN in the user namespace it belongs to: be root, or join that user namespace too if it is yours (--join PID/user,...)"}
}

// procRefused says which of the two conditions for a proc in a user namespace is missing.
func procRefused() []string {
	const mask = "in a container, whose /proc is, leave it out: pivot --proc=none"
	if !ownPidNamespace() {
		return []string{"a user namespace may mount proc only for a pid namespace of its own: add one, nsrun -p"}
	}
	for line := range strings.Lines(readFile("/proc/self/mountinfo")) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], "/proc/") {
			return []string{"no proc can be mounted where the one that is there is masked: " + f[4] + " is a mount (user_namespaces(7))", mask}
		}
	}
	return []string{"a user namespace may mount proc only where there is one that is not masked (user_namespaces(7))", mask}
}

// ownPidNamespace tells whether the pid namespace belongs to the present user namespace.
func ownPidNamespace() bool {
	pid, err := os.Open("/proc/self/ns/pid")
	if err != nil {
		return false
	}
	defer pid.Close()
	owner, err := unix.IoctlRetInt(int(pid.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return false
	}
	defer unix.Close(owner)
	var st, own unix.Stat_t
	return unix.Fstat(owner, &st) == nil && unix.Stat("/proc/self/ns/user", &own) == nil && st.Ino == own.Ino && st.Dev == own.Dev
}
