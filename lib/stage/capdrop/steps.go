package capdrop

import (
	"errors"
	"fmt"
	"strings"

	"staves/lib/caps"
	"staves/lib/chain"
	"staves/lib/entry"
)

// Steps: the order is the kernel's. The bounding set goes first, while CAP_SETPCAP is
// there; the user before the capabilities, since a change of user clears what was
// ambient; permitted before the execve, or no_new_privs would let a file with
// capabilities have what is still permitted.
//
// What is held now decides what can be kept. Mostly it is known before the chain begins;
// where it is not, a step of Go looks it up when its time comes.
func (s *stage) Steps(c *chain.Chain, link *chain.Link) []chain.Step {
	var now caps.State
	var want *caps.State
	var steps []chain.Step
	look := func() (err error) {
		if want != nil {
			return nil
		}
		if now, err = s.now(c, link); err != nil {
			return err
		}
		want, err = s.decide(link, &now, s.ids)
		return err
	}
	do := func(call, why, man string, write func(b *entry.Builder)) {
		step := chain.Raw(call, why, man, write)
		step.Write = func(b *entry.Builder) error {
			err := look()
			if err == nil {
				write(b)
			}
			return err
		}
		steps = append(steps, step)
	}

	if !s.foreseen(c, link) {
		steps = append(steps, chain.Step{
			Call: "capget(), prctl(PR_CAPBSET_READ)", Man: "capabilities(7)",
			Why: "what is not held cannot be kept: better to fail before anything is dropped",
			Do: func(*chain.Run) error {
				if err := s.lookUp(link); err != nil {
					return err
				}
				return look()
			},
		})
	}
	do("prctl(PR_CAPBSET_DROP) all but "+s.describe(link), "no program executed from here on can get the others back, not even as root", "prctl(2)", func(b *entry.Builder) {
		if now.Effective != now.Permitted { // the steps from here on need what is permitted
			caps.SetThread(b, now.Permitted, now.Permitted, now.Inheritable)
		}
		caps.DropBounding(b, now.Bounding&^want.Bounding)
	})
	if link.Flags.Changed("user") {
		do("setgroups(), setresgid(), setresuid() to "+s.user, "groups first, the user last, as each takes away the right to the one before", "credentials(7)", func(b *entry.Builder) {
			ids := *s.ids
			ids.Groups = want.Groups
			ids.Enter(b, &now, want.Ambient != 0)
		})
	}
	do("capset()", "permitted, effective and inheritable become exactly what is kept", "capset(2)", func(b *entry.Builder) {
		caps.SetThread(b, want.Permitted, want.Effective, want.Inheritable)
	})
	do("prctl(PR_CAP_AMBIENT)", "of what is permitted, an ordinary user's next program keeps the ambient part", "capabilities(7)", func(b *entry.Builder) {
		caps.SetAmbient(b, want.Ambient)
	})
	if s.noNewPrivs && !s.allowNewPrivs {
		do("prctl(PR_SET_NO_NEW_PRIVS, 1)", "setuid bits and file capabilities do nothing from now on", "prctl(2)", caps.NoNewPrivs)
	}
	const call, why, man = "capget(), prctl(PR_CAPBSET_READ), getresuid(), getgroups()", "what was not dropped after all must not go unnoticed", "capabilities(7)"
	if s.foreseen(c, link) {
		do(call, why, man, func(b *entry.Builder) {
			caps.Verify(b, want)
			if s.ids != nil {
				caps.VerifyIDs(b, want)
			}
		})
		return steps
	}
	return append(steps, chain.Step{Call: call, Why: why, Man: man, Do: func(*chain.Run) error {
		is, err := caps.Read()
		if err != nil {
			return err
		}
		if diff := is.Differs(want); diff != "" {
			return errors.New("read back: " + diff)
		}
		return nil
	}})
}

// foreseen tells whether the state that the steps begin from is known before the chain
// begins. It is not after another change of privileges, nor where a name must be looked
// up in a root to come, nor where ids change in a user namespace.
func (s *stage) foreseen(c *chain.Chain, link *chain.Link) bool {
	switch {
	case c.Has(dropped, link):
		return false
	case link.Flags.Changed("user"):
		return !c.Has(chain.Pivoted, link) && !c.InUserNS(link)
	case c.Made(chain.UserNS, link):
		return c.Has(chain.MappedRoot, link)
	}
	return true
}

// now is the state that the steps begin from.
func (s *stage) now(c *chain.Chain, link *chain.Link) (caps.State, error) {
	now, err := caps.Read()
	if err == nil && s.foreseen(c, link) && c.Made(chain.UserNS, link) && !c.Past(chain.UserNS, link) {
		now = now.Foresee()
	}
	return now, err
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
