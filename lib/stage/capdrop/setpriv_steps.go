package capdrop

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/caps"
	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/entry"
	"staves/lib/limits"
	"staves/lib/lsm"
)

// Check finds what cannot be, before anything is changed.
func (s *setpriv) Check(c *chain.Chain, link *chain.Link) error {
	for _, o := range []struct{ option, module string }{{"apparmor-profile", lsm.AppArmor}, {"selinux-label", lsm.SELinux}} {
		if _, ok := s.opts[o.option]; ok && !lsm.Enabled(o.module) {
			return fmt.Errorf("--%s: %s is not in force on this machine", o.option, o.module)
		}
	}
	if label := s.opts["selinux-label"]; label != "" {
		if err := lsm.CheckSELinux(label); err != nil {
			return fmt.Errorf("--selinux-label: %w", err)
		}
	}
	if err := s.lock.check(c, link); err != nil {
		return err
	}
	return s.filter.check(c, link)
}

// noNewPrivs tells whether no_new_privs is to be set; what confines the program wants it.
func (s *setpriv) noNewPrivs() bool {
	_, on := s.opts["no-new-privs"]
	return on || s.filter.on() || s.lock.on()
}

// target is what the options make of the state now.
//
// What stays permitted over an execve under no_new_privs could be had from a file with
// capabilities. Somebody who is not root is to have no more than is inherited, so nothing
// else stays permitted then.
func (s *setpriv) target(now *caps.State) caps.State {
	want := *now
	for i := range 3 {
		if s.uid[i] != nil {
			want.UID[i] = *s.uid[i]
		}
		if s.gid[i] != nil {
			want.GID[i] = *s.gid[i]
		}
	}
	if s.uid[0] != nil { // the saved id is made the effective one, whichever was named
		want.UID[2] = want.UID[1]
	}
	if s.gid[0] != nil {
		want.GID[2] = want.GID[1]
	}
	if s.groups != nil {
		want.Groups = s.groups
	}
	want.Securebits = now.Securebits&^s.off | s.on
	want.Bounding = s.bnd.of(now.Bounding) & now.Bounding
	want.Inheritable = s.inh.of(now.Inheritable)
	ambient := now.Ambient & want.Inheritable
	if loses(now, &want) {
		ambient = 0
	}
	want.Ambient = s.amb.of(ambient)
	want.NoNewPrivs = now.NoNewPrivs || s.noNewPrivs()
	root := (want.UID[0] == 0 || want.UID[1] == 0) && want.Securebits&caps.NoRoot == 0
	if want.NoNewPrivs && !root {
		want.Permitted &= want.Inheritable
	}
	want.Effective = want.Permitted
	return want
}

