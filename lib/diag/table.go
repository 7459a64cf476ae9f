package diag

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A row gives the hints for one step that failed with one errno. The step is what the
// error's text begins with, without the tool's name.
type row struct {
	step  string
	errno unix.Errno
	hints func() []string
}

var table = []row{
	{"unshare(CLONE_NEWUSER", unix.EPERM, userNamespaceRefused},
	{"clone(CLONE_NEWUSER", unix.EPERM, userNamespaceRefused},
	{"unshare(CLONE_NEWUSER", unix.EACCES, mapRefused},
	{"clone(CLONE_NEWUSER", unix.EACCES, mapRefused},
	{"unshare(", unix.EPERM, needsRoot},
	{"clone(", unix.EPERM, needsRoot},
	{"unshare(", unix.ENOSPC, limitReached},
	{"clone(", unix.ENOSPC, limitReached},
	{"clone(", unix.EINVAL, pidNamespaceApart},
	{"clone(", unix.ENOMEM, says("the first process of this pid namespace has ended, so nothing can be forked in it any more (pid_namespaces(7))")},
	{"write /proc/self/uid_map", unix.EPERM, mapRefused},
	{"write /proc/self/uid_map", unix.EACCES, mapRefused},
	{"write /proc/self/gid_map", unix.EPERM, mapRefused},
	{"write /proc/self/setgroups", unix.EPERM, says("setgroups(2) is denied for good in the user namespace around this one, or the groups have been mapped already (user_namespaces(7))")},
	{"write /proc/self/timens_offsets", unix.ERANGE, says("the clock would begin below 0, or end beyond what it can count: a clock that shows N seconds can be set back by less than N (cat /proc/uptime)")},
	{"write /proc/self/timens_offsets", unix.EPERM, says("to shift a clock takes CAP_SYS_TIME in the user namespace that owns the time namespace (time_namespaces(7)): add -U -r")},
	{"run newuidmap", unix.EPERM, subIDsRefused},
	{"run newgidmap", unix.EPERM, subIDsRefused},
	{"bind the ", unix.EINVAL, bindRefused},
	{"bind the ", unix.EPERM, says("to keep a namespace takes a mount, and so CAP_SYS_ADMIN where the file is: as root, or in a user and mount namespace (nsrun -U -r -m -- nsrun --net=FILE)")},
	{"setns(", unix.EPERM, joinRefused},
	{"write /proc/self/setgroups", unix.EACCES, mapRefused}, // opening it needs CAP_SYS_ADMIN
	{"mount proc", unix.EPERM, procRefused},
	{"mount binfmt_misc", unix.EPERM, says("a user namespace has a binfmt_misc of its own since Linux 6.7; before, only root mounts it")},
	{"mount binfmt_misc", unix.ENODEV, kernelLacks("binfmt_misc", "BINFMT_MISC")},
	{"setgroups to", unix.EINVAL, idNotMapped},
	{"setresgid to", unix.EINVAL, idNotMapped},
	{"setresgid to", unix.EPERM, says(becomesRoot)},
	{"setresuid to", unix.EINVAL, idNotMapped},
	{"setresuid to", unix.EPERM, says(becomesRoot)},
	{"drop all groups", unix.EPERM, dropRefused},
	{"chroot to", unix.EPERM, says("to change the root takes CAP_SYS_CHROOT: be root, here or in a user namespace (nsrun -U -r)")},
	{"setuid to", unix.EINVAL, idNotMapped},
	{"setgid to", unix.EINVAL, idNotMapped},
	{"allow a tracer", unix.EINVAL, says("who may trace whom is for the security module Yama to say, which this kernel does not have in force")},
	{"leave groups", unix.EPERM, groupsStay},
	{"take groups", unix.EPERM, groupsStay},
	{"raise cap_", unix.EPERM, ambientRefused},
	{"enter the AppArmor profile", unix.ENOENT, says("no such profile is loaded: apparmor_parser --replace FILE loads those of a file, aa-status lists what is")},
	{"enter the AppArmor profile", unix.EACCES, says("this process is confined by a profile that does not allow the change (change_profile, apparmor.d(5))")},
	{"enter group", unix.EBUSY, func() []string {
		return []string{"the groups in it have controllers passed on to them; such a group holds no processes (cgroups(7)): name a new one within it"}
	}},
	{"enter group", unix.EOPNOTSUPP, func() []string {
		return []string{"the group is threaded, or lies in a threaded one: see its cgroup.type, and cgroups(7)"}
	}},
	{"make group", unix.EAGAIN, func() []string {
		return []string{"cgroup.max.depth or cgroup.max.descendants of a group above is reached"}
	}},
	{"set cpuset.cpus", unix.ERANGE, cpusThere},
	{"set cpuset.cpus", unix.EACCES, cpusThere},
	{"set cpuset.cpus", unix.EINVAL, cpusThere},
	{"set memory.limit_in_bytes", unix.EBUSY, func() []string {
		return []string{"the group uses more than that already: see its memory.usage_in_bytes"}
	}},
	{"lock ", unix.EAGAIN, func() []string {
		return []string{"the process that holds the lock lives: its pid is in the file"}
	}},
	{"make bridge", unix.EOPNOTSUPP, kernelLacks("bridge", "BRIDGE")},
	{"make a link to bridge", unix.EBADF, says("the limit on open files is too low (ulimit -n): to wire a user namespace descriptor 250 is used")},
	{"make a link to bridge", unix.EEXIST, says("the address is taken ('netbr --list'), or the new namespace has a link of that name")},
	{"take the name", unix.EEXIST, says("another container has it: 'netbr --list --hosts'")},
	{"make link", unix.EOPNOTSUPP, kernelLacks("veth", "VETH")},
	{"set up nftables", unix.EPROTONOSUPPORT, kernelLacks("nf_tables", "NF_TABLES")},
	{"set up nftables", unix.EOPNOTSUPP, kernelLacks("nf_tables", "NF_TABLES_INET")},
	{"set up nftables", unix.ENOENT, kernelLacks("nft_masq nft_ct nft_chain_nat", "NFT_MASQ")},
	{"write /proc/sys/net/ipv4/ip_forward", unix.EROFS, forwardReadOnly},
	{"write /proc/sys/net/ipv4/ip_forward", unix.EACCES, forwardReadOnly},
	{"change mounts", unix.EPERM, needsRoot},
	{"configure overlay", unix.EINVAL, says("the parameters and their values: Documentation/filesystems/overlayfs.rst, for the kernel that uname -r names")},
	{"make the state ", unix.EACCES, says("a state is a directory of your own, and so is what holds it: name another one")},
	{"mount overlay", unix.ENODEV, says("this kernel has no overlayfs (grep overlay /proc/filesystems): as root, modprobe overlay")},
	{"mount overlay", unix.ELOOP, says("one of the directories is given twice, or lies in another one")},
	{"mount overlay", unix.EINVAL, overlayRefused},
	{"mount overlay", unix.EBUSY, says("another overlay has this upper directory, and two would spoil it: end that container, or umount it")},
	{"mount overlay", unix.ESTALE, says("the upper directory was used over other layers before: give the same --lower, or take the risk with --opt index=off")},
	{"verify the owner of", unix.EPERM, says("somebody else made that directory meanwhile: name one where nobody else may write")},
	{"mount sysfs", unix.EPERM, says("a user namespace may mount sysfs only with a network namespace of its own (nsrun -n); without --sys a copy of this /sys serves")},
	{"map the ids of ", unix.EINVAL, says("its file system cannot show other owners: ext4, xfs and btrfs can, tmpfs from Linux 6.3 on, overlay and proc never")},
	{"map the ids of ", unix.EPERM, says("only root of the machine may, for file systems that were mounted in its user namespace")},
	{"mount mqueue", unix.EPERM, says("a user namespace may mount message queues only with an ipc namespace of its own: nsrun -i")},
	{"mount tmpfs", unix.EPERM, says("this mount namespace belongs to another user namespace: make one of your own, nsrun -m -- ...")},
	{"mknod ", unix.EPERM, says("making a device needs CAP_MKNOD of the machine's root, and a device cgroup that allows it; --nodes=bind takes the host's nodes instead")},
	{"bind /dev/", unix.ENOENT, says("where no device can be made the present root's are bound, and it has none there: put mkdev before the change of root")},
	{"find a terminal for /dev/console", unix.ENOTTY, says("none of the standard descriptors is a terminal; a container gets one of its own with: nsrun --pty")},
	{"bind the terminal on /dev/console", unix.ENOENT, says("the terminal's node is not in this root: put mkdev before pivot")},
	{"bind the terminal on /dev/console", unix.ENXIO, says("what lies at the terminal's path here is another one: put mkdev before pivot")},
	{"open the new /dev/null", unix.EPERM, says("a device cgroup forbids this process even the null device")},
	{"open the new /dev/null", unix.EACCES, says("the kernel takes this mount for nodev, as every one that a user namespace made: --nodes=bind takes the host's nodes instead")},
	{"open /dev/null", unix.ENOENT, says("what masks files of /proc is the null device of the present /dev: put mkdev before this pivot, or leave /proc out with --proc=none")},
	{"verify the device /dev/null", unix.ENODEV, says("the present /dev/null is some other file: put mkdev before this pivot, or leave /proc out with --proc=none")},
	{"open /", unix.ELOOP, says("in that root this is a symbolic link, which could lead anywhere: make it a directory")},
	{"open /", unix.ENOTDIR, says("a directory is to be mounted there, and in that root this is a file, or lies beneath one")},
	{"bind alone ", unix.EINVAL, says("in a user namespace no mount can be shown without those beneath it, which are locked (mount_namespaces(7)): leave norec out")},
	{"bind ", unix.EINVAL, says("a file is bound on a file, a directory on a directory: see which it is in that root")},
	{"make /", unix.EACCES, mountPoint},
	{"make /", unix.EROFS, mountPoint},
	{"make /", unix.EOVERFLOW, says("by the map of --idmap this user has no number on that disk, to own a new directory there: make it before")},
	{"make / private", unix.EINVAL, pivotRefused},
	{"pivot_root", unix.EINVAL, pivotRefused},
	{"join a new session keyring", unix.EDQUOT, says("this user has as many keys as may be: sysctl kernel.keys.maxkeys (see /proc/key-users)")},
	{"unmount the old root completely", unix.EBUSY, says("something is mounted on the new root itself: does the DST of a --bind lead to /?")},
	{"take descriptor", unix.EISDIR, says(standardDirectory)},
	{"take descriptor", unix.EACCES, says(standardDirectory)},
	{"open this mount namespace", unix.ENOENT, says("there is no /proc here: mount -t proc proc /proc")},
	{"seccomp(", unix.EINVAL, says("this kernel was built without filters of system calls (CONFIG_SECCOMP_FILTER), or takes no such flag")},
	{"landlock: open ", unix.ENOENT, says("it is looked up in the root that the program will run in")},
	{"landlock_add_rule for ", unix.EINVAL, says("a file cannot be given the rights of directories (read-dir, make-, remove-, refer): name others, or ro or rw")},
	{"landlock_restrict_self", unix.E2BIG, says("Landlock takes at most 16 rulesets, one upon another: this process has them")},
	{"write /proc/self/", unix.ENOENT, says("there is no /proc here: mount -t proc proc /proc")},
	{"clone(", unix.EAGAIN, processesReached},
	{"fork from init", unix.EAGAIN, processesReached},
	{"", unix.EMFILE, says("the limit on open files is too low (ulimit -n): beside what is open already a chain needs up to 20")},
}

