package bridge

import (
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"staves/lib/probe"
)

// An Outlook is what can be told beforehand of the messages that wire a namespace. They are
// those that would be sent, written down twice, with two guesses at all that is left open:
// where the two differ, "..." is told.
type Outlook struct {
	Spec    Spec    // what a missing bridge is to be
	Found   *Bridge // nil where it is missing
	Request Request
	Abroad  bool // a helper makes the link
}

// A Case is what is done if a condition holds, or always where there is none: a line for each
// message or setting.
type Case struct {
	If    string
	Lines []string
}

// A guess is one at what is left open.
type guess struct {
	spec   Spec
	bridge *Bridge
	lease  Lease
	near   int // index of the link at the bridge
	far    int
	port   Mapping // one that is published for whoever had the address before
	chain  blocker // one that drops what is forwarded
	called linkNames
}

// guess makes the one or the other.
func (o Outlook) guess(other bool) guess {
	pick := func(a, b int) int {
		if other {
			return b
		}
		return a
	}
	g := guess{spec: o.Spec, near: pick(1<<20, 1<<20+1), far: pick(1<<20+2, 1<<20+3)}
	if len(g.spec.Addrs) == 0 {
		four := netip.PrefixFrom(fromUint(uint32(pick(10<<24+1, 11<<24+1))), pick(autoBits, autoBits+1))
		g.spec.Addrs = []netip.Prefix{four, Partner(four)}
		if !probe.IPv6() {
			g.spec.Addrs = g.spec.Addrs[:1]
		}
	}
	if g.spec.MTU == 0 {
		g.spec.MTU = pick(1400, 0)
	}
	g.bridge = o.Found
	if o.Found == nil || len(o.Found.Addrs) == 0 {
		g.bridge = &Bridge{Name: o.Spec.Name, Index: 1<<20 + 4, MTU: pick(1400, 1500), Internal: o.Spec.Internal, Addrs: g.spec.Addrs[:1], Addrs6: g.spec.Addrs[1:]}
		if o.Spec.MTU != 0 {
			g.bridge.MTU = o.Spec.MTU
		}
	}
	subnet, ip := g.bridge.Addrs[0], o.Request.Addr
	if p, err := g.bridge.CheckAddr(ip, 0); ip.IsValid() && err == nil {
		subnet = p
	} else if !ip.IsValid() {
		ip = fromUint(toUint(subnet.Masked().Addr()) + uint32(pick(2, 3)))
	}
	g.lease = g.bridge.lease(o.request(g.bridge), ip, subnet)
	g.port = Mapping{Port{Proto: unix.IPPROTO_TCP, Port: 1}, netip.AddrPortFrom(ip, 1)}
	g.chain = blocker{family: unix.NFPROTO_IPV4, table: "a", chain: "a"}
	if other {
		g.port = Mapping{Port{ip, unix.IPPROTO_TCP, 2}, netip.AddrPortFrom(ip, 2)}
		g.chain = blocker{family: unix.NFPROTO_IPV6, table: "b", chain: "b"}
	}
	g.called = linkNames{g.bridge.Index: o.Spec.Name, g.near: g.lease.Host, g.far: g.lease.Ifname}
	return g
}

// request is what is asked for where b is the bridge.
func (o Outlook) request(b *Bridge) Request {
	r := o.Request
	r.NoRoute = r.NoRoute || b.Internal
	return r
}

// lines are what is told of the requests that make writes down for a guess.
func (o Outlook) lines(write func(g guess) []*nl.NetlinkRequest) (lines []string) {
	one, other := o.guess(false), o.guess(true)
	a, b := serialize(write(one)), serialize(write(other))
	var all []told
	for i := range a {
		m, ok := tell(one.called, a[i])
		if !ok {
			continue
		}
		n, _ := tell(other.called, b[i])
		all = joinTo(all, m.both(n))
	}
	for _, m := range all {
		lines = append(lines, m.String())
	}
	return lines
}

// both is what m and o, which may lack an argument of m, have in common.
func (m told) both(o told) told {
	there := map[string]string{}
	for _, a := range o.args {
		there[a.name] = a.value
	}
	for i := range m.args {
		a := &m.args[i]
		if value, ok := there[a.name]; !ok || value != a.value {
			a.value, a.maybeNot = "...", !ok
		}
	}
	return m
}

