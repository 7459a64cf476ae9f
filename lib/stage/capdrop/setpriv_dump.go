package capdrop

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/caps"
	"staves/lib/limits"
	"staves/lib/lsm"
)

// dump prints the privileges of this process in setpriv's lines, more of them with a
// higher level.
func dump(out io.Writer, level int) error {
	now, err := caps.Read()
	if err != nil {
		return err
	}
	signal, err := limits.Deathsig()
	if err != nil {
		return err
	}
	var b strings.Builder
	line := func(name, value string) {
		if value == "" {
			value = "[none]"
		}
		fmt.Fprintf(&b, "%s: %s\n", name, value)
	}
	number := func(name string, n uint32) { line(name, strconv.FormatUint(uint64(n), 10)) }
	number("uid", now.UID[0])
	number("euid", now.UID[1])
	if level >= 3 {
		number("suid", now.UID[2])
	}
	number("gid", now.GID[0])
	number("egid", now.GID[1])
	if level >= 3 {
		number("sgid", now.GID[2])
	}
	groups := ""
	if len(now.Groups) > 0 {
		groups = caps.GroupsText(now.Groups)
	}
	line("Supplementary groups", groups)
	nnp := uint32(0)
	if now.NoNewPrivs {
		nnp = 1
	}
	number("no_new_privs", nnp)
	if level >= 2 {
		line("Effective capabilities", bareNames(now.Effective))
		line("Permitted capabilities", bareNames(now.Permitted))
	}
	line("Inheritable capabilities", bareNames(now.Inheritable))
	line("Ambient capabilities", bareNames(now.Ambient))
	line("Capability bounding set", bareNames(now.Bounding))
	bits := ""
	if set := now.Securebits &^ caps.KeepCaps; set != 0 {
		bits = set.String()
	}
	line("Securebits", bits)
	line("Parent death signal", signalName(signal))
	for _, m := range []struct{ module, name string }{{lsm.SELinux, "SELinux label"}, {lsm.AppArmor, "AppArmor profile"}} {
		if lsm.Enabled(m.module) {
			label, err := lsm.Current()
			if err != nil {
				return err
			}
			line(m.name, label)
		}
	}
	_, err = io.WriteString(out, b.String())
	return err
}

func bareNames(set caps.Set) string {
	var names []string
	for n := range 64 {
		if set.Has(n) {
			names = append(names, bareName(n))
		}
	}
	return strings.Join(names, ",")
}

// signalName is a signal's name without SIG, "" for none.
func signalName(signal unix.Signal) string {
	if signal == 0 {
		return ""
	}
	if name := unix.SignalName(signal); name != "" {
		return strings.TrimPrefix(name, "SIG")
	}
	return strconv.Itoa(int(signal))
}
