package bridge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// Ifname is the name of a namespace's end of its link, where no other is wanted.
const Ifname = "eth0"

// A Request is what a namespace's link to a bridge is to be. The zero value asks for a
// free address, and for nothing else.
type Request struct {
	Addr  netip.Addr     // IPv4; zero for one that is free
	Extra []netip.Prefix // further addresses, of either kind
	Name  string         // unique on the host; what neighbours may call it
	// Ifname is the name of the link inside, "" for [Ifname]; MAC its hardware address,
	// nil for one that follows from the address; MTU that of both ends, 0 for the bridge's.
	Ifname string
	MAC    net.HardwareAddr
	MTU    int
	// Gateway is the next hop of the IPv4 default route, zero for the bridge's own
	// address; NoRoute is for no default route at all.
	Gateway netip.Addr
	NoRoute bool
	// Isolated keeps the link from all other isolated ones of the bridge (bridge(8),
	// Linux 4.18). LockMAC has the bridge drop what comes with any other hardware address
	// than the link's (locked, Linux 5.18). Hairpin lets what the namespace sends to a
	// port that it has published itself come back to it.
	Isolated, LockMAC, Hairpin bool
	// RateIn and RateOut limit what comes to the namespace and what leaves it, in bits a
	// second; 0 for no limit.
	RateIn, RateOut uint64
}

// A Lease is a link of a namespace to a bridge, with its addresses.
type Lease struct {
	Addr      netip.Prefix   // IPv4
	Addr6     netip.Prefix   // zero where the bridge has no IPv6 subnet
	Extra     []netip.Prefix // further ones
	Gateway   netip.Addr     // zero for no default route
	Gateway6  netip.Addr
	Host      string // name of the host's end
	Ifname    string
	rateOut   uint64
	explicit6 bool // Addr6 was asked for
}

func (l Lease) String() string {
	if !l.Addr.IsValid() {
		return ""
	}
	return l.Addr.String()
}

// All are the addresses of the lease.
func (l Lease) All() []netip.Prefix {
	all := []netip.Prefix{l.Addr}
	if l.Addr6.IsValid() {
		all = append(all, l.Addr6)
	}
	return append(all, l.Extra...)
}

// leaving is how long the links of a namespace that has died may still be there: the
// kernel takes them down in the background, one namespace after the other (5 ms for one
// were measured, seconds for a hundred at once).
//
// A namespace whose last process has just ended is not dead yet: sockets of that process
// hold it until an RCU grace period is over (20 ms were measured, more with many CPUs).
const (
	leaving = 10 * time.Second
	ending  = 300 * time.Millisecond
)

// await repeats a request that failed because a name is taken, for as long as the link
// that has it is one of a namespace that has died.
func (h *Host) await(name string, try func() error) error {
	err := try()
	for start := time.Now(); errors.Is(err, unix.EEXIST) && h.leaves(start, name); err = try() {
		entry.Pause(5 * time.Millisecond)
	}
	return err
}

// leaves tells whether it is worth while to wait on for links to go, that somebody has
// waited for since start.
func (h *Host) leaves(start time.Time, names ...string) bool {
	waited := time.Since(start)
	return waited < ending || waited < leaving && !slices.ContainsFunc(names, func(n string) bool { return !h.dying(n) })
}