var processesReached = says("a limit on processes is reached: the control group's (pids.max) or the user's (ulimit -u)")

const becomesRoot = "to become another group or user takes CAP_SETGID and CAP_SETUID: be root, here or in a user namespace (nsrun -U -r)"

const standardDirectory = "what that directory holds would stay in reach: redirect the descriptor, as in </dev/null"

// lookUp finds the first row for err.
func lookUp(err error) []string {
	text := err.Error()
	for _, r := range table {
		if strings.HasPrefix(text, r.step) && errors.Is(err, r.errno) {
			return r.hints()
		}
	}
	return nil
}

func needsRoot() []string {
	if unix.Geteuid() == 0 {
		return []string{"this needs CAP_SYS_ADMIN, which this root does not have (grep CapEff /proc/self/status)"}
	}
	return []string{"this needs root; as an ordinary user add a user namespace: nsrun -U -r ..."}
}

// says makes the hints of a row that needs no look at the machine.
func says(hint string) func() []string {
	return func() []string { return []string{hint} }
}

func overlayRefused() []string {
	if _, outer, ok := strings.Cut(readFile("/proc/self/uid_map"), " 4294967295"); !ok || outer != "" {
		return []string{
			"in a user namespace no layer may have other mounts beneath it (findmnt shows them)",
			"else: --upper and --work must lie on one mount, writable and no overlay itself",
		}
	}
	return []string{
		"--upper and --work must lie on one mount, writable and no overlay itself; layers may be overlays only once over",
		"the kernel's own reason: dmesg | grep overlayfs | tail -1",
	}
}

