package bridge

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// autoBits is the length of a subnet that is chosen here: 1,021 containers, about as
// many as a bridge has ports.
const autoBits = 22

// pools are where subnets are chosen: first corners of the private ranges (RFC 1918)
// that other tools leave alone (docker, podman, libvirt, Kubernetes and home routers
// have favourites elsewhere), then the whole of the largest range.
var pools = [...]struct {
	base uint32
	bits int
}{
	{10<<24 | 77<<16, 16},
	{172<<24 | 29<<16, 16},
	{192<<24 | 168<<16 | 128<<8, 17},
	{10 << 24, 8},
}

// FreeSubnet returns the address that a bridge gets in the first private subnet that
// overlaps none of taken.
func FreeSubnet(taken []netip.Prefix) (netip.Prefix, error) {
	for _, pool := range pools {
		for at, end := pool.base, pool.base+1<<(32-pool.bits); at < end; at += 1 << (32 - autoBits) {
			subnet := netip.PrefixFrom(fromUint(at), autoBits)
			free := true
			for _, t := range taken {
				if t.Overlaps(subnet) {
					free = false
					break
				}
			}
			if free {
				return netip.PrefixFrom(fromUint(at+1), autoBits), nil
			}
		}
	}
	return netip.Prefix{}, ErrNoSubnet
}

// ParseAddr reads an address of either kind, with the length of its subnet, or without: 0
// bits.
func ParseAddr(s string) (addr netip.Addr, bits int, err error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		if addr, err = netip.ParseAddr(s); err != nil {
			return addr, 0, fmt.Errorf("%q is no address such as 10.0.0.5/24", s)
		}
		p = netip.PrefixFrom(addr, 0)
	}
	if p.Addr().Is4In6() || p.Addr().Zone() != "" || p.Addr().IsLinkLocalUnicast() || p.Addr().IsMulticast() || p.Addr().IsUnspecified() && p.Addr().Is6() {
		return addr, 0, fmt.Errorf("%s is no address for a container", s)
	}
	if b := p.Addr().AsSlice(); p.Addr().Is4() && (b[0] == 0 || b[0] >= 240) || p.Addr().Is6() && b[0] == 0x02 && b[1] == 0x4e {
		return addr, 0, fmt.Errorf("%s is of a reserved range: take one of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or fc00::/7", s)
	}
	return p.Addr(), p.Bits(), nil
}

// Gateway returns the address of a bridge in p's subnet: p itself, or the first of
// the subnet where p is the subnet's own name (10.0.0.0/24).
func Gateway(p netip.Prefix) (netip.Prefix, error) {
	if p.Addr().Is6() {
		if p.Bits() < 48 || p.Bits() > 96 {
			return p, fmt.Errorf("%s: a bridge's IPv6 subnet is /48 to /96", p)
		}
		if p.Addr() == p.Masked().Addr() {
			p = netip.PrefixFrom(p.Addr().Next(), p.Bits())
		}
		return p, nil
	}
	if p.Bits() < 8 || p.Bits() > 30 {
		return p, fmt.Errorf("%s: a bridge's subnet is /8 to /30", p)
	}
	if p.Addr() == p.Masked().Addr() {
		p = netip.PrefixFrom(p.Addr().Next(), p.Bits())
	}
	if p.Addr() == last(p) {
		return p, fmt.Errorf("%s is the subnet's broadcast address", p)
	}
	return p, nil
}

// last returns the highest address of p's subnet.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	ip, _ := netip.AddrFromSlice(b) // as long as it was
	return ip
}

func toUint(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func fromUint(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// A network is one that the host is in, or has a route to.
type network struct {
	netip.Prefix
	link     int  // index of the link that it is reached through
	attached bool // without a router in between
}

// networks returns all networks of one family that the host knows, and the link of its
// default route. IPv4 routes shorter than /8 are a default route, whole or in halves as
// VPNs have it: they say nothing about what is in use.
func (h *Host) networks(family uint8) (all []network, uplink int, err error) {
	shortest := 8
	if family == unix.AF_INET6 {
		shortest = 16
	}
	best := -1
	own := func(p netip.Prefix) bool { return !p.Addr().IsMulticast() && !p.Addr().IsLinkLocalUnicast() }
	err = h.conn.dump(request(unix.RTM_GETROUTE, 0, &nl.RtMsg{RtMsg: unix.RtMsg{Family: family}}), func() { all, uplink, best = nil, 0, -1 }, func(body []byte) {
		if len(body) < unix.SizeofRtMsg {
			return
		}
		a, bits := attrs(body[unix.SizeofRtMsg:]), int(body[1])
		oif, metric := a.number(unix.RTA_OIF), a.number(unix.RTA_PRIORITY)
		switch to := netip.PrefixFrom(a.addr(unix.RTA_DST), bits); {
		case bits == 0 && oif != 0 && a.get(unix.RTA_GATEWAY) != nil && (best < 0 || metric < best):
			uplink, best = oif, metric
		case bits >= shortest && own(to):
			all = append(all, network{to, oif, a.get(unix.RTA_GATEWAY) == nil && a.get(unix.RTA_VIA) == nil})
		}
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list routes: %w", err)
	}
	// A link that is down has addresses, but no routes.
	err = h.conn.dump(request(unix.RTM_GETADDR, 0, nl.NewIfAddrmsg(int(family))), func() {}, func(body []byte) {
		if p, index := readAddr(body); p.IsValid() && own(p) {
			all = append(all, network{p.Masked(), index, true})
		}
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list addresses: %w", err)
	}
	return all, uplink, nil
}

// checkOverlap finds the network of the host that subnet would take away: one that is
// part of it, or one that the host is attached to and that it is part of. A route
// through a router to something larger is no hindrance: the more exact one wins.
func checkOverlap(subnet netip.Prefix, networks []network, bridge int) error {
	for _, n := range networks {
		if n.link != bridge && n.Overlaps(subnet) && (n.attached || n.Bits() >= subnet.Bits()) {
			return fmt.Errorf("%s %w: %s", subnet.Masked(), ErrOverlap, n.Prefix)
		}
	}
	return nil
}
