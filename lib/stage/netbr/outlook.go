package netbr

import (
	"net/netip"

	"staves/lib/bridge"
	"staves/lib/chain"
)

// told has an explanation say what messages a step sends. What is wrong with the options, or
// with the bridge that is there, Check tells.
func (s *stage) told(of func(bridge.Outlook) []bridge.Case) func() []chain.Case {
	return func() (all []chain.Case) {
		var o bridge.Outlook
		o.Spec, _ = s.newBridge()
		o.Request, _ = s.request()
		if host, err := bridge.Open(); err == nil {
			o.Found, _ = host.Find(s.bridge)
			host.Close()
		}
		for _, c := range of(o) {
			all = append(all, chain.Case(c))
		}
		return all
	}
}

func (s *stage) ensureTold(o bridge.Outlook) []bridge.Case {
	cases := o.Ensure()
	if s.localhost() {
		cases = append(cases, o.Localhost())
	}
	return cases
}

func (s *stage) publishTold(o bridge.Outlook) []bridge.Case {
	return o.Publish(func(addrs []netip.Prefix) []bridge.Mapping {
		all, _ := mappings(s.publish)
		all, _ = directed(all, addrs)
		return all
	})
}

// Of a link that a helper makes.
func wireAbroadTold(o bridge.Outlook) []bridge.Case {
	o.Abroad = true
	return o.Wire()
}
