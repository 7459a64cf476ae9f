package capdrop

import (
	"errors"

	"staves/lib/caps"
	"staves/lib/chain"
	"staves/lib/entry"
)

// Steps: the order is the kernel's. What raises a limit comes first, while there is every
// capability. The bounding set goes while CAP_SETPCAP is there; the user before the
// capabilities, since a change of user clears what was ambient; permitted before the
// execve, or no_new_privs would let a file with capabilities have what is still permitted.
// What forbids system calls comes last, so that it need not allow those that are made
// here.
func (s *stage) Steps(c *chain.Chain, link *chain.Link) []chain.Step {
	p := &plan{stage: s, chain: c, link: link}
	var steps []chain.Step
	if !p.foreseen() {
		steps = append(steps, s.lookStep(p))
	}
	steps = append(steps, s.confinement.steps(p)...)
	steps = append(steps, s.attributes.steps(p)...)
	steps = append(steps, s.boundingStep(p))
	early := !s.noPriv.on() && !s.keepsAdmin(link) // what confines needs one of the two
	if early {
		steps = append(steps, s.confiningSteps(p, false)...)
	}
	if s.user.changes(link) {
		steps = append(steps, s.userStep(p))
	}
	if s.bits.given(link) {
		steps = append(steps, s.bitsStep(p), s.setsStep(p))
	} else {
		steps = append(steps, s.setsStep(p), s.ambientStep(p))
	}
	steps = append(steps, s.attributes.deathStep(p)...)
	if s.noPriv.on() {
		steps = append(steps, s.noPriv.step(p))
	}
	steps = append(steps, s.verifyStep(p))
	if !early {
		steps = append(steps, s.confiningSteps(p, true)...)
	}
	return steps
}

// confiningSteps put Landlock and then the filter, which need not allow Landlock's calls,
// in force.
func (s *stage) confiningSteps(p *plan, final bool) []chain.Step {
	var steps []chain.Step
	if s.lock.on() {
		steps = append(steps, s.lock.step(p, final))
	}
	if s.filter.on() {
		steps = append(steps, s.filter.step(p, final))
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
	left := s.sets.describe(p.link)
	if s.bits.mode == caps.NoPriv {
		left = "none"
	}
	call, why := "prctl(PR_CAPBSET_DROP) all but "+left, "no program executed from here on can get the others back, not even as root"
	if p.chain.Told() && p.leavesBounding() {
		call, why = "the bounding set stays: it takes cap_setpcap to lower it", "under no_new_privs no program gets anything out of it"
	}
	return p.step(call, why, "prctl(2)",
		func(b *entry.Builder) error {
			p.wield(b)
			if more := p.want.Inheritable &^ p.now.Inheritable; more != 0 { // what is bounded by then cannot be added
				caps.SetThread(b, p.now.Permitted, p.now.Effective, p.now.Inheritable|more)
			}
			caps.DropBounding(b, p.now.Bounding&^p.want.Bounding)
			return nil
		})
}

func (s *stage) userStep(p *plan) chain.Step {
	if s.user.text == "" {
		return p.step("setgroups() if need be", "the groups decide on access as the user does", "setgroups(2)",
			func(b *entry.Builder) error {
				if !caps.SameGroups(p.want.Groups, p.now.Groups) {
					caps.SetGroups(b, p.want.Groups)
				}
				return nil
			})
	}
	return p.step("setgroups() if need be, setresgid(), setresuid() to "+s.user.text,
		"groups first, the user last, as each takes away the right to the one before", "credentials(7)",
		func(b *entry.Builder) error {
			ids := *s.user.ids
			ids.Groups = p.want.Groups
			// CAP_SETPCAP is wanted once more where securebits are to be set.
			keep := p.want.Permitted != 0 || s.bits.given(p.link)
			ids.Enter(b, &p.now, keep && loses(&p.now, p.want))
			return nil
		})
}

// bitsStep sets the securebits between the ambient set, which one of them locks, and the
// loss of CAP_SETPCAP.
func (s *stage) bitsStep(p *plan) chain.Step {
	return p.step("prctl(PR_CAP_AMBIENT), prctl(PR_SET_SECUREBITS)",
		"what user 0 is worth, and what changes of user do to capabilities, is up to the securebits", "capabilities(7)",
		func(b *entry.Builder) error {
			need := p.want.Permitted
			if p.now.Permitted.Has(caps.SETPCAP) {
				need |= 1 << caps.SETPCAP
			}
			caps.SetThread(b, need, need, p.want.Inheritable)
			caps.SetAmbient(b, p.want.Ambient)
			if p.want.Securebits != p.now.Securebits {
				caps.SetSecurebits(b, p.want.Securebits)
			}
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
			if s.user.changes(p.link) {
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
