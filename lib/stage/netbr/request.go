package netbr

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/spf13/pflag"

	"staves/lib/bridge"
)

// first is the first IPv4 address of --addr: the zero Addr for auto, and 0 bits where no
// length is given.
func (s *stage) first() (ip netip.Addr, bits int, err error) {
	for _, a := range s.addrs {
		if a == auto {
			continue
		}
		ip, bits, err := bridge.ParseAddr(a)
		if err != nil {
			return ip, 0, fmt.Errorf("--addr: %w", err)
		}
		if ip.Is4() {
			return ip, bits, nil
		}
	}
	return ip, 0, nil
}

// request is the link that the options ask for.
func (s *stage) request() (bridge.Request, error) {
	r := bridge.Request{
		Name: s.link.name, Ifname: s.link.ifname, MTU: int(s.link.mtu),
		Isolated: s.link.isolated, LockMAC: s.link.lockMAC, Hairpin: len(s.publish) > 0,
	}
	var err error
	if r.Addr, _, err = s.first(); err != nil {
		return r, err
	}
	if err := s.extra(&r); err != nil {
		return r, err
	}
	switch s.gw {
	case auto:
	case none:
		r.NoRoute = true
	default:
		if r.Gateway, err = netip.ParseAddr(s.gw); err != nil || !r.Gateway.Is4() {
			return r, fmt.Errorf("--gw: %q is neither auto nor none nor an IPv4 address", s.gw)
		}
	}
	if r.Name != "" {
		if err := bridge.CheckName(r.Name); err != nil {
			return r, fmt.Errorf("--name: %w", err)
		}
	}
	if err := checkName(r.Ifname); err != nil {
		return r, fmt.Errorf("--ifname: %w", err)
	}
	if r.Ifname == "lo" {
		return r, errors.New("--ifname: lo is there already")
	}
	if s.link.mtu != 0 && (s.link.mtu < 68 || s.link.mtu > 65535) {
		return r, fmt.Errorf("--mtu: %d is not 68 to 65535", s.link.mtu)
	}
	if s.link.mac != "" {
		if r.MAC, err = net.ParseMAC(s.link.mac); err != nil || len(r.MAC) != 6 || r.MAC[0]&1 != 0 || r.MAC.String() == "00:00:00:00:00:00" {
			return r, fmt.Errorf("--mac: %q is no hardware address of one card, such as 02:00:00:00:00:01", s.link.mac)
		}
	}
	if s.link.rate != "" {
		in, out, ok := strings.Cut(s.link.rate, "/")
		if !ok {
			return r, fmt.Errorf("--rate: %q: write IN/OUT, such as 10mbit/2mbit or -/2mbit", s.link.rate)
		}
		for _, d := range []struct {
			text string
			rate *uint64
		}{{in, &r.RateIn}, {out, &r.RateOut}} {
			if d.text == "-" {
				continue
			}
			if *d.rate, err = bridge.ParseRate(d.text); err != nil {
				return r, fmt.Errorf("--rate: %w", err)
			}
		}
	}
	return r, nil
}

// extra reads the addresses after the first.
func (s *stage) extra(r *bridge.Request) error {
	seen := map[netip.Addr]bool{}
	autos := 0
	for _, a := range s.addrs {
		if a == auto {
			autos++
			continue
		}
		ip, bits, err := bridge.ParseAddr(a)
		if err != nil {
			return fmt.Errorf("--addr: %w", err)
		}
		if seen[ip] {
			return fmt.Errorf("--addr: %s is given twice", ip)
		}
		seen[ip] = true
		if ip == r.Addr {
			continue
		}
		if bits == 0 {
			bits = ip.BitLen()
		}
		r.Extra = append(r.Extra, netip.PrefixFrom(ip, bits))
	}
	switch {
	case autos > 1:
		return errors.New("--addr: auto is one address")
	case autos == 1 && r.Addr.IsValid():
		return errors.New("--addr: auto is for the first IPv4 address")
	case !bridge.FitsAlias(r.Name, r.Extra):
		return errors.New("--addr: too many addresses for one container")
	}
	return nil
}

// bridgeSpec is the bridge to make if it is missing: in the subnets of --addr, if it has
// them.
func (s *stage) bridgeSpec(fs *pflag.FlagSet) (bridge.Spec, error) {
	spec := bridge.Spec{
		Name: s.bridge, NAT: !s.noNAT && !s.spec.internal, Internal: s.spec.internal, Open: s.spec.noIsolate,
		MTU: int(s.link.mtu), FixForward: s.spec.fixForward,
	}
	switch {
	case s.noNAT && s.spec.nat, s.spec.internal && s.spec.nat:
		return spec, errors.New("--nat and --no-nat or --internal exclude each other")
	case s.spec.internal && s.spec.noIsolate:
		return spec, errors.New("--internal and --no-isolate exclude each other: nothing enters an internal bridge")
	case s.spec.isolate && s.spec.noIsolate:
		return spec, errors.New("--isolate and --no-isolate exclude each other")
	case s.spec.internal && len(s.publish) > 0:
		return spec, errors.New("--publish and --internal exclude each other: nothing enters an internal bridge")
	case spec.MTU != 0 && (spec.MTU < 68 || spec.MTU > 65535):
		return spec, fmt.Errorf("--mtu: %d is not 68 to 65535", spec.MTU)
	}
	return spec, nil
}

// checkNew finds what is wrong with --addr for a bridge that is made for it.
func (s *stage) checkNew() error {
	spec, err := s.newBridge()
	if err != nil || spec.Addrs == nil {
		return err
	}
	b := &bridge.Bridge{Name: s.bridge}
	for _, p := range spec.Addrs {
		if p.Addr().Is4() {
			b.Addrs = append(b.Addrs, p)
		} else {
			b.Addrs6 = append(b.Addrs6, p)
		}
	}
	r, err := s.request()
	if err != nil {
		return err
	}
	ip, bits, _ := s.first()
	if _, err := b.CheckAddr(ip, bits); err != nil {
		return fmt.Errorf("--addr: %w", err)
	}
	for _, p := range r.Extra {
		if err := b.CheckExtra(p, ip); err != nil {
			return fmt.Errorf("--addr: %w", err)
		}
	}
	return nil
}

// newBridge is bridgeSpec with the subnets that --addr names.
func (s *stage) newBridge() (bridge.Spec, error) {
	spec, err := s.bridgeSpec(nil)
	if err != nil {
		return spec, err
	}
	four, six := false, false
	for _, a := range s.addrs {
		if a == auto {
			continue
		}
		ip, bits, err := bridge.ParseAddr(a)
		if err != nil {
			return spec, fmt.Errorf("--addr: %w", err)
		}
		if bits == 0 || ip.Is4() && four || ip.Is6() && six {
			continue
		}
		four, six = four || ip.Is4(), six || ip.Is6()
		gateway, err := bridge.Gateway(netip.PrefixFrom(ip, bits).Masked())
		if err != nil {
			return spec, fmt.Errorf("--addr: %w", err)
		}
		spec.Addrs = append(spec.Addrs, gateway)
	}
	if six && !four {
		return spec, errors.New("--addr: a new bridge needs an IPv4 subnet too: its addresses are what is leased")
	}
	if len(spec.Addrs) == 2 && spec.Addrs[0].Addr().Is6() {
		spec.Addrs[0], spec.Addrs[1] = spec.Addrs[1], spec.Addrs[0]
	}
	return spec, nil
}
