package bridge

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Ifname is the name of a namespace's end of its link.
const Ifname = "eth0"

// A Lease is a link of a namespace to a bridge, with its address.
type Lease struct {
	Addr    netip.Prefix
	Gateway netip.Addr
	Host    string // name of the host's end
}

func (l Lease) String() string {
	if !l.Addr.IsValid() {
		return ""
	}
	return l.Addr.String()
}

// leaving is how long an address may still be held by a namespace that has just died:
// the kernel takes its links down in the background (31 ms were measured).
const leaving = 300 * time.Millisecond

// Wire makes a link between b and the network namespace that the calling thread is in
// now, with the address ip, or with one that is free if ip is the zero Addr. It is one
// message: the link has its names, its bridge and its hardware addresses from birth,
// and neither moves between namespaces nor is renamed, which would cost an RCU grace
// period each.
func (h *Host) Wire(b *Bridge, ip netip.Addr) (Lease, error) {
	if ip.IsValid() {
		p, err := b.CheckAddr(ip, 0)
		if err != nil {
			return Lease{}, err
		}
		err = h.link1(b, ip)
		for end := time.Now().Add(leaving); errors.Is(err, unix.EEXIST) && time.Now().Before(end); err = h.link1(b, ip) {
			pause(5 * time.Millisecond)
		}
		if errors.Is(err, unix.EEXIST) {
			err = fmt.Errorf("%s is %w: %s has it", ip, ErrTaken, LeaseName(ip))
		}
		if err != nil {
			return Lease{}, err
		}
		return lease(ip, p), nil
	}
	for _, p := range b.Addrs {
		err := error(unix.EEXIST)
		// Where to begin is of no account, as long as two that start together differ.
		b.candidates(p, uint32(unix.Getpid()), func(free netip.Addr) bool {
			ip, err = free, h.link1(b, free)
			return !errors.Is(err, unix.EEXIST)
		})
		if err == nil {
			return lease(ip, p), nil
		}
		if !errors.Is(err, unix.EEXIST) {
			return Lease{}, err
		}
	}
	if len(b.Addrs) == 0 {
		return Lease{}, fmt.Errorf("%w: %s has no IPv4 address", ErrFull, b.Name)
	}
	return Lease{}, fmt.Errorf("%w in %s of %s", ErrFull, b.Addrs[0].Masked(), b.Name)
}

func lease(ip netip.Addr, p netip.Prefix) Lease {
	return Lease{Addr: netip.PrefixFrom(ip, p.Bits()), Gateway: p.Addr(), Host: LeaseName(ip)}
}

// link1 makes the link: EEXIST if the address is taken.
func (h *Host) link1(b *Bridge, ip netip.Addr) error {
	name := LeaseName(ip)
	inside, outside := hardware(ip)
	near := nl.NewIfInfomsg(unix.AF_UNSPEC)
	near.Flags, near.Change = unix.IFF_UP, unix.IFF_UP
	err := h.conn.do(request(
		unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, near,
		text(unix.IFLA_IFNAME, name),
		nl.NewRtAttr(unix.IFLA_ADDRESS, outside),
		number(unix.IFLA_MTU, b.MTU),
		number(unix.IFLA_MASTER, b.Index),
		nest(unix.IFLA_LINKINFO,
			text(unix.IFLA_INFO_KIND, "veth"),
			nest(unix.IFLA_INFO_DATA, nest(nl.VETH_INFO_PEER,
				nl.NewIfInfomsg(unix.AF_UNSPEC),
				text(unix.IFLA_IFNAME, Ifname),
				nl.NewRtAttr(unix.IFLA_ADDRESS, inside),
				number(unix.IFLA_MTU, b.MTU),
				// A thread's id will do: it names the namespaces of that thread.
				number(unix.IFLA_NET_NS_PID, unix.Gettid())))),
	))
	if err != nil {
		return fmt.Errorf("make link %s to bridge %s: %w", name, b.Name, err)
	}
	return nil
}

// Configure gives the calling thread's network namespace, at the far end of l, its
// address, its default route, and a loopback that is up: one batch.
func Configure(l Lease) error {
	c, err := dial(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer c.close()
	// Any socket has this call (netdevice(7)). The index is no constant: a namespace
	// may be born with tunnels (net.core.fb_tunnels_only_for_init_net).
	ifr, err := unix.NewIfreq(Ifname)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(c.fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return fmt.Errorf("find %s: %w", Ifname, err)
	}
	index := int(ifr.Uint32())
	const lo = 1 // LOOPBACK_IFINDEX
	if err := c.do(setUp(lo), addAddr(index, l.Addr), setUp(index), defaultRoute(index, l.Gateway)); err != nil {
		return fmt.Errorf("configure %s %s: %w", Ifname, l.Addr, err)
	}
	return nil
}

func defaultRoute(index int, gateway netip.Addr) *nl.NetlinkRequest {
	msg := nl.NewRtMsg()
	msg.Family = unix.AF_INET
	return request(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		msg, nl.NewRtAttr(unix.RTA_GATEWAY, gateway.AsSlice()), number(unix.RTA_OIF, index))
}
