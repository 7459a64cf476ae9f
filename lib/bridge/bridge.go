// Package bridge wires network namespaces to a bridge: bridge(8), veth(4),
// rtnetlink(7), nft(8).
//
// A bridge made here has an IPv4 subnet, of which its own address is the gateway, an IPv6
// subnet that goes with it, and masquerading for what leaves the machine. A namespace is
// wired by one veth pair, whose far end is born in it. The name of the near end is the
// lease of its address:
// the kernel lets no two links of a namespace have one name, and removes the link
// with the namespace that holds its other end. So there is neither a file nor a
// daemon, and nothing to clean up after a process that was killed.
//
// When not to use this package: to give a namespace a network without privilege over
// the host's (pasta(1) does that), for VLANs, macvlan and ipvlan, or for a bridge that
// a network manager owns.
package bridge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// mark is the alias of a bridge that was made here (ip link show prints it). What has
// no such mark belongs to someone else, and is not removed.
const (
	mark         = "netbr"
	internalMark = " internal" // after it: the bridge leads nowhere
)

// MaxPorts is how many ports the kernel lets a bridge have.
const MaxPorts = 1023

var (
	// ErrNotBridge tells that there is a link of that name, but of another kind.
	ErrNotBridge = errors.New("not a bridge")
	// ErrForeign tells that a bridge was not made by this package.
	ErrForeign = errors.New("not made by netbr")
	// ErrInUse tells that a bridge has ports.
	ErrInUse = errors.New("still in use")
	// ErrAddr tells that a bridge has another address than the one asked for.
	ErrAddr = errors.New("has another address")
	// ErrNoAddr tells that a bridge has no IPv4 address.
	ErrNoAddr = errors.New("has no IPv4 address")
	// ErrOverlap tells that a subnet is part of a network that the host is in already.
	ErrOverlap = errors.New("overlaps a network of this host")
	// ErrNoSubnet tells that every private subnet tried overlaps a route of the host.
	ErrNoSubnet = errors.New("no private subnet is free on this host")
	// ErrFull tells that no address of a subnet is free.
	ErrFull = errors.New("no free address")
	// ErrTaken tells that someone has the address.
	ErrTaken = errors.New("taken")
	// ErrAddrUnusable tells that an address cannot be given to a namespace.
	ErrAddrUnusable = errors.New("unusable")
)

// A Host is a network namespace that bridges are in, through a socket of its own: it
// stays that namespace when the thread moves to another one.
type Host struct {
	conn *conn
	ns   int // its file, once a bridge was made; else -1
}

// Open returns the network namespace of the calling thread.
func Open() (*Host, error) {
	c, err := dial(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	return &Host{c, -1}, nil
}

// Tell has line be called with each message that changes something, and each setting that is
// written, right before that is done: RTM_NEWADDR dev=staves0 local=10.77.0.1/22.
func (h *Host) Tell(line func(string)) { h.conn.tell = line }

// Close gives up what is open. A second call does nothing.
func (h *Host) Close() {
	if h.conn != nil {
		h.conn.close()
		h.conn = nil
	}
	if h.ns >= 0 {
		_ = unix.Close(h.ns)
		h.ns = -1
	}
}

// Permitted returns EPERM if this process may not change the network namespace, or
// not make another one.
func (h *Host) Permitted() error {
	// The kernel checks for CAP_NET_ADMIN, over the namespace's owner, before it finds
	// that this message has no meaning: RTM_NEWPREFIX is for listeners only.
	err := h.conn.do(request(unix.RTM_NEWPREFIX, 0, nl.NewIfInfomsg(unix.AF_UNSPEC)))
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("CAP_NET_ADMIN over this network namespace: %w", unix.EPERM)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	if data[0].Effective&(1<<unix.CAP_SYS_ADMIN) == 0 {
		return fmt.Errorf("CAP_SYS_ADMIN: %w", unix.EPERM)
	}
	return nil
}

// A Bridge is one bridge of a host.
type Bridge struct {
	Name  string
	Index int
	MTU   int
	// Addrs are its IPv4 addresses with the length of their subnets, the first first;
	// Addrs6 its IPv6 addresses without the link-local ones.
	Addrs, Addrs6 []netip.Prefix
	// Made tells that the call that returned it has made it; Ours, that some call has.
	Made, Ours bool
	// Internal tells that its containers reach one another and the host only.
	Internal bool

	up bool
}

// link is what we want to know of any link.
type link struct {
	index, mtu, master int
	peer               int // of a veth: the number of its other end
	name, kind, alias  string
	up                 bool
	works              bool // as the kernel has taken note: operstate is up
}

func readLink(body []byte) link {
	if len(body) < unix.SizeofIfInfomsg {
		return link{}
	}
	a := attrs(body[unix.SizeofIfInfomsg:])
	const operUp = 6 // IF_OPER_UP
	oper := a.get(unix.IFLA_OPERSTATE)
	return link{
		works:  len(oper) == 1 && oper[0] == operUp,
		index:  int(int32(binary.NativeEndian.Uint32(body[4:]))),
		up:     binary.NativeEndian.Uint32(body[8:])&unix.IFF_UP != 0,
		mtu:    a.number(unix.IFLA_MTU),
		master: a.number(unix.IFLA_MASTER),
		peer:   a.number(unix.IFLA_LINK),
		name:   a.text(unix.IFLA_IFNAME),
		alias:  a.text(unix.IFLA_IFALIAS),
		kind:   attrs(a.get(unix.IFLA_LINKINFO)).text(unix.IFLA_INFO_KIND),
	}
}

// skipStats keeps counters, half of an answer, out of it.
func skipStats() *nl.RtAttr {
	const skip = 1 << 3 // RTEXT_FILTER_SKIP_STATS
	return number(unix.IFLA_EXT_MASK, skip)
}

// link returns the link called name: ENODEV if there is none.
func (h *Host) link(name string) (link, error) {
	var l link
	err := h.conn.get(request(unix.RTM_GETLINK, 0, nl.NewIfInfomsg(unix.AF_UNSPEC), text(unix.IFLA_IFNAME, name), skipStats()),
		func(body []byte) { l = readLink(body) })
	h.conn.name(l.index, l.name)
	return l, err
}

// linkAt asks for the link with an index.
func linkAt(index int) *nl.NetlinkRequest {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	return request(unix.RTM_GETLINK, 0, msg, skipStats())
}

// HasLink tells whether there is a link of that name.
func (h *Host) HasLink(name string) (bool, error) {
	_, err := h.link(name)
	if errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	return err == nil, err
}

// links returns all links of the host.
func (h *Host) links() ([]link, error) {
	var all []link
	err := h.conn.dump(request(unix.RTM_GETLINK, 0, nl.NewIfInfomsg(unix.AF_UNSPEC), skipStats()),
		func() { all = nil }, func(body []byte) { all = append(all, readLink(body)) })
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	for _, l := range all {
		h.conn.name(l.index, l.name)
	}
	return all, nil
}

// Find returns the bridge called name: ENODEV if there is no link of that name,
// ErrNotBridge if it is something else.
func (h *Host) Find(name string) (*Bridge, error) {
	l, err := h.link(name)
	if err != nil {
		return nil, fmt.Errorf("find bridge %s: %w", name, err)
	}
	if l.kind != "bridge" {
		return nil, fmt.Errorf("%s: %w", name, ErrNotBridge)
	}
	return h.bridge(l)
}

// bridge is what there is to know of a link that is a bridge.
func (h *Host) bridge(l link) (*Bridge, error) {
	b := &Bridge{Name: l.name, Index: l.index, MTU: l.mtu, up: l.up}
	b.Internal = l.alias == mark+internalMark
	b.Ours = b.Internal || l.alias == mark
	var err error
	if b.Addrs, err = h.addrs(l.index, unix.AF_INET); err == nil {
		b.Addrs6, err = h.addrs(l.index, unix.AF_INET6)
	}
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", l.name, err)
	}
	return b, nil
}

