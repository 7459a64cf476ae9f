package bridge

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
)

// leasePrefix begins the name of every host end. The address follows, in hexadecimal:
// a dotted quad can be longer than a link's name may be.
const leasePrefix = "nb"

// LeaseName is the name of the host end of the link that ip was given to.
func LeaseName(ip netip.Addr) string { return fmt.Sprintf("%s%08x", leasePrefix, toUint(ip)) }

// leaseName is the name that is the lease of an address of either kind; an IPv6 one is too
// long for a link's common name, and stands beside it (ip link property add).
func leaseName(ip netip.Addr) string {
	if ip.Is4() {
		return LeaseName(ip)
	}
	return leasePrefix + ":" + ip.String()
}

// LeaseAddr returns the address that the link called name is the lease of.
func LeaseAddr(name string) (netip.Addr, bool) {
	if len(name) != len(leasePrefix)+8 || name[:len(leasePrefix)] != leasePrefix {
		return netip.Addr{}, false
	}
	n, err := strconv.ParseUint(name[len(leasePrefix):], 16, 32)
	ip := fromUint(uint32(n))
	return ip, err == nil && LeaseName(ip) == name
}

// hardware returns the hardware addresses that go with ip: of the container's end,
// and of the host's. They follow from the address, so a neighbour's ARP cache is right
// even when the address was another container's a moment ago; and since they are
// given, udev does not change them. Bit 1 of the first byte: locally administered.
func hardware(ip netip.Addr) (inside, outside []byte) {
	b := ip.As4()
	return append([]byte{0x02, 0x4e}, b[:]...), append([]byte{0xfe, 0x4e}, b[:]...)
}

// candidates calls try with addresses of b's subnet p until try says that it is done:
// with each that a container may have, once, the n-th first.
func (b *Bridge) candidates(p netip.Prefix, n uint32, try func(ip netip.Addr) (done bool)) {
	if p.Bits() > 30 {
		return
	}
	size := uint32(1)<<(32-p.Bits()) - 2 // without network and broadcast address
	base := toUint(p.Masked().Addr()) + 1
	for i := range size {
		if ip := fromUint(base + (n%size+i)%size); !b.has(ip) && try(ip) {
			return
		}
	}
}

// has tells whether ip is b's own address.
func (b *Bridge) has(ip netip.Addr) bool {
	return slices.ContainsFunc(b.Addrs, func(p netip.Prefix) bool { return p.Addr() == ip })
}

// CheckAddr returns the subnet of b that ip is in, or why it cannot be given to a
// container; bits, if not 0, is the length that the caller thinks the subnet has.
func (b *Bridge) CheckAddr(ip netip.Addr, bits int) (netip.Prefix, error) {
	for _, p := range b.Addrs {
		if !p.Contains(ip) {
			continue
		}
		switch {
		case b.has(ip):
			return p, fmt.Errorf("%s is %w: it is the address of %s, the gateway", ip, ErrAddrUnusable, b.Name)
		case p.Bits() < 31 && ip == p.Masked().Addr():
			return p, fmt.Errorf("%s is %w: it is the name of the subnet %s", ip, ErrAddrUnusable, p.Masked())
		case p.Bits() < 31 && ip == last(p):
			return p, fmt.Errorf("%s is %w: it is the broadcast address of %s", ip, ErrAddrUnusable, p.Masked())
		case bits != 0 && bits != p.Bits():
			return p, fmt.Errorf("%s/%d is %w: the subnet of %s is %s", ip, bits, ErrAddrUnusable, b.Name, p.Masked())
		}
		return p, nil
	}
	if len(b.Addrs) == 0 {
		return netip.Prefix{}, fmt.Errorf("%s is %w: %s has no IPv4 address", ip, ErrAddrUnusable, b.Name)
	}
	return netip.Prefix{}, fmt.Errorf("%s is %w: the subnet of %s is %s", ip, ErrAddrUnusable, b.Name, b.Addrs[0].Masked())
}

// CheckExtra finds out whether p can be a further address of a container that has, or will
// have, the IPv4 address ip; ip is the zero Addr for one that is not known yet.
func (b *Bridge) CheckExtra(p netip.Prefix, ip netip.Addr) error {
	if p.Addr().Is4() {
		_, err := b.CheckAddr(p.Addr(), 0)
		if err == nil && p.Addr() == ip {
			err = fmt.Errorf("%s is given twice", ip)
		}
		return err
	}
	for _, six := range b.Addrs6 {
		if !six.Contains(p.Addr()) {
			continue
		}
		if p.Addr() == six.Addr() {
			return fmt.Errorf("%s is %w: it is the address of %s, the gateway", p.Addr(), ErrAddrUnusable, b.Name)
		}
		for _, four := range b.Addrs {
			if partner, ok := numbered(six, four, p.Addr()); ok && partner != ip {
				return fmt.Errorf("%s is %w: it goes with %s", p.Addr(), ErrAddrUnusable, partner)
			}
		}
		return nil
	}
	if len(b.Addrs6) == 0 {
		return fmt.Errorf("%s is %w: %s has no IPv6 subnet", p.Addr(), ErrAddrUnusable, b.Name)
	}
	return fmt.Errorf("%s is %w: the IPv6 subnet of %s is %s", p.Addr(), ErrAddrUnusable, b.Name, b.Addrs6[0].Masked())
}
