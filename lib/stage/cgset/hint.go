package cgset

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/cgroup"
	"staves/lib/diag"
)

// explain adds to an error what there is to do about it, where that depends on more
// than its errno.
func explain(err error) error {
	var delegation *cgroup.DelegationError
	var controller *cgroup.ControllerError
	var busy *cgroup.BusyError
	var file *cgroup.FileError
	var state *cgroup.StateError
	var use *cgroup.BelowUseError
	switch {
	case errors.As(err, &state):
		return diag.WithHint(err, stateHint(state))
	case errors.As(err, &use):
		return diag.WithHint(err, fmt.Sprintf("the kernel would refuse it, or kill what runs there; this lets it decide: echo %d >%s/%s", use.Limit, use.Dir, use.File))
	case errors.As(err, &delegation):
		return diag.WithHint(err, delegationHints(delegation)...)
	case errors.As(err, &controller):
		return diag.WithHint(err, controllerHints(controller)...)
	case errors.As(err, &busy) && busy.Made:
		return diag.WithHint(err, "it is an earlier cgset's, and a group either has processes or passes controllers on (cgroups(7)): give that one all limits",
			"with --parent / the group is at the top, beyond the limits of the first")
	case errors.As(err, &busy):
		return diag.WithHint(err, "a group either has processes or passes controllers on (cgroups(7)): start in a scope of your own",
			scope())
	case errors.As(err, &file) && valueHint(file) != "":
		return diag.WithHint(err, valueHint(file))
	case errors.As(err, &file) && errors.Is(err, unix.ENOENT):
		dir := file.Dir
		if _, err := os.Stat(dir); err != nil { // it was a fresh one
			dir = dir[:strings.LastIndexByte(dir, '/')]
		}
		return diag.WithHint(err, "the group has no such file; those it has are named as in: ls "+dir)
	}
	return err
}

// valueHint is why the kernel refuses a value that is well-formed, "" if that is not known.
func valueHint(e *cgroup.FileError) string {
	switch refused := errors.Is(e.Err, unix.EINVAL) || errors.Is(e.Err, unix.ERANGE); {
	case strings.HasPrefix(e.File, "io.max") || strings.HasPrefix(e.File, "blkio.throttle."):
		if errors.Is(e.Err, unix.ENODEV) {
			return "a limit is for a whole disk that is there: lsblk -d -o NAME,MAJ:MIN lists them"
		}
	case !refused:
	case strings.HasSuffix(e.File, "bfq.weight"):
		return "the weights of the disk scheduler BFQ go from 1 to 1000"
	case e.File == "cpuset.mems":
		text, _ := os.ReadFile("/sys/devices/system/node/online")
		return "the memory nodes of this machine are " + strings.TrimSpace(string(text)) + "; the group gets none that the group it lies in has not"
	case e.File == "cpu.cfs_burst_us" || e.File == "cpu.max.burst":
		return "a burst is at most the quota: --cpus, or a smaller --cpu-burst"
	case e.File == "cpu.max":
		return "it is a quota of at least 1000 microseconds, or max, and a period of 1000 to 1000000"
	case e.File == "cpu.cfs_quota_us":
		if n, err := strconv.ParseInt(e.Value, 10, 64); err != nil || n != -1 && n < 1000 {
			return "a quota is at least 1000 microseconds; -1 lifts it"
		}
		return "a group's share is at most that of the group that it lies in, and a quota at least the group's burst, cpu.cfs_burst_us"
	case e.File == "cpu.cfs_period_us":
		if n, err := strconv.ParseInt(e.Value, 10, 64); err != nil || n < 1000 || n > 1000000 {
			return "a period has 1000 to 1000000 microseconds"
		}
		return "a group's share, quota by period, is at most that of the group that it lies in"
	}
	return ""
}

func delegationHints(e *cgroup.DelegationError) []string {
	uid := unix.Geteuid()
	group := fmt.Sprintf("%s/user%d", e.Dir, uid)
	switch {
	case errors.Is(e.Err, unix.EROFS):
		return []string{"cgroups are read-only here, as in most containers: mount -o remount,rw,bind " + e.Dir}
	case uid == 0:
		return []string{"this root has no right to the tree, as in a user namespace: put cgset before nsrun in the chain"}
	case e.V2:
		return []string{"an ordinary user has a part of the tree only where root or systemd gave one:", scope()}
	}
	return []string{
		"this user has no part of the tree; root can make one, and put this shell into it:",
		fmt.Sprintf("mkdir -p %[1]s; chown -R %[2]d %[1]s; echo %[3]d >%[1]s/cgroup.procs", group, uid, os.Getppid()),
	}
}

func stateHint(e *cgroup.StateError) string {
	switch {
	case errors.Is(e.Err, unix.EBUSY):
		return "let it go on: cgset --thaw " + e.Group
	case errors.Is(e.Err, unix.EAGAIN):
		return "who enters it could not fork: raise the limit, or end something: cgset --show " + e.Group
	}
	return "see its cgroup.type, and cgroups(7); name a group that is not in a threaded one"
}

// scope is the command that has systemd make a group that is the caller's own, and run
// these very words in it.
func scope() string {
	user := "--user "
	if unix.Geteuid() == 0 {
		user = ""
	}
	words := make([]string, len(os.Args))
	for i, w := range os.Args {
		words[i] = quoted(w)
	}
	return "systemd-run " + user + "--scope -q -p Delegate=yes -- " + strings.Join(words, " ")
}

// quoted is a word as a shell reads it.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-+=./,:@%", r)
	}
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

func controllerHints(e *cgroup.ControllerError) []string {
	name := e.Controller
	switch {
	case e.Above != "":
		return []string{
			fmt.Sprintf("root can pass it on: echo +%s >%s/cgroup.subtree_control", name, e.Above),
			"for users of systemd: systemctl edit user@.service, then [Service] Delegate=cpu cpuset io memory pids",
		}
	case e.Dir == "" && known(name):
		return []string{fmt.Sprintf("mount it: mkdir -p /sys/fs/cgroup/%[1]s; mount -t cgroup -o %[1]s %[1]s /sys/fs/cgroup/%[1]s", name)}
	case name == "memory":
		return []string{"it may be switched off on the kernel's command line (cgroup_disable=memory): cat /proc/cmdline"}
	}
	return []string{"there are: " + strings.Join(e.Have, ", ")}
}

// known tells whether the running kernel has the controller.
func known(controller string) bool {
	text, err := os.ReadFile("/proc/cgroups")
	return err == nil && strings.Contains("\n"+string(text), "\n"+controller+"\t")
}
