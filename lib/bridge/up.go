package bridge

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"staves/lib/entry"
	"staves/lib/probe"
)

// A Spec is what a bridge is to be.
type Spec struct {
	Name string
	// Addrs are the addresses of the bridge, one of IPv4 at most first, one of IPv6 at
	// most; none for those that it has, or for a private IPv4 subnet that is free on this
	// host and the IPv6 one that goes with it.
	Addrs []netip.Prefix
	// NAT lets its containers reach what the host can reach, with the host's address.
	NAT bool
	// Internal keeps its containers from everything but one another and the host.
	Internal bool
	// Open lets its containers and those of other open bridges reach one another.
	Open bool
	// MTU is that of the bridge, 0 for that of the host's way out.
	MTU int
	// FixForward has another firewall that drops what is forwarded let the bridge's
	// packets pass.
	FixForward bool
}

// Up makes the bridge that s says, or what is missing of it: its link, its address,
// the rules, forwarding. With nothing missing it changes nothing. The caller's thread
// must be in the host's namespace.
func (h *Host) Up(s Spec) (*Bridge, error) {
	unlock, err := lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	b, err := h.up(s, true)
	if err != nil {
		return nil, err
	}
	c, err := h.firewall()
	if err != nil {
		return nil, err
	}
	defer c.close()
	if local, err := h.localhostPublished(c, b); err != nil || !local {
		return b, err
	}
	return b, h.Localhost(b)
}

// Ensure is Up for a bridge that need only be there: one that has an address is left
// as it is, rules included, and so is one that was not made here.
func (h *Host) Ensure(s Spec) (*Bridge, error) {
	b, err := h.Find(s.Name)
	switch {
	case errors.Is(err, unix.ENODEV):
	case err != nil:
		return nil, err
	case len(b.Addrs) > 0 && (b.up || !b.Ours):
		return b, nil
	}
	unlock, err := lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	b, err = h.up(s, false) // by now it may be there, or have what it lacked
	if err == nil && b.Made && h.ns < 0 {
		h.ns, err = openHere()
	}
	return b, err
}

func (h *Host) up(s Spec, repair bool) (*Bridge, error) {
	b, err := h.Find(s.Name)
	missing := errors.Is(err, unix.ENODEV)
	if err != nil && !missing {
		return nil, err
	}
	if missing {
		b = &Bridge{Name: s.Name}
	}
	switch {
	case missing || repair:
	case len(b.Addrs) > 0 && (b.up || !b.Ours):
		return b, nil
	case !b.Ours:
		return nil, fmt.Errorf("bridge %s %w", b.Name, ErrNoAddr)
	}
	for _, p := range s.Addrs {
		have := b.Addrs
		if p.Addr().Is6() {
			have = b.Addrs6
		}
		if len(have) > 0 && !slices.Contains(have, p) {
			return nil, fmt.Errorf("bridge %s %w: %s", s.Name, ErrAddr, have[0])
		}
	}
	if s.NAT {
		if err := blocked(s); err != nil {
			return nil, err
		}
	}
	auto := len(s.Addrs) == 0
	if s, err = h.place(s, b); err != nil {
		return nil, err
	}
	if missing {
		if err := h.make(s); err != nil {
			return nil, err
		}
	}
	if b, err = h.finish(s, missing, auto); err != nil && missing {
		// No one can have used it yet: whoever finds it without rules waits for the lock.
		h.remove(s.Name)
	}
	return b, err
}

// finish gives the bridge that is there what it lacks. auto tells that nobody has asked
// for its addresses.
func (h *Host) finish(s Spec, made, auto bool) (*Bridge, error) {
	b, err := h.Find(s.Name)
	if err != nil {
		return nil, err
	}
	b.Made = made
	// The rules come first: with an address and up, a bridge is taken to be ready.
	if err := h.permit(s); err != nil {
		return nil, err
	}
	if s.FixForward {
		if err := h.unblock(s.Name); err != nil {
			return nil, err
		}
	}
	if s.NAT {
		if err := h.forward(s); err != nil {
			return nil, err
		}
	}
	// The IPv4 one comes last: a bridge that has it is not given others.
	for _, p := range slices.Backward(s.Addrs) {
		if slices.Contains(b.all(), p) {
			continue
		}
		add := []*nl.NetlinkRequest{addAddr(b.Index, p)}
		if p.Addr().Is6() && b.Ours && !b.up {
			add = first6(b.Index, s.Addrs[0].Addr(), p)
		}
		err := h.conn.do(add...)
		switch {
		case err == nil && p.Addr().Is4():
			b.Addrs = append(b.Addrs, p)
		case err == nil:
			b.Addrs6 = append(b.Addrs6, p)
		case !auto || !p.Addr().Is6() || !noIPv6(bare(err)):
			return nil, fmt.Errorf("add address %s to bridge %s: %w", p, s.Name, err)
		}
	}
	var change []nl.NetlinkRequestData
	if b.Ours && b.Internal != s.Internal {
		change = append(change, nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(markOf(s))))
	}
	if s.MTU != 0 && !made && s.MTU != b.MTU {
		change = append(change, number(unix.IFLA_MTU, s.MTU))
	}
	if !b.up || change != nil {
		if err := h.conn.do(setUp(b.Index, change...)); err != nil {
			return nil, fmt.Errorf("bring up bridge %s: %w", s.Name, err)
		}
		b.up, b.Internal = true, s.Internal
		if s.MTU != 0 {
			b.MTU = s.MTU
		}
	}
	return b, nil
}