func mountPoint() []string {
	return []string{"something is to be mounted there, and the root has no such directory: make it before"}
}

func pivotRefused() []string {
	if inChroot() {
		return []string{"the present root is a chroot, not a mount: enter it with 'pivot ROOT' instead of chroot"}
	}
	return []string{"the present root may be an initramfs, which pivot_root(2) cannot put away: add --move"}
}

func idNotMapped() []string {
	return []string{"this user namespace has no such id: see /proc/self/uid_map and /proc/self/gid_map (nsrun -r maps root alone)"}
}

func groupsStay() []string {
	return []string{"root can change the groups before the namespace is made: capdrop --preset all --user 0 -- nsrun -U ..."}
}

func ambientRefused() []string {
	return []string{"the securebit no_cap_ambient_raise forbids it (setpriv --dump shows it): only a new user namespace has it clear"}
}

// kernelLacks names the modules, and the option that a kernel without them was built
// without.
func kernelLacks(modules, config string) func() []string {
	return func() []string {
		return []string{"the kernel has no support for it: modprobe -a " + modules + ", or a kernel with CONFIG_" + config}
	}
}

func forwardReadOnly() []string {
	return []string{
		"/proc/sys cannot be written here, as in a container: set it outside (sysctl net.ipv4.ip_forward=1)",
		"or do without a way out: --no-nat",
	}
}

// readFile returns a small file's text without white space at its ends, "" on error:
// a hint that cannot be had is left out.
func readFile(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func cpusThere() []string {
	return []string{"the CPUs of this machine are " + readFile("/sys/devices/system/cpu/online") + "; the group gets none that the group it lies in has not"}
}
