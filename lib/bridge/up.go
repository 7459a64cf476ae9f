package bridge

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A Spec is what a bridge is to be.
type Spec struct {
	Name string
	// Addr is the address of the bridge; the zero Prefix for the one that it has, or
	// for one in a private subnet that is free on this host.
	Addr netip.Prefix
	// NAT lets its containers reach what the host can reach, with the host's address.
	NAT bool
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
	return h.up(s, true)
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
	if len(b.Addrs) > 0 && s.Addr.IsValid() && s.Addr != b.Addrs[0] {
		return nil, fmt.Errorf("bridge %s %w: %s", s.Name, ErrAddr, b.Addrs[0])
	}
	mtu := 0
	if len(b.Addrs) == 0 {
		if s.Addr, mtu, err = h.place(s.Addr, b.Index); err != nil {
			return nil, err
		}
	} else {
		s.Addr = b.Addrs[0]
	}
	if missing {
		if err := h.make(s, mtu); err != nil {
			return nil, err
		}
	}
	if b, err = h.finish(s, missing); err != nil && missing {
		// No one can have used it yet: whoever finds it without rules waits for the lock.
		h.remove(s.Name)
	}
	return b, err
}

// finish gives the bridge that is there what it lacks.
func (h *Host) finish(s Spec, made bool) (*Bridge, error) {
	b, err := h.Find(s.Name)
	if err != nil {
		return nil, err
	}
	b.Made = made
	// The rules come first: with an address and up, a bridge is taken to be ready.
	if err := permit(s); err != nil {
		return nil, err
	}
	if s.NAT {
		if err := forward(); err != nil {
			return nil, err
		}
	}
	if len(b.Addrs) == 0 {
		if err := h.conn.do(addAddr(b.Index, s.Addr)); err != nil {
			return nil, fmt.Errorf("add address %s to bridge %s: %w", s.Addr, s.Name, err)
		}
		b.Addrs = []netip.Prefix{s.Addr}
	}
	if !b.up {
		if err := h.conn.do(setUp(b.Index)); err != nil {
			return nil, fmt.Errorf("bring up bridge %s: %w", s.Name, err)
		}
		b.up = true
	}
	return b, nil
}

// place finds the address for a bridge without one, or checks the one that it is to
// have, and the MTU: that of the link which leads out of this host, since a larger
// packet would be lost there.
func (h *Host) place(want netip.Prefix, index int) (addr netip.Prefix, mtu int, err error) {
	known, uplink, err := h.networks()
	if err != nil {
		return want, 0, err
	}
	if want.IsValid() {
		if err := checkOverlap(want, known, index); err != nil {
			return want, 0, err
		}
	} else {
		taken := make([]netip.Prefix, len(known))
		for i, n := range known {
			taken[i] = n.Prefix
		}
		if want, err = FreeSubnet(taken); err != nil {
			return want, 0, err
		}
	}
	if uplink != 0 {
		msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
		msg.Index = int32(uplink)
		// Without an answer the bridge has the usual MTU.
		_ = h.conn.get(request(unix.RTM_GETLINK, 0, msg, skipStats()), func(body []byte) { mtu = readLink(body).mtu })
	}
	return want, mtu, nil
}

// make makes the bridge's link. It is given a hardware address: without one it has the
// lowest of its ports', which changes when they come and go, and neighbours lose it.
func (h *Host) make(s Spec, mtu int) error {
	inside, _ := hardware(s.Addr.Addr())
	data := []nl.NetlinkRequestData{
		nl.NewIfInfomsg(unix.AF_UNSPEC), text(unix.IFLA_IFNAME, s.Name), nl.NewRtAttr(unix.IFLA_ADDRESS, inside),
		nest(unix.IFLA_LINKINFO, text(unix.IFLA_INFO_KIND, "bridge")),
	}
	if mtu >= 1280 && mtu < 1500 {
		data = append(data, number(unix.IFLA_MTU, mtu))
	}
	named := nl.NewIfInfomsg(unix.AF_UNSPEC)
	err := h.conn.do(
		request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, data...),
		request(unix.RTM_SETLINK, 0, named, text(unix.IFLA_IFNAME, s.Name), nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(mark))))
	if err != nil {
		return fmt.Errorf("make bridge %s: %w", s.Name, err)
	}
	return nil
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
		pause(2 * time.Millisecond)
	}
	return func() { _ = unix.Close(fd) }, nil
}

// pause sleeps. time.Sleep would start the runtime's poller: see conn.
func pause(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&t, nil) // woken early, the caller looks again early
}

// openHere opens the network namespace that the calling thread is in.
func openHere() (int, error) {
	const file = "/proc/thread-self/ns/net"
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", file, err)
	}
	return fd, nil
}

// forward makes the host a router (ip_forward in the kernel's ip-sysctl). It is
// written only where it differs: /proc/sys may be read-only, with all that is needed
// in force.
func forward() error {
	const file = "/proc/sys/net/ipv4/ip_forward"
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", file, err)
	}
	defer func() { _ = unix.Close(fd) }()
	var b [1]byte
	if n, err := unix.Read(fd, b[:]); err == nil && n == 1 && b[0] == '1' {
		return nil
	}
	w, err := unix.Open(file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(w, []byte("1"))
		_ = unix.Close(w)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}