// place finds the addresses for a bridge without them, or checks those that it is to
// have, and for a new one the MTU: that of the link which leads out of this host, since a
// larger packet would be lost there.
func (h *Host) place(s Spec, b *Bridge) (Spec, error) {
	if len(b.Addrs) > 0 && len(s.Addrs) == 0 {
		s.Addrs = b.all()
		return s, nil
	}
	known, uplink, err := h.networks(unix.AF_INET)
	if err != nil {
		return s, err
	}
	if len(s.Addrs) == 0 {
		taken := make([]netip.Prefix, len(known))
		for i, n := range known {
			taken[i] = n.Prefix
		}
		four, err := FreeSubnet(taken)
		if err != nil {
			return s, err
		}
		s.Addrs = []netip.Prefix{four, Partner(four)}
		if !probe.IPv6() {
			s.Addrs = s.Addrs[:1]
		}
	} else {
		for _, p := range s.Addrs {
			if p.Addr().Is6() {
				if known, _, err = h.networks(unix.AF_INET6); err != nil {
					return s, err
				}
			}
			if err := checkOverlap(p, known, b.Index); err != nil {
				return s, err
			}
		}
		// What it has besides stays.
		for _, p := range b.all() {
			if !slices.Contains(s.Addrs, p) {
				s.Addrs = append(s.Addrs, p)
			}
		}
	}
	if uplink != 0 && s.MTU == 0 && b.Index == 0 {
		mtu := 0
		// Without an answer the bridge has the usual MTU.
		_ = h.conn.get(linkAt(uplink), func(body []byte) { mtu = readLink(body).mtu })
		if mtu >= 1280 && mtu < 1500 {
			s.MTU = mtu
		}
	}
	return s, nil
}

// markOf is the alias of a bridge that was made here.
func markOf(s Spec) string {
	if s.Internal {
		return mark + internalMark
	}
	return mark
}

// make makes the bridge's link. It is given a hardware address: without one it has the
// lowest of its ports', which changes when they come and go, and neighbours lose it.
func (h *Host) make(s Spec) error {
	if err := h.conn.do(making(s)...); err != nil {
		return fmt.Errorf("make bridge %s: %w", s.Name, err)
	}
	return nil
}

func making(s Spec) []*nl.NetlinkRequest {
	inside, _ := hardware(s.Addrs[0].Addr())
	data := []nl.NetlinkRequestData{
		nl.NewIfInfomsg(unix.AF_UNSPEC), text(unix.IFLA_IFNAME, s.Name), nl.NewRtAttr(unix.IFLA_ADDRESS, inside),
		nest(unix.IFLA_LINKINFO, text(unix.IFLA_INFO_KIND, "bridge")),
	}
	if s.MTU != 0 {
		data = append(data, number(unix.IFLA_MTU, s.MTU))
	}
	named := nl.NewIfInfomsg(unix.AF_UNSPEC)
	return []*nl.NetlinkRequest{
		request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, data...),
		request(unix.RTM_SETLINK, 0, named, text(unix.IFLA_IFNAME, s.Name), nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(markOf(s)))),
	}
}

// lock keeps others from making or removing bridges of this network namespace until
// unlock is called, or this process ends. The namespace itself is what is locked
// (flock(2) on its file in nsfs): no file has to be made. Anyone in the namespace
// could hold that lock for ever, so it is not waited for without end: without it, two
// that make one bridge at the same instant could give it two subnets, no worse.
func lock() (unlock func(), err error) {
	fd, err := openHere()
	if err != nil {
		return nil, err
	}
	for range 1500 {
		if err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			break
		}
		entry.Pause(2 * time.Millisecond)
	}
	return func() { _ = unix.Close(fd) }, nil
}

// NamespaceID identifies the namespace that fd is a file of, or the network namespace of
// the process that it is a pidfd of; -1 stands for the calling thread's.
func NamespaceID(fd int) (string, error) {
	if fd < 0 {
		own, err := openHere()
		if err != nil {
			return "", err
		}
		defer func() { _ = unix.Close(own) }()
		fd = own
	} else if ns, err := unix.IoctlRetInt(fd, pidfdGetNet); err == nil {
		defer func() { _ = unix.Close(ns) }()
		fd = ns
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", fmt.Errorf("look at a network namespace: %w", err)
	}
	return fmt.Sprintf("%x:%d", st.Dev, st.Ino), nil
}

// pidfdGetNet is PIDFD_GET_NET_NAMESPACE of linux/pidfd.h (Linux 6.11). On an older kernel
// a process in the host's own namespace is found out later: the link's two ends would be
// in one.
const pidfdGetNet = 0xff04

// openHere opens the network namespace that the calling thread is in.
func openHere() (int, error) {
	const file = "/proc/thread-self/ns/net"
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", file, err)
	}
	return fd, nil
}