// dying tells whether a link, by any of its names, leads to a network namespace that no
// process and no file holds any more, or is gone itself.
func (h *Host) dying(name string) bool {
	attr := text(unix.IFLA_IFNAME, name)
	if len(name) >= unix.IFNAMSIZ {
		attr = text(unix.IFLA_ALT_IFNAME, name)
	}
	const unknown = -1 // NETNSA_NSID_NOT_ASSIGNED: the kernel gives a dead one no number
	abroad, id := false, int32(unknown)
	err := h.conn.get(request(unix.RTM_GETLINK, 0, nl.NewIfInfomsg(unix.AF_UNSPEC), attr, skipStats()), func(body []byte) {
		if v := attrs(body[unix.SizeofIfInfomsg:]).get(unix.IFLA_LINK_NETNSID); len(v) == 4 {
			abroad, id = true, int32(binary.NativeEndian.Uint32(v))
		}
	})
	if err != nil {
		return errors.Is(err, unix.ENODEV)
	}
	if !abroad || id == unknown {
		return abroad
	}
	// The number may outlive the namespace a little; nothing can be asked there then.
	lo := nl.NewIfInfomsg(unix.AF_UNSPEC)
	lo.Index = 1
	err = h.conn.get(request(unix.RTM_GETLINK, 0, lo, number(unix.IFLA_TARGET_NETNSID, int(id)), skipStats()), func([]byte) {})
	return errors.Is(err, unix.EINVAL)
}

// Wire makes a link between b and the network namespace that the calling thread is in
// now. It is one message: the link has its names, its bridge and its hardware addresses
// from birth, and neither moves between namespaces nor is renamed, which would cost an
// RCU grace period each.
func (h *Host) Wire(b *Bridge, r Request) (Lease, error) {
	if r.Addr.IsValid() {
		p, err := b.CheckAddr(r.Addr, 0)
		if err != nil {
			return Lease{}, err
		}
		l := b.lease(r, r.Addr, p)
		err = h.await(l.Host, func() error { return h.link1(b, r, l) })
		if errors.Is(err, unix.EEXIST) {
			err = fmt.Errorf("%s is %w: %s has it", r.Addr, ErrTaken, h.who(r.Addr))
		}
		return h.dress(b, r, l, err)
	}
	for start := time.Now(); ; entry.Pause(5 * time.Millisecond) {
		l, taken, err := h.wireAny(b, r)
		if !errors.Is(err, unix.EEXIST) {
			return h.dress(b, r, l, err)
		}
		if !slices.ContainsFunc(taken, func(name string) bool { return h.leaves(start, name) }) {
			break
		}
	}
	if len(b.Addrs) == 0 {
		return Lease{}, fmt.Errorf("%w: %s has no IPv4 address", ErrFull, b.Name)
	}
	return Lease{}, fmt.Errorf("%w in %s of %s", ErrFull, b.Addrs[0].Masked(), b.Name)
}

// wireAny makes a link with the first address that is free: EEXIST if none is, and the
// leases that were found.
func (h *Host) wireAny(b *Bridge, r Request) (l Lease, taken []string, err error) {
	err = unix.EEXIST
	for _, p := range b.Addrs {
		// Where to begin is of no account, as long as two that start together differ.
		b.candidates(p, uint32(unix.Getpid()), func(free netip.Addr) bool {
			l = b.lease(r, free, p)
			if err = h.link1(b, r, l); errors.Is(err, unix.EEXIST) {
				taken = append(taken, l.Host)
				return false
			}
			return true
		})
		if !errors.Is(err, unix.EEXIST) {
			break
		}
	}
	return l, taken, err
}

// lease is what r has with the IPv4 address ip of b's subnet p.
func (b *Bridge) lease(r Request, ip netip.Addr, p netip.Prefix) Lease {
	l := Lease{
		Addr: netip.PrefixFrom(ip, p.Bits()), Host: LeaseName(ip), Ifname: Ifname,
		Extra: slices.Clone(r.Extra), rateOut: r.RateOut,
	}
	if r.Ifname != "" {
		l.Ifname = r.Ifname
	}
	if !r.NoRoute {
		l.Gateway = p.Addr()
	}
	if r.Gateway.IsValid() {
		l.Gateway = r.Gateway
	}
	if len(b.Addrs6) == 0 {
		return l
	}
	if !r.NoRoute {
		l.Gateway6 = b.Addrs6[0].Addr()
	}
	// An address of that subnet that was asked for takes the place of the partner.
	for i, e := range l.Extra {
		if b.Addrs6[0].Contains(e.Addr()) {
			l.Addr6, l.explicit6 = netip.PrefixFrom(e.Addr(), b.Addrs6[0].Bits()), true
			l.Extra = slices.Delete(l.Extra, i, i+1)
			return l
		}
	}
	l.Addr6 = netip.PrefixFrom(number6(b.Addrs6[0], p, ip), b.Addrs6[0].Bits())
	return l
}