// all are a bridge's addresses of both kinds.
func (b *Bridge) all() []netip.Prefix { return slices.Concat(b.Addrs, b.Addrs6) }

// addrs returns the addresses of one link, but not link-local ones. The kernel looks at
// that link alone (NETLINK_GET_STRICT_CHK), however many there are.
func (h *Host) addrs(index, family int) ([]netip.Prefix, error) {
	var all []netip.Prefix
	msg := nl.NewIfAddrmsg(family)
	msg.Index = uint32(index)
	err := h.conn.dump(request(unix.RTM_GETADDR, 0, msg), func() { all = nil }, func(body []byte) {
		if p, at := readAddr(body); at == index && p.IsValid() && !p.Addr().IsLinkLocalUnicast() {
			all = append(all, p)
		}
	})
	if family == unix.AF_INET6 && noIPv6(err) {
		return nil, nil
	}
	return all, err
}

func readAddr(body []byte) (p netip.Prefix, index int) {
	if len(body) < unix.SizeofIfAddrmsg {
		return p, 0
	}
	a := attrs(body[unix.SizeofIfAddrmsg:])
	ip := a.addr(unix.IFA_LOCAL)
	if !ip.IsValid() { // of IPv6 only a peer's has both
		ip = a.addr(unix.IFA_ADDRESS)
	}
	return netip.PrefixFrom(ip, int(body[1])), int(binary.NativeEndian.Uint32(body[4:]))
}

// addAddr gives a link an address. An IPv6 one is used at once, without looking for
// another host that has it (IFA_F_NODAD): leases are unique.
func addAddr(index int, p netip.Prefix) *nl.NetlinkRequest {
	msg := nl.NewIfAddrmsg(unix.AF_INET)
	ip := p.Addr().AsSlice()
	local := nl.NewRtAttr(unix.IFA_LOCAL, ip)
	if p.Addr().Is6() {
		msg.Family, msg.IfAddrmsg.Flags = unix.AF_INET6, unix.IFA_F_NODAD
	}
	msg.Index, msg.Prefixlen = uint32(index), uint8(p.Bits())
	return request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, msg, local, nl.NewRtAttr(unix.IFA_ADDRESS, ip))
}

// setUp brings a link up; extra are attributes to set at the same time.
func setUp(index int, extra ...nl.NetlinkRequestData) *nl.NetlinkRequest {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index, msg.Flags, msg.Change = int32(index), unix.IFF_UP, unix.IFF_UP
	return request(unix.RTM_SETLINK, 0, append([]nl.NetlinkRequestData{msg}, extra...)...)
}

func delLink(index int) *nl.NetlinkRequest {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	return request(unix.RTM_DELLINK, 0, msg)
}
