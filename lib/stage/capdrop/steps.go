package capdrop

import (
	"errors"
	"fmt"
	"strings"

	"staves/lib/caps"
	"staves/lib/chain"
)

// Steps: the order is the kernel's. The bounding set goes first, while CAP_SETPCAP is
// there; the user before the capabilities, since a change of user clears what was
// ambient; permitted before the execve, or no_new_privs would let a file with
// capabilities have what is still permitted.
func (s *stage) Steps(_ *chain.Chain, link *chain.Link) []chain.Step {
	var now caps.State
	var want *caps.State
	do := func(f func() error) func(*chain.Run) error {
		return func(*chain.Run) error { return f() }
	}
	steps := []chain.Step{{
		Call: "capget(), prctl(PR_CAPBSET_READ)", Man: "capabilities(7)",
		Why: "what is not held cannot be kept: better to fail before anything is dropped",
		Do: do(func() (err error) {
			if err = s.lookUp(link); err != nil {
				return err
			}
			if now, err = caps.Read(); err != nil {
				return err
			}
			want, err = s.decide(link, &now, s.ids)
			return err
		}),
	}, {
		Call: "prctl(PR_CAPBSET_DROP) all but " + s.describe(link), Man: "prctl(2)",
		Why: "no program executed from here on can get the others back, not even as root",
		Do: do(func() error {
			if now.Effective != now.Permitted { // the steps from here on need what is permitted
				if err := caps.SetThread(now.Permitted, now.Permitted, now.Inheritable); err != nil {
					return err
				}
				now.Effective = now.Permitted
			}
			return caps.DropBounding(now.Bounding &^ want.Bounding)
		}),
	}}
	if link.Flags.Changed("user") {
		steps = append(steps, chain.Step{
			Call: "setgroups(), setresgid(), setresuid() to " + s.user, Man: "credentials(7)",
			Why: "groups first, the user last, as each takes away the right to the one before",
			Do: do(func() (err error) {
				want.Groups, err = s.ids.Enter(&now, want.Ambient != 0)
				return err
			}),
		})
	}
	steps = append(steps, chain.Step{
		Call: "capset()", Man: "capset(2)",
		Why: "permitted, effective and inheritable become exactly what is kept",
		Do:  do(func() error { return caps.SetThread(want.Permitted, want.Effective, want.Inheritable) }),
	}, chain.Step{
		Call: "prctl(PR_CAP_AMBIENT)", Man: "capabilities(7)",
		Why: "of what is permitted, an ordinary user's next program keeps the ambient part",
		Do:  do(func() error { return caps.SetAmbient(want.Ambient) }),
	})
	if s.noNewPrivs && !s.allowNewPrivs {
		steps = append(steps, chain.Step{
			Call: "prctl(PR_SET_NO_NEW_PRIVS, 1)", Man: "prctl(2)",
			Why: "setuid bits and file capabilities do nothing from now on",
			Do:  do(caps.NoNewPrivs),
		})
	}
	return append(steps, chain.Step{
		Call: "capget(), prctl(), getresuid(), getgroups()", Man: "capabilities(7)",
		Why: "what was not dropped after all must not go unnoticed",
		Do: do(func() error {
			is, err := caps.Read()
			if err != nil {
				return err
			}
			if diff := is.Differs(want); diff != "" {
				return errors.New("read back: " + diff)
			}
			return nil
		}),
	})
}

// describe is the set that was asked for, in the words of the options.
func (s *stage) describe(link *chain.Link) string {
	base := s.preset
	switch {
	case s.drop.All:
		base = "none"
	case s.keep.All:
		base = "all"
	case link.Flags.Changed("keep") && !link.Flags.Changed("preset"):
		base = "none"
	}
	var w []string
	if base != "none" || s.keep.Named == 0 {
		w = append(w, base)
	}
	if s.drop.Named != 0 && base != "none" {
		w = append(w, fmt.Sprintf("without %s", s.drop.Named))
	}
	if s.keep.Named != 0 {
		w = append(w, s.keep.Named.String())
	}
	return strings.Join(w, " ")
}