// mac is the hardware address of the link inside.
func (r Request) mac(l Lease) []byte {
	if r.MAC != nil {
		return r.MAC
	}
	inside, _ := hardware(l.Addr.Addr())
	return inside
}

// link1 makes the link: EEXIST if the address is taken.
func (h *Host) link1(b *Bridge, r Request, l Lease) error {
	// A thread's id will do: it names the namespaces of that thread.
	err := h.conn.do(pairRequest(b, r, l, 0, 0, number(unix.IFLA_NET_NS_PID, unix.Gettid())))
	if err != nil {
		return fmt.Errorf("make link %s to bridge %s: %w", l.Host, b.Name, err)
	}
	return nil
}

// pairRequest asks for the veth pair of a lease: one end at the bridge, the other in the
// namespace that ns says, with those indices or, for 0, the next ones that are free. The
// kernel lets both be chosen, or none.
func pairRequest(b *Bridge, r Request, l Lease, outsideIndex, insideIndex int, ns *nl.RtAttr) *nl.NetlinkRequest {
	_, outside := hardware(l.Addr.Addr())
	mac, mtu := r.mac(l), b.MTU
	if r.MTU != 0 {
		mtu = r.MTU
	}
	near, far := nl.NewIfInfomsg(unix.AF_UNSPEC), nl.NewIfInfomsg(unix.AF_UNSPEC)
	near.Flags, near.Change = unix.IFF_UP, unix.IFF_UP
	near.Index, far.Index = int32(outsideIndex), int32(insideIndex)
	return request(
		unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, near,
		text(unix.IFLA_IFNAME, l.Host),
		nl.NewRtAttr(unix.IFLA_ADDRESS, outside),
		number(unix.IFLA_MTU, mtu),
		number(unix.IFLA_MASTER, b.Index),
		nest(unix.IFLA_LINKINFO,
			text(unix.IFLA_INFO_KIND, "veth"),
			nest(unix.IFLA_INFO_DATA, nest(nl.VETH_INFO_PEER,
				far, text(unix.IFLA_IFNAME, l.Ifname), nl.NewRtAttr(unix.IFLA_ADDRESS, mac), number(unix.IFLA_MTU, mtu), ns))),
	)
}

// dress gives the link that was just made, if err is nil, what cannot be part of that
// message. Where that fails, the link is removed.
func (h *Host) dress(b *Bridge, r Request, l Lease, err error) (Lease, error) {
	if err != nil {
		return Lease{}, err
	}
	if err := h.names(r, l); err != nil {
		return Lease{}, h.Drop(l, err)
	}
	if err := h.conn.do(portOptions(r, l)); err != nil {
		return Lease{}, h.Drop(l, fmt.Errorf("set options of port %s: %w", l.Host, err))
	}
	if !r.LockMAC && r.RateIn == 0 {
		return l, nil
	}
	near, err := h.link(l.Host)
	if err == nil && r.LockMAC {
		mac := r.mac(l)
		if err = h.conn.do(fdbEntry(near.index, mac)); err != nil {
			err = fmt.Errorf("bind %s to port %s: %w", net.HardwareAddr(mac), l.Host, err)
		}
	}
	if err == nil && r.RateIn != 0 {
		err = limitRate(h.conn, near.index, r.RateIn)
	}
	if err != nil {
		return Lease{}, h.Drop(l, err)
	}
	return l, nil
}

// Drop removes the link of a lease that came to nothing because of err, which it returns.
func (h *Host) Drop(l Lease, err error) error {
	if near, findErr := h.link(l.Host); findErr == nil {
		_ = h.conn.do(delLink(near.index)) // if it stays, it goes with the namespace
	}
	return err
}

