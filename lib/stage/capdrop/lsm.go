package capdrop

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

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

// check finds what the kernel would refuse, or, without a policy, take to no effect.
func (m *confinement) check(_ *chain.Chain, link *chain.Link) error {
	signal, err := link.Flags.GetString("pdeathsig")
	if err != nil {
		return err
	}
	for _, o := range []struct{ flag, value, module, name, changed string }{
		{"apparmor", m.apparmor, lsm.AppArmor, "AppArmor", "profile"},
		{"selinux", m.selinux, lsm.SELinux, "SELinux", "context"},
	} {
		switch {
		case !link.Flags.Changed(o.flag):
		case signal != keepSignal && signal != clearSignal:
			return fmt.Errorf("--pdeathsig %s with --%s: the kernel clears the signal at an execve that changes the %s", signal, o.flag, o.changed)
		case o.value == "" || strings.ContainsAny(o.value, "\n\x00"):
			return fmt.Errorf("--%s: %q is no name", o.flag, o.value)
		case !lsm.Enabled(o.module):
			return diag.WithHint(errors.New("--"+o.flag+": "+o.name+" is not in force on this machine"),
				"what is: cat /sys/kernel/security/lsm")
		}
	}
	if m.selinux == "" {
		return nil
	}
	if err := lsm.CheckSELinux(m.selinux); err != nil {
		return fmt.Errorf("--selinux: %w", err)
	}
	return nil
}

// steps come first: what is written holds from the execve on, and writing it is what a
// confined process may not be allowed to any more.
func (m *confinement) steps(p *plan) []chain.Step {
	var steps []chain.Step
	add := func(name, value string, refusals []chain.Refusal, write func(b *entry.Builder, value string)) {
		step := p.step("write "+value+" to /proc/thread-self/attr/exec, and read it back", "the program is under "+name+" from its execve on", "proc_pid_attr(5)",
			func(b *entry.Builder) error {
				write(b, value)
				return nil
			})
		step.Refusals = refusals
		steps = append(steps, step)
	}
	if m.apparmor != "" {
		add("an AppArmor profile", m.apparmor, nil, lsm.ExecAppArmor)
	}
	if m.selinux != "" {
		add("an SELinux context", m.selinux, refusedBySELinux, lsm.ExecSELinux)
	}
	return steps
}

// refusedBySELinux are what an execve into another context fails with.
var refusedBySELinux = []chain.Refusal{
	{Errno: unix.EPERM, Hint: "or SELinux's policy does not allow the change of context under no_new_privs (process2 nnp_transition): add --allow-new-privs"},
	{Errno: unix.EACCES, Hint: "or SELinux's policy does not allow the change of context (process transition, file entrypoint): ausearch -m avc"},
}
