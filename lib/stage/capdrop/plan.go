package capdrop

import (
	"staves/lib/caps"
	"staves/lib/chain"
	"staves/lib/entry"
)

// A plan is the way from the state that the steps begin from to the one that is wanted.
//
// What is held now decides what can be kept. Mostly it is known before the chain begins;
// where it is not, a step of Go looks it up when its time comes.
type plan struct {
	stage *stage
	chain *chain.Chain
	link  *chain.Link

	now  caps.State
	want *caps.State // nil until look
}

// look fills in now and want.
func (p *plan) look() (err error) {
	if p.want != nil {
		return nil
	}
	if p.now, err = caps.Read(); err != nil {
		return err
	}
	if p.foreseen() && p.chain.Made(chain.UserNS, p.link) && !p.chain.Past(chain.UserNS, p.link) {
		p.now = p.now.Foresee()
	}
	p.want, err = p.stage.target(p.chain, p.link, &p.now, p.stage.user.ids)
	return err
}

// foreseen tells whether the state that the steps begin from is known before the chain
// begins. It is not after another change of privileges, nor where a name must be looked
// up in a root to come, nor where ids change in a user namespace.
func (p *plan) foreseen() bool {
	c, link := p.chain, p.link
	switch {
	case c.Has(dropped, link):
		return false
	case p.stage.user.changes(link):
		return !c.Has(chain.Pivoted, link) && !c.InUserNS(link)
	case c.Made(chain.UserNS, link):
		return c.Has(chain.MappedRoot, link)
	}
	return true
}

// leavesBounding tells whether it is known before that the bounding set stays as it is.
func (p *plan) leavesBounding() bool {
	now, err := caps.Read()
	if err != nil || p.chain.Made(chain.UserNS, p.link) {
		return false
	}
	want := now
	want.NoNewPrivs = now.NoNewPrivs || p.stage.noPriv.on()
	return p.stage.leavesBounding(p.link, &now, &want)
}

// wield has the steps from here on use all that is permitted, which may be more than what
// is effective.
func (p *plan) wield(b *entry.Builder) {
	if p.now.Effective != p.now.Permitted {
		caps.SetThread(b, p.now.Permitted, p.now.Permitted, p.now.Inheritable)
		p.now.Effective = p.now.Permitted
	}
}

// step is a step of system calls; when write is called, now and want are known.
func (p *plan) step(call, why, man string, write func(b *entry.Builder) error) chain.Step {
	return chain.Step{Call: call, Why: why, Man: man, Write: func(b *entry.Builder) error {
		if err := p.look(); err != nil {
			return err
		}
		return write(b)
	}}
}