// names gives the link further names: one for each address that is not the partner of
// the first, as its lease, and the name that was asked for. The kernel lets no two links
// have one name, in whichever way.
func (h *Host) names(r Request, l Lease) error {
	for _, e := range l.further() {
		name := leaseName(e.Addr())
		switch err := h.await(name, func() error { return h.conn.do(alsoCalled(l.Host, name)) }); {
		case errors.Is(err, unix.EEXIST):
			return fmt.Errorf("%s is %w: %s has it", e.Addr(), ErrTaken, h.who(e.Addr()))
		case err != nil:
			return fmt.Errorf("name link %s: %w", l.Host, err)
		}
	}
	if r.Name == "" {
		return nil
	}
	err := h.await(nameOf(r.Name), func() error { return h.conn.do(alsoCalled(l.Host, nameOf(r.Name))) })
	switch {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("the name %s is %w", r.Name, ErrTaken)
	case err != nil:
		return fmt.Errorf("name link %s: %w", l.Host, err)
	}
	return nil
}

// further are the addresses that are not the partner of the first.
func (l Lease) further() []netip.Prefix {
	if l.explicit6 {
		return append(slices.Clone(l.Extra), l.Addr6)
	}
	return l.Extra
}

// furtherNames are all names that [Host.names] gives the link.
func (l Lease) furtherNames(r Request) (all []string) {
	for _, e := range l.further() {
		all = append(all, leaseName(e.Addr()))
	}
	if r.Name != "" {
		all = append(all, nameOf(r.Name))
	}
	return all
}

// alsoCalled gives a link an alternative name (ip link property add, Linux 5.5).
func alsoCalled(link, name string) *nl.NetlinkRequest {
	return request(unix.RTM_NEWLINKPROP, unix.NLM_F_CREATE|unix.NLM_F_EXCL, nl.NewIfInfomsg(unix.AF_UNSPEC),
		text(unix.IFLA_IFNAME, link), nested(unix.IFLA_PROP_LIST, text(unix.IFLA_ALT_IFNAME, name)))
}

// nameOf is the link name under which a namespace's own name is kept: no link that is
// not ours has one like it, and it is too long for one of the common kind.
func nameOf(name string) string { return "netbr:name:" + name }

// CheckName finds what cannot be the name of a container: it goes into hosts files.
func CheckName(name string) error {
	good := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_'
	}
	if name == "" || len(name) > 63 || strings.IndexFunc(name, func(c rune) bool { return !good(c) }) >= 0 || !good(rune(name[0])) || name[0] == '-' || name[0] == '.' {
		return fmt.Errorf("%q is no name: 1 to 63 letters, digits, hyphens, dots and underscores, as for a host", name)
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return fmt.Errorf("%q is an address: a name of another form", name)
	}
	return nil
}

// The options of a bridge's port (IFLA_BRPORT of if_link.h).
const (
	portHairpin  = 4
	portLearning = 8
	portIsolated = 33
	portLocked   = 39 // Linux 5.18
)

// portOptions are the bridge's options for a link, and the
// alias, which the kernel does not take from the message that makes a link.
func portOptions(r Request, l Lease) *nl.NetlinkRequest {
	data := nest(unix.IFLA_INFO_SLAVE_DATA)
	flag := func(is bool, kind int, v byte) {
		if is {
			data.AddChild(nl.NewRtAttr(kind, []byte{v}))
		}
	}
	flag(r.Hairpin, portHairpin, 1)
	flag(r.Isolated, portIsolated, 1)
	flag(r.LockMAC, portLearning, 0)
	flag(r.LockMAC, portLocked, 1)
	req := request(unix.RTM_NEWLINK, 0, nl.NewIfInfomsg(unix.AF_UNSPEC), text(unix.IFLA_IFNAME, l.Host),
		nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(End{Name: r.Name, Addrs: l.All()}.alias())))
	if r.Hairpin || r.Isolated || r.LockMAC {
		req.AddData(nest(unix.IFLA_LINKINFO, text(unix.IFLA_INFO_SLAVE_KIND, "bridge"), data))
	}
	return req
}

