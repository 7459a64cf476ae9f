package capdrop

import (
	"errors"

	"staves/lib/caps"
	"staves/lib/chain"
	"staves/lib/entry"
)

// Steps: the order is the kernel's. The bounding set goes first, while CAP_SETPCAP is
// there; the user before the capabilities, since a change of user clears what was
// ambient; permitted before the execve, or no_new_privs would let a file with
// capabilities have what is still permitted. What forbids system calls comes last, so
// that it need not allow those that are made here.
func (s *stage) Steps(c *chain.Chain, link *chain.Link) []chain.Step {
	p := &plan{stage: s, chain: c, link: link}
	var steps []chain.Step
	if !p.foreseen() {
		steps = append(steps, s.lookStep(p))
	}
	steps = append(steps, s.boundingStep(p))
	early := !s.noPriv.on() && !s.keepsAdmin(link) // a filter needs one of the two
	if s.filter.on() && early {
		steps = append(steps, s.filter.step(p, false))
	}
	if link.Flags.Changed("user") {
		steps = append(steps, s.userStep(p))
	}
	steps = append(steps, s.setsStep(p), s.ambientStep(p))
	if s.noPriv.on() {
		steps = append(steps, s.noPriv.step(p))
	}
	steps = append(steps, s.verifyStep(p))
	if s.filter.on() && !early {
		steps = append(steps, s.filter.step(p, true))
	}
	return steps
}

// keepsAdmin tells whether CAP_SYS_ADMIN will be effective when all else is dropped.
func (s *stage) keepsAdmin(link *chain.Link) bool {
	return s.sets.asked(link).Has(caps.SYS_ADMIN) && (!link.Flags.Changed("user") || s.sets.keep.Named.Has(caps.SYS_ADMIN))
}

func (s *stage) lookStep(p *plan) chain.Step {
	return chain.Step{
		Call: "capget(), prctl(PR_CAPBSET_READ)", Man: "capabilities(7)",
		Why: "what is not held cannot be kept: better to fail before anything is dropped",
		Do: func(*chain.Run) error {
			if err := s.user.lookUp(p.link); err != nil {
				return err
			}
			return p.look()
		},
	}
}

func (s *stage) boundingStep(p *plan) chain.Step {
	return p.step("prctl(PR_CAPBSET_DROP) all but "+s.sets.describe(p.link),
		"no program executed from here on can get the others back, not even as root", "prctl(2)",
		func(b *entry.Builder) error {
			if p.now.Effective != p.now.Permitted { // the steps from here on need what is permitted
				caps.SetThread(b, p.now.Permitted, p.now.Permitted, p.now.Inheritable)
			}
			caps.DropBounding(b, p.now.Bounding&^p.want.Bounding)
			return nil
		})
}

func (s *stage) userStep(p *plan) chain.Step {
	return p.step("setgroups(), setresgid(), setresuid() to "+s.user.text,
		"groups first, the user last, as each takes away the right to the one before", "credentials(7)",
		func(b *entry.Builder) error {
			ids := *s.user.ids
			ids.Groups = p.want.Groups
			ids.Enter(b, &p.now, p.want.Ambient != 0)
			return nil
		})
}

func (s *stage) setsStep(p *plan) chain.Step {
	return p.step("capset()", "permitted, effective and inheritable become exactly what is kept", "capset(2)",
		func(b *entry.Builder) error {
			caps.SetThread(b, p.want.Permitted, p.want.Effective, p.want.Inheritable)
			return nil
		})
}

func (s *stage) ambientStep(p *plan) chain.Step {
	return p.step("prctl(PR_CAP_AMBIENT)",
		"of what is permitted, an ordinary user's next program keeps the ambient part", "capabilities(7)",
		func(b *entry.Builder) error {
			caps.SetAmbient(b, p.want.Ambient)
			return nil
		})
}

// verifyStep reads everything back. Where nothing before it had to be done in Go, it need
// not be either.
func (s *stage) verifyStep(p *plan) chain.Step {
	const call, why, man = "capget(), prctl(PR_CAPBSET_READ), getresuid(), getgroups()", "what was not dropped after all must not go unnoticed", "capabilities(7)"
	if p.foreseen() {
		return p.step(call, why, man, func(b *entry.Builder) error {
			caps.Verify(b, p.want)
			if s.user.ids != nil {
				caps.VerifyIDs(b, p.want)
			}
			return nil
		})
	}
	return chain.Step{Call: call, Why: why, Man: man, Do: func(*chain.Run) error {
		is, err := caps.Read()
		if err != nil {
			return err
		}
		if diff := is.Differs(p.want); diff != "" {
			return errors.New("read back: " + diff)
		}
		return nil
	}}
}
