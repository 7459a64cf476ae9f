package capdrop

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/entry"
	"staves/lib/lsm"
)

// confinement are the options about security modules.
type confinement struct{ apparmor, selinux string }

func (m *confinement) options(fs *pflag.FlagSet) {
	fs.StringVar(&m.apparmor, "apparmor", "", "run NEXT under the AppArmor `PROFILE`")
	fs.StringVar(&m.selinux, "selinux", "", "run NEXT in the SELinux `CONTEXT`")
}

func (m *confinement) check(_ *chain.Chain, link *chain.Link) error {
	for _, o := range []struct{ flag, value, module, name string }{
		{"apparmor", m.apparmor, lsm.AppArmor, "AppArmor"},
		{"selinux", m.selinux, lsm.SELinux, "SELinux"},
	} {
		switch {
		case !link.Flags.Changed(o.flag):
		case o.value == "" || strings.ContainsAny(o.value, "\n\x00"):
			return fmt.Errorf("--%s: %q is no name", o.flag, o.value)
		case !lsm.Enabled(o.module):
			return diag.WithHint(errors.New("--"+o.flag+": "+o.name+" is not in force on this machine"),
				"what is: cat /sys/kernel/security/lsm")
		}
	}
	return nil
}

// steps come first: what is written holds from the execve on, and writing it is what a
// confined process may not be allowed to any more.
func (m *confinement) steps(p *plan) []chain.Step {
	var steps []chain.Step
	add := func(name, value string, write func(b *entry.Builder, value string)) {
		steps = append(steps, p.step("write "+value+" to /proc/thread-self/attr/exec", "the program is under "+name+" from its execve on", "proc_pid_attr(5)",
			func(b *entry.Builder) error {
				write(b, value)
				return nil
			}))
	}
	if m.apparmor != "" {
		add("an AppArmor profile", m.apparmor, lsm.ExecAppArmor)
	}
	if m.selinux != "" {
		add("an SELinux context", m.selinux, lsm.ExecSELinux)
	}
	return steps
}