// fdbEntry tells a bridge for good that a hardware address is behind a port.
func fdbEntry(index int, mac []byte) *nl.NetlinkRequest {
	msg := &ndmsg{family: unix.AF_BRIDGE, index: uint32(index), state: unix.NUD_NOARP, flags: unix.NTF_MASTER}
	return request(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, msg, nl.NewRtAttr(unix.NDA_LLADDR, mac))
}

// Configure gives the calling thread's network namespace, at the far end of l, its
// addresses, its default routes, and a loopback that is up. tell, if not nil, is told of it
// as [Host.Tell] has it.
func Configure(l Lease, tell func(line string)) error {
	c, err := dial(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer c.close()
	c.tell = tell
	// Any socket has this call (netdevice(7)). The index is no constant: a namespace
	// may be born with tunnels (net.core.fb_tunnels_only_for_init_net).
	ifr, err := unix.NewIfreq(l.Ifname)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(c.fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return fmt.Errorf("find %s: %w", l.Ifname, err)
	}
	index := int(ifr.Uint32())
	c.name(index, l.Ifname)
	if six := configure6(l, index); six != nil {
		if err := c.do(six...); noIPv6(bare(err)) && !l.explicit6 {
			l.Gateway6 = netip.Addr{} // this namespace is told to do without
		} else if err != nil {
			return fmt.Errorf("configure %s %s: %w", l.Ifname, l.Addr6, err)
		}
	}
	if err := c.do(configure4(l, index)...); err != nil {
		return fmt.Errorf("configure %s %s: %w", l.Ifname, l.Addr, err)
	}
	if l.rateOut != 0 {
		return limitRate(c, index, l.rateOut)
	}
	return nil
}

// coming is how long a link is waited for that is coming up.
const coming = 100 * time.Millisecond

// Await waits until what is sent through the link of l arrives. When its far end comes up, the
// kernel takes note of that in the background, for the near end and then for the bridge; until
// then both drop what they are given. A newer kernel that is asked for a link takes note at
// once.
func (h *Host) Await(b *Bridge, l Lease) error {
	if !b.up {
		return nil
	}
	for start := time.Now(); ; entry.Pause(time.Millisecond / 2) {
		works := true
		for _, name := range []string{l.Host, b.Name} {
			link, err := h.link(name)
			if err != nil {
				return fmt.Errorf("find link %s: %w", name, err)
			}
			works = works && link.works
		}
		if works || time.Since(start) > coming {
			return nil
		}
	}
}

// configure6 are the requests for the IPv6 address, which come before the link is up: it
// would begin to make an address of its own.
func configure6(l Lease, index int) []*nl.NetlinkRequest {
	if !l.Addr6.IsValid() {
		return nil
	}
	return first6(index, l.Addr.Addr(), l.Addr6)
}

// configure4 are the requests for all else.
func configure4(l Lease, index int) []*nl.NetlinkRequest {
	reqs := []*nl.NetlinkRequest{setUp(loopback), addAddr(index, l.Addr)}
	for _, p := range l.Extra {
		reqs = append(reqs, addAddr(index, p))
	}
	reqs = append(reqs, setUp(index))
	for _, gateway := range []netip.Addr{l.Gateway, l.Gateway6} {
		if gateway.IsValid() {
			reqs = append(reqs, defaultRoute(index, gateway))
		}
	}
	return reqs
}

func defaultRoute(index int, gateway netip.Addr) *nl.NetlinkRequest {
	msg := nl.NewRtMsg()
	msg.Family = unix.AF_INET
	if gateway.Is6() {
		msg.Family = unix.AF_INET6
	}
	return request(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		msg, nl.NewRtAttr(unix.RTA_GATEWAY, gateway.AsSlice()), number(unix.RTA_OIF, index))
}
