package netbr

import (
	"errors"

	"golang.org/x/sys/unix"

	"staves/lib/bridge"
	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/entry"
	"staves/lib/ns"
)

// After a stage that makes a user namespace, the bridge is out of reach: so what takes
// power over the host's network is done before that stage's steps, or by a helper that is
// parked there.

// checkAbroad finds what such a helper cannot do.
func (s *stage) checkAbroad(c *chain.Chain, link *chain.Link) error {
	before := "put netbr before nsrun: netbr ... -- nsrun -U ..."
	if !c.Adjacent(chain.UserNS, link) {
		return diag.WithHint(errors.New("netbr comes right after the nsrun that makes the user namespace, or before it"), before)
	}
	r, err := s.request()
	if err != nil {
		return err
	}
	if r.LockMAC || r.RateIn != 0 || r.RateOut != 0 || len(s.publish) > 0 || len(s.listen) > 0 {
		return diag.WithHint(errors.New("--lock-mac, --rate, --publish and --listen take power over the host's network, which a user namespace made before has not"), before)
	}
	return nil
}

// Ahead are the steps that take what the user namespace has not.
func (s *stage) Ahead(c *chain.Chain, link *chain.Link) []chain.Step {
	if !c.Made(chain.UserNS, link) {
		return nil
	}
	return []chain.Step{{
		Call: "find or make bridge " + s.bridge, Why: "its subnets have the addresses, its own are the gateways", Man: "bridge(8)",
		Cases: s.told(s.ensureTold),
		Do: func(r *chain.Run) error {
			s.tell = r.Tell()
			err := s.ensure()
			if err == nil {
				err = s.plan()
			}
			if err != nil {
				return s.undo(err)
			}
			return nil
		},
	}, {
		Call: "clone(0)", Why: "a helper stays where there is power over the bridge", Man: "clone(2)", NextLife: true,
		Write: func(b *entry.Builder) error {
			s.helper = b.Park("clone(0)")
			return nil
		},
	}}
}

func (s *stage) plan() error {
	r, err := s.request()
	if err != nil {
		return err
	}
	if err := s.checkGateway(r); err != nil {
		return err
	}
	r.NoRoute = r.NoRoute || s.br.Internal
	s.abroad, err = s.host.Plan(s.br, r)
	return s.hinted(err)
}

func (s *stage) abroadSteps(c *chain.Chain, link *chain.Link) []chain.Step {
	var steps []chain.Step
	raw := func(call, why, man string, cases func() []chain.Case, write func(b *entry.Builder)) {
		step := chain.Raw(call, why, man, write)
		step.Cases, step.NextLife = cases, true
		steps = append(steps, step)
	}
	if !c.Made(chain.NetNS, link) {
		raw("unshare(CLONE_NEWNET)", "the process, and all that it starts, has a network of its own", "network_namespaces(7)", nil, func(b *entry.Builder) {
			ns.Unshare(b, unix.CLONE_NEWNET)
		})
	}
	raw("RTM_NEWLINK veth "+s.link.ifname, "the helper makes it: one end in this namespace, one at the bridge", "veth(4)", s.told(wireAbroadTold), func(b *entry.Builder) {
		s.abroad.Wire(b, s.helper)
	})
	raw("RTM_NEWADDR, RTM_NEWROUTE "+s.link.ifname, "addresses, default routes, and lo", "rtnetlink(7)", s.told(bridge.Outlook.Configure), func(b *entry.Builder) {
		s.abroad.Configure(b, s.helper)
		b.Dismiss(s.helper)
	})
	return steps
}
