package bridge

import (
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ulaPrefix begins the IPv6 subnets that are chosen here: unique local addresses (RFC
// 4193). What follows is the name of the IPv4 subnet, so that the two go together.
var ulaPrefix = [4]byte{0xfd, 0x4e, 'b', 'r'}

// Partner returns the address of a bridge in the IPv6 subnet that goes with its IPv4
// address p: a /64 in which hosts have the numbers that they have in p's subnet.
func Partner(p netip.Prefix) netip.Prefix {
	var b [16]byte
	copy(b[:], ulaPrefix[:])
	base := p.Masked().Addr().As4()
	copy(b[4:], base[:])
	subnet := netip.PrefixFrom(netip.AddrFrom16(b), 64)
	return netip.PrefixFrom(number6(subnet, p, p.Addr()), 64)
}

// number6 is the address in subnet6 with the number that ip has in subnet.
func number6(subnet6, subnet netip.Prefix, ip netip.Addr) netip.Addr {
	b := subnet6.Masked().Addr().As16()
	n := toUint(ip) - toUint(subnet.Masked().Addr())
	b[12] |= byte(n >> 24)
	b[13] |= byte(n >> 16)
	b[14] |= byte(n >> 8)
	b[15] |= byte(n)
	return netip.AddrFrom16(b)
}

// numbered tells whether ip6 is the partner of an address of subnet.
func numbered(subnet6, subnet netip.Prefix, ip6 netip.Addr) (ip netip.Addr, ok bool) {
	b := ip6.As16()
	n := uint32(b[12])<<24 | uint32(b[13])<<16 | uint32(b[14])<<8 | uint32(b[15])
	if n >= 1<<(32-subnet.Bits()) {
		return ip, false
	}
	ip = fromUint(toUint(subnet.Masked().Addr()) + n)
	return ip, number6(subnet6, subnet, ip) == ip6
}

// linkLocal is the link-local address that goes with an IPv4 address.
func linkLocal(ip netip.Addr) netip.Prefix {
	b := [16]byte{0: 0xfe, 1: 0x80}
	v := ip.As4()
	copy(b[12:], v[:])
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}

// first6 are the requests for the first IPv6 address of a link that is still down, and whose
// first IPv4 address is ip: it begins with a link-local one that goes with ip, from which
// neighbours are asked for, since the kernel's would be of use only later.
func first6(index int, ip netip.Addr, p netip.Prefix) []*nl.NetlinkRequest {
	return []*nl.NetlinkRequest{withoutLinkLocal(index), addAddr(index, linkLocal(ip)), addAddr(index, p)}
}

// noIPv6 tells, of the error to an IPv6 request, that the kernel or the namespace is
// without IPv6: built without it, started with ipv6.disable=1, or told so by sysctl.
func noIPv6(errno error) bool {
	switch errno {
	case unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.EACCES, unix.ENODEV:
		return true
	}
	return false
}

const addrGenNone = 1 // IN6_ADDR_GEN_MODE_NONE

// withoutLinkLocal has the kernel give a link no link-local address of its own: it would
// look for another host that has it, for more than a second, before anything can be sent.
func withoutLinkLocal(index int) *nl.NetlinkRequest {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	return request(unix.RTM_SETLINK, 0, msg, nest(unix.IFLA_AF_SPEC, nest(unix.AF_INET6, nl.NewRtAttr(unix.IFLA_INET6_ADDR_GEN_MODE, []byte{addrGenNone}))))
}