// Steps: the ids while there is the right to change them, then the sets, then what must
// not be needed any more.
func (s *setpriv) Steps(c *chain.Chain, link *chain.Link) []chain.Step {
	var now, want caps.State
	do := func(call, man string, write func(b *entry.Builder) error) chain.Step {
		return chain.Step{Call: call, Why: "setpriv's options say what is different for the program", Man: man, Write: write}
	}
	steps := []chain.Step{
		{
			Call: "capget(), getresuid(), getgroups()", Why: "the options are changes of what there is", Man: "credentials(7)",
			Do: func(r *chain.Run) (err error) {
				if now, err = caps.Read(); err != nil {
					return err
				}
				want = s.target(&now)
				if s.account != nil {
					r.State.Env = resetEnv(s.account)
				}
				return nil
			},
		},
		do("write to /proc/thread-self/attr/exec", "proc_pid_attr(5)", func(b *entry.Builder) error {
			if profile := s.opts["apparmor-profile"]; profile != "" {
				lsm.ExecAppArmor(b, profile)
			}
			if label := s.opts["selinux-label"]; label != "" {
				lsm.ExecSELinux(b, label)
			}
			return nil
		}),
		do("setresuid(), setresgid(), setgroups()", "credentials(7)", func(b *entry.Builder) error {
			change := func() { s.changeIDs(b, &now, &want) }
			if s.opts["pdeathsig"] == keepSignal {
				caps.KeepDeathSignal(b, change)
			} else {
				change()
			}
			return nil
		}),
		do("prctl(PR_CAPBSET_DROP), capset()", "capabilities(7)", func(b *entry.Builder) error {
			caps.DropBounding(b, now.Bounding&^want.Bounding)
			if want.Inheritable != now.Inheritable {
				caps.SetThread(b, now.Permitted, now.Permitted, want.Inheritable)
			}
			return nil
		}),
		{
			Call: "prctl(PR_CAP_AMBIENT)", Why: "what is ambient stays with programs that know nothing of capabilities", Man: "capabilities(7)",
			Do: func(*chain.Run) error { return s.changeAmbient(&now, &want) },
		},
		do("prctl(PR_SET_SECUREBITS), capset(), prctl(PR_SET_NO_NEW_PRIVS)", "prctl(2)", func(b *entry.Builder) error {
			if want.Securebits != now.Securebits {
				caps.SetSecurebits(b, want.Securebits)
			}
			caps.SetThread(b, want.Permitted, want.Effective, want.Inheritable)
			if s.signal != nil {
				limits.SetDeathsig(b, *s.signal)
			}
			if s.ptracer != nil {
				limits.SetPtracer(b, *s.ptracer)
			}
			if s.noNewPrivs() {
				caps.NoNewPrivs(b)
			}
			return nil
		}),
		{
			Call: "capget(), getresuid(), getgroups()", Why: "what was not changed after all must not go unnoticed", Man: "credentials(7)",
			Do: func(*chain.Run) error {
				is, err := caps.Read()
				if diff := is.Differs(&want); err == nil && diff != "" {
					err = errors.New("read back: " + diff)
				}
				return err
			},
		},
	}
	if s.lock.on() {
		steps = append(steps, s.lock.step(nil, true))
	}
	if !s.filter.on() {
		return steps
	}
	filter := do("seccomp(SECCOMP_SET_MODE_FILTER)", "seccomp(2)", func(b *entry.Builder) error {
		compiled, err := s.filter.compile(want.Bounding)
		if err == nil {
			compiled.Load(b)
		}
		return err
	})
	filter.Final = true
	return append(steps, filter)
}

// changeIDs changes the user first, as setpriv does; what is permitted is kept.
func (s *setpriv) changeIDs(b *entry.Builder, now, want *caps.State) {
	if now.Effective != now.Permitted {
		caps.SetThread(b, now.Permitted, now.Permitted, now.Inheritable)
	}
	if s.uid[0] != nil || s.uid[1] != nil {
		keep := loses(now, want)
		if keep {
			caps.SetKeepCaps(b, 1)
		}
		caps.SetUIDs(b, want.UID)
		if keep {
			caps.SetKeepCaps(b, 0)
		}
		caps.SetThread(b, now.Permitted, now.Permitted, now.Inheritable)
	}
	if s.gid[0] != nil || s.gid[1] != nil {
		caps.SetGIDs(b, want.GID)
	}
	if s.groups != nil {
		caps.SetGroups(b, s.groups)
	}
}

// changeAmbient sets the ambient set, and says why it cannot. util-linux's setpriv says
// nothing, and runs the program without.
func (s *setpriv) changeAmbient(now, want *caps.State) error {
	if want.Ambient == 0 && now.Ambient == 0 {
		return nil
	}
	if missing := want.Ambient &^ now.Permitted; missing != 0 {
		return diag.WithHint(fmt.Errorf("--ambient-caps: make %s ambient: it is not permitted: %w", missing, unix.EPERM),
			"capabilities cannot be gained, only given up: grep CapPrm /proc/self/status")
	}
	if missing := want.Ambient &^ want.Inheritable; missing != 0 {
		var names []string
		for n := range 64 {
			if missing.Has(n) {
				names = append(names, "+"+bareName(n))
			}
		}
		return diag.WithHint(fmt.Errorf("--ambient-caps: make %s ambient: it is not inheritable: %w", missing, unix.EPERM),
			"add --inh-caps="+strings.Join(names, ","))
	}
	return call(func(b *entry.Builder) { caps.SetAmbient(b, want.Ambient) })
}

// resetEnv is the environment of somebody who has just logged in.
func resetEnv(account *caps.Account) []string {
	var env []string
	for _, e := range entry.Environ() {
		if strings.HasPrefix(e, "TERM=") {
			env = append(env, e)
		}
	}
	path := "/usr/local/bin:/bin:/usr/bin"
	if account.UID == 0 {
		path = "/usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin"
	}
	shell := account.Shell
	if shell == "" {
		shell = lastShell
	}
	return append(env, "SHELL="+shell, "HOME="+account.Home, "USER="+account.Name, "LOGNAME="+account.Name, "PATH="+path)
}