// Ensure tells of [Host.Ensure].
func (o Outlook) Ensure() []Case {
	now := "it is"
	if o.Found != nil {
		now = "it is not"
	}
	cases := []Case{{
		"if it is missing (" + now + ")",
		o.lines(func(g guess) []*nl.NetlinkRequest { return making(g.spec) }),
	}}
	if o.Spec.FixForward {
		cases = append(cases, Case{
			"if a chain of another firewall drops what is forwarded",
			o.lines(func(g guess) []*nl.NetlinkRequest { return g.chain.exception(o.Spec.Name) }),
		})
	}
	lines := o.lines(func(g guess) []*nl.NetlinkRequest {
		reqs, unwanted := permission(g.spec)
		for _, m := range unwanted {
			reqs = append(reqs, elements(unix.NFT_MSG_DELSETELEM, m.set, m.elems...))
		}
		return reqs
	})
	if o.Spec.NAT {
		lines = append(lines, writing("net/ipv4/ip_forward", "1"))
		if len(o.guess(false).spec.Addrs) > 1 {
			lines = append(lines, writing("net/ipv6/conf/.../accept_ra", "2"), writing(forwarding6, "1"))
		}
	}
	lines = append(lines, o.lines(func(g guess) (reqs []*nl.NetlinkRequest) {
		index, four := g.bridge.Index, g.spec.Addrs[0]
		if len(g.spec.Addrs) > 1 {
			reqs = first6(index, four.Addr(), g.spec.Addrs[1])
		}
		return append(reqs, addAddr(index, four), setUp(index))
	})...)
	return append(cases, Case{"what it lacks of this, if it is missing, down or without an address", lines})
}

// Localhost tells of [Host.Localhost].
func (o Outlook) Localhost() Case {
	return Case{"if it is not set yet", []string{writing(localhostSysctl(o.Spec.Name), "1")}}
}

// Wire tells of [Host.Wire], and of [Firewall.Forget] after it.
func (o Outlook) Wire() []Case {
	made := o.lines(func(g guess) []*nl.NetlinkRequest {
		r, ns := o.request(g.bridge), number(unix.IFLA_NET_NS_PID, g.near)
		outside, inside := 0, 0
		if o.Abroad {
			outside, inside, ns = g.near, g.far, number(unix.IFLA_NET_NS_FD, nsFD)
		}
		reqs := []*nl.NetlinkRequest{pairRequest(g.bridge, r, g.lease, outside, inside, ns)}
		for _, name := range g.lease.furtherNames(r) {
			reqs = append(reqs, alsoCalled(g.lease.Host, name))
		}
		reqs = append(reqs, portOptions(r, g.lease))
		if r.LockMAC {
			reqs = append(reqs, fdbEntry(g.near, r.mac(g.lease)))
		}
		if r.RateIn != 0 {
			reqs = append(reqs, bucket(g.near, r.RateIn))
		}
		return reqs
	})
	cases := []Case{{"", made}}
	if !o.Abroad {
		cases = append(cases, Case{"if a port is still published for one who had the address before", o.lines(func(g guess) []*nl.NetlinkRequest {
			return g.port.withdrawal()[:1] // the two differ in what is left open
		})})
	}
	return cases
}

// Configure tells of [Configure].
func (o Outlook) Configure() []Case {
	return []Case{{"", o.lines(func(g guess) []*nl.NetlinkRequest {
		reqs := append(configure6(g.lease, g.far), configure4(g.lease, g.far)...)
		if o.Request.RateOut != 0 {
			reqs = append(reqs, bucket(g.far, o.Request.RateOut))
		}
		return reqs
	})}}
}

// Publish tells of [Firewall.Publish], of what direct has for the addresses of the namespace.
func (o Outlook) Publish(direct func(addrs []netip.Prefix) []Mapping) []Case {
	return []Case{{"", o.lines(func(g guess) (reqs []*nl.NetlinkRequest) {
		mappings := direct(g.lease.All())
		reqs = beacons(g.near, mappings)
		for _, m := range mappings {
			reqs = append(reqs, m.publication()...)
		}
		return reqs
	})}}
}
