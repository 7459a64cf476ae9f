package capdrop

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/caps"
	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/entry"
	"staves/lib/landlock"
)

// lock are the options about Landlock.
type lock struct {
	set        landlock.Ruleset
	texts      []string
	bestEffort bool
	support    bool
	fitted     *landlock.Fitted
}

func (l *lock) options(fs *pflag.FlagSet) {
	for _, o := range []struct {
		name, help string
		read       func(text string) error
	}{
		{"landlock", "refuse all but `RULE`: fs:RIGHTS:PATH, net:RIGHTS:PORT, scope[:RIGHTS]", l.set.Restrict},
		{"landlock-access", "refuse `ACCESS`: fs, net or scope, with [:RIGHTS]", l.set.Handle},
		{"landlock-rule", "allow `RULE`: path-beneath:RIGHTS:PATH, net-port:RIGHTS:PORT", l.set.Allow},
	} {
		fs.Var(&ruleList{lock: l, read: o.read}, o.name, o.help)
	}
	fs.BoolVar(&l.bestEffort, "landlock-best-effort", false, "leave out what this kernel's Landlock cannot refuse")
	fs.BoolVar(&l.support, "landlock-support", false, "print what this kernel's Landlock can refuse, and end")
}

// ruleList is an option that adds to the ruleset each time it is given.
type ruleList struct {
	lock *lock
	read func(text string) error
}

func (r *ruleList) String() string { return "" }
func (r *ruleList) Type() string   { return "RULE" }

func (r *ruleList) Set(text string) error {
	r.lock.texts = append(r.lock.texts, text)
	return r.read(text)
}

func (l *lock) on() bool { return !l.set.Empty() }

func (l *lock) check(c *chain.Chain, link *chain.Link) error {
	switch {
	case !l.on() && len(l.texts) > 0:
		return errors.New("--landlock-rule: nothing is refused that it could allow: see --landlock-access")
	case !l.on():
		return nil
	}
	if err := l.fit(); err != nil {
		return err
	}
	if c.Links[0] != link {
		return nil // what a path means may change before it is used
	}
	for _, path := range l.fitted.Paths() {
		if err := unix.Access(path, unix.F_OK); err != nil {
			return fmt.Errorf("--landlock: %w", chain.PathError("open", path, err))
		}
	}
	return nil
}

// fit fits the ruleset to this kernel.
func (l *lock) fit() (err error) {
	abi, err := landlock.ABI()
	if err != nil && !l.bestEffort {
		return noLandlock(err)
	}
	if l.fitted, err = l.set.Fit(abi, l.bestEffort); errors.Is(err, unix.EOPNOTSUPP) {
		return diag.WithHint(fmt.Errorf("--landlock: %w", err), "with --landlock-best-effort what cannot be refused is left out")
	} else if err != nil {
		return fmt.Errorf("--landlock: %w", err)
	}
	return nil
}

func noLandlock(err error) error {
	hint := "this kernel was built without it: CONFIG_SECURITY_LANDLOCK"
	if errors.Is(err, unix.EOPNOTSUPP) {
		hint = "the kernel has it and was started without: add landlock to lsm= on its command line"
	}
	return diag.WithHint(fmt.Errorf("--landlock: ask for its version: %w", err), hint)
}

// allowed finds out whether the ruleset can be put in force, in the state that the steps
// begin from (landlock_restrict_self(2): EPERM).
func (l *lock) allowed(now *caps.State, noNewPrivs bool) error {
	if !l.on() {
		return nil
	}
	return mayConfine("landlock", now, noNewPrivs)
}

// mayConfine is the error where neither no_new_privs nor CAP_SYS_ADMIN gives the right to
// confine what is executed.
func mayConfine(option string, now *caps.State, noNewPrivs bool) error {
	if noNewPrivs || now.NoNewPrivs || now.Permitted.Has(caps.SYS_ADMIN) {
		return nil
	}
	return diag.WithHint(fmt.Errorf("--%s with --allow-new-privs: %s: %w", option, caps.Name(caps.SYS_ADMIN), unix.EPERM),
		"only who has that capability may confine programs that gain privileges (seccomp(2), landlock(7))")
}

func (l *lock) step(p *plan, final bool) chain.Step {
	s := chain.Step{
		Call: "landlock_restrict_self() with " + strings.Join(l.texts, " "),
		Why:  "from here on the kernel refuses access that the rules do not allow", Man: "landlock(7)",
		Final: final,
		Refusals: []chain.Refusal{{
			Errno: unix.EACCES,
			Hint:  "or Landlock's rules must allow more: to execute it and to read it, its ELF loader and its libraries (fs:ro:/usr)",
		}},
	}
	s.Write = func(b *entry.Builder) error {
		if l.fitted == nil { // a later life
			if err := l.fit(); err != nil {
				return err
			}
		}
		l.fitted.Restrict(b)
		return nil
	}
	return s
}

// printSupport prints what this kernel's Landlock knows, as setpriv does.
func (l *lock) printSupport(words []string) error {
	if len(words) > 0 {
		return fmt.Errorf("--landlock-support runs no program: %s", words[0])
	}
	abi, err := landlock.ABI()
	if err != nil {
		return noLandlock(err)
	}
	_, err = io.WriteString(os.Stdout, supportText(abi, landlock.Errata()))
	return err
}

func supportText(abi int, errata []int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "ABI version: %d\nABI errata:", abi)
	for _, n := range errata {
		fmt.Fprintf(&b, " %d", n)
	}
	b.WriteString("\naccess:")
	kinds := landlock.Kinds(abi)
	for _, k := range kinds {
		fmt.Fprintf(&b, " %s", k)
	}
	b.WriteByte('\n')
	for _, k := range kinds {
		what := "rights"
		if k == landlock.Scope {
			what = "restrictions"
		}
		fmt.Fprintf(&b, "%s %s: %s\n", k, what, strings.Join(landlock.Known(k, abi), " "))
		if rules := [...]string{"path-beneath", "net-port", ""}[k]; rules != "" {
			fmt.Fprintf(&b, "%s rules: %s\n", k, rules)
		}
	}
	return b.String()
}
