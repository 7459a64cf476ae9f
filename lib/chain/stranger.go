package chain

import (
	"fmt"
	"math/bits"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/probe"
)

// stranger says why a process's plan is not carried out, "" if it is. The rule: nobody
// can have this process do what he could not do himself. So the other one must have the
// same ids, every capability that this one has, the same namespaces that give paths and
// ids their meaning, the same root, and no confinement that this one is free of.
func stranger(pid int) string {
	dir := fmt.Sprintf("/proc/%d/", pid)
	own, err := probe.ReadProc("/proc/self/status")
	if err != nil {
		return "this process's own ids cannot be read: " + err.Error()
	}
	other, err := probe.ReadProc(dir + "status")
	if err != nil {
		return "who it is cannot be told: " + err.Error()
	}
	a, b := fields(own), fields(other)
	for _, name := range []string{"Uid", "Gid", "Groups"} {
		if a[name] != b[name] {
			return "it has other user or group ids"
		}
	}
	for _, name := range []string{"CapPrm", "CapBnd"} {
		mine, err1 := strconv.ParseUint(a[name], 16, 64)
		its, err2 := strconv.ParseUint(b[name], 16, 64)
		if err1 != nil || err2 != nil || bits.OnesCount64(mine&^its) != 0 {
			return "it lacks capabilities that this process has"
		}
	}
	for _, name := range []string{"NoNewPrivs", "Seccomp", "Seccomp_filters"} {
		if a[name] != b[name] {
			return "it is confined in another way (" + name + ")"
		}
	}
	for _, name := range []string{"ns/user", "ns/mnt", "ns/pid", "ns/net"} {
		mine, err1 := os.Readlink("/proc/self/" + name)
		its, err2 := os.Readlink(dir + name)
		if err1 != nil || err2 != nil || mine != its {
			return "it is in another namespace (" + name + ")"
		}
	}
	var mine, its unix.Stat_t
	if unix.Stat("/", &mine) != nil || unix.Stat(dir+"root", &its) != nil || mine.Dev != its.Dev || mine.Ino != its.Ino {
		return "it has another root"
	}
	// AppArmor's profile or SELinux's context; without either there is no such file, or no
	// answer.
	label, err1 := probe.ReadProc("/proc/self/attr/current")
	its2, err2 := probe.ReadProc(dir + "attr/current")
	if label != its2 || (err1 == nil) != (err2 == nil) {
		return "it has another security label"
	}
	return ""
}

// fields are the lines of a status file.
func fields(status string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		all[name] = strings.TrimSpace(value)
	}
	return all
}
