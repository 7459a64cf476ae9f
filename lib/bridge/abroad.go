package bridge

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// A process in a user namespace has no power over the network of the host that it came
// from. So where the network namespace is made in one, a helper that stayed outside makes
// the link (see entry.Helper), and the process configures its end of it.

// Abroad are the leases that are tried, one after the other: another process may take an
// address at any time before the link is made.
type Abroad struct {
	bridge  *Bridge
	request Request
	leases  []Lease
	index   int       // of the host's end, at the first attempt
	called  linkNames // in the namespace that is being asked
}

// attempts is how many addresses are tried.
const attempts = 4

// Plan finds addresses for a link that will be made later: the one asked for, or some that
// are free now.
func (h *Host) Plan(b *Bridge, r Request) (*Abroad, error) {
	// Far beyond those that the kernel gives, and another's only in the same instant.
	a := &Abroad{bridge: b, request: r, index: 1<<24 + unix.Getpid()*attempts}
	if r.Addr.IsValid() {
		p, err := b.CheckAddr(r.Addr, 0)
		a.leases = []Lease{b.lease(r, r.Addr, p)}
		return a, err
	}
	ends, err := h.ends()
	if err != nil {
		return nil, err
	}
	for _, p := range b.Addrs {
		b.candidates(p, uint32(unix.Getpid()), func(ip netip.Addr) bool {
			if !slices.ContainsFunc(ends, func(e End) bool { return e.has(ip) }) {
				a.leases = append(a.leases, b.lease(r, ip, p))
			}
			return len(a.leases) == attempts
		})
	}
	if len(a.leases) == 0 {
		return nil, fmt.Errorf("%w in %s of %s", ErrFull, b.Addrs[0].Masked(), b.Name)
	}
	return a, nil
}

// The far end has an index that tells which attempt it was: no namespace that is new has
// that many links. The namespace's file has a number by which a message can name it.
const (
	firstIndex = 1000
	nsFD       = 250
)

// ask sends requests as one message, and has then written for what comes back: room that
// ends with the errno of the last of them, negative, and before it of each other one that
// failed.
func (a *Abroad) ask(b *entry.Builder, what string, socket entry.Reg, reqs ...*nl.NetlinkRequest) answer {
	reqs[len(reqs)-1].Flags |= unix.NLM_F_ACK
	return a.askOne(b, what, socket, reqs...)
}

// askOne is ask without a word from the kernel that all is done.
func (a *Abroad) askOne(b *entry.Builder, what string, socket entry.Reg, reqs ...*nl.NetlinkRequest) answer {
	msgs := serialize(reqs)
	if b.Traces() {
		for _, m := range telling(a.called, msgs) {
			b.Tell(m.String())
		}
	}
	msg := joined(msgs)
	b.Want(what, uintptr(len(msg)), unix.SYS_SENDTO, socket, msg, len(msg), 0, 0, 0)
	got := answer{&entry.Buffer{Size: 512}}
	b.Do(what, unix.SYS_RECVFROM, socket, got.Buffer, got.Size, 0, 0, 0)
	return got
}

// An answer is what the kernel says first: of the request that failed first, or that all
// is done. A socket is asked for one thing after an error no more.
type answer struct{ *entry.Buffer }

// is has then written for one errno, 0 for none, and otherwise for any other.
func (a answer) is(b *entry.Builder, what string, errno unix.Errno, then, otherwise func()) {
	const low32 = 1<<32 - 1
	b.IfEqual(what, entry.Field{Buffer: a.Buffer, Offset: unix.NLMSG_HDRLEN}, uintptr(uint32(-int32(errno))), low32, then, otherwise)
}

// must has the program fail unless the answer is that all is done: with one of errnos, if
// it is that, else with EIO.
func (a answer) must(b *entry.Builder, what string, errnos ...unix.Errno) {
	done := func() {}
	a.is(b, what, 0, done, func() { a.fail(b, what, errnos) })
}

// mustUnless is must for a request of IPv6, which the namespace may be told to do without
// (net.ipv6.conf.all.disable_ipv6), unless it was asked for.
func (a answer) mustUnless(b *entry.Builder, what string, explicit bool) {
	without := []unix.Errno{unix.EACCES, unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.ENODEV, unix.ENETUNREACH}
	if explicit {
		without = nil
	}
	a.is(b, what, 0, func() {}, func() { a.unless(b, what, without) })
}

func (a answer) unless(b *entry.Builder, what string, errnos []unix.Errno) {
	if len(errnos) == 0 {
		b.Fail(what, unix.EIO)
		return
	}
	a.is(b, what, errnos[0], func() {}, func() { a.unless(b, what, errnos[1:]) })
}

func (a answer) fail(b *entry.Builder, what string, errnos []unix.Errno) {
	if len(errnos) == 0 {
		b.Fail(what, unix.EIO)
		return
	}
	a.is(b, what, errnos[0], func() { b.Fail(what, errnos[0]) }, func() { a.fail(b, what, errnos[1:]) })
}

// Wire makes the link, in the helper: to the network namespace of the process that asks.
func (a *Abroad) Wire(b *entry.Builder, h *entry.Helper) {
	what := "make a link to bridge " + a.bridge.Name
	a.called = linkNames{a.bridge.Index: a.bridge.Name}
	b.Outside(h, what, func() {
		ns := b.Get(what, unix.SYS_OPENAT, unix.AT_FDCWD, b.Format("/proc/", h.Target, "/ns/net"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		b.Do(what, unix.SYS_DUP3, ns, nsFD, unix.O_CLOEXEC)
		b.Close(ns)
		socket := b.Get(what, unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		a.attempt(b, what, socket, 0)
		b.Close(socket)
		b.Do(what, unix.SYS_CLOSE, nsFD)
	})
}

func (a *Abroad) attempt(b *entry.Builder, what string, socket entry.Reg, i int) {
	l := a.leases[i]
	made := a.ask(b, what, socket, pairRequest(a.bridge, a.request, l, a.index+i, firstIndex+i, number(unix.IFLA_NET_NS_FD, nsFD)))
	made.is(b, what, 0, func() { a.dress(b, socket, l) }, func() {
		if i+1 == len(a.leases) {
			made.fail(b, what, []unix.Errno{unix.EEXIST, unix.EBUSY, unix.EXFULL, unix.EPERM})
			return
		}
		made.is(b, what, unix.EEXIST, func() { a.attempt(b, what, socket, i+1) }, func() {
			made.fail(b, what, []unix.Errno{unix.EXFULL, unix.EPERM})
		})
	})
}

// dress is what Host.dress does, as far as it does not take the index of the link.
func (a *Abroad) dress(b *entry.Builder, socket entry.Reg, l Lease) {
	for _, e := range l.further() {
		a.ask(b, "name link "+l.Host, socket, alsoCalled(l.Host, leaseName(e.Addr()))).must(b, "take "+e.Addr().String(), unix.EEXIST)
	}
	if a.request.Name != "" {
		a.ask(b, "name link "+l.Host, socket, alsoCalled(l.Host, nameOf(a.request.Name))).must(b, "take the name "+a.request.Name, unix.EEXIST)
	}
	what := "set options of port " + l.Host
	a.ask(b, what, socket, portOptions(a.request, l)).must(b, what)
}

// Configure gives the process's end its addresses and routes. Which attempt it was, its
// index tells. Then the helper sees to it that the link works, as far as [Host.Await] does
// without waiting.
func (a *Abroad) Configure(b *entry.Builder, h *entry.Helper) {
	what := "find " + a.leases[0].Ifname
	a.called = linkNames{}
	for i, l := range a.leases {
		a.called[firstIndex+i] = l.Ifname
	}
	socket := b.Get(what, unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	a.configure(b, h, what, socket, 0)
	b.Close(socket)
}

func (a *Abroad) configure(b *entry.Builder, h *entry.Helper, find string, socket entry.Reg, i int) {
	if i == len(a.leases) {
		b.Fail(find, unix.ENODEV)
		return
	}
	l, index := a.leases[i], firstIndex+i
	// What comes back of a link that is there is no error, and has no such number there.
	there := a.askOne(b, find, socket, linkAt(index))
	there.is(b, find, unix.ENODEV, func() { a.configure(b, h, find, socket, i+1) }, func() {
		what := fmt.Sprintf("configure %s %s", l.Ifname, l.Addr)
		gateway6 := l.Gateway6
		l.Gateway6 = netip.Addr{}
		six := configure6(l, index)
		if six != nil {
			a.ask(b, what, socket, six...).mustUnless(b, what, l.explicit6)
		}
		a.ask(b, what, socket, configure4(l, index)...).must(b, what, unix.EEXIST, unix.EPERM)
		if six != nil && gateway6.IsValid() {
			a.ask(b, what, socket, defaultRoute(index, gateway6)).mustUnless(b, what, l.explicit6)
		}
		b.Outside(h, what, func() {
			outside := b.Get(what, unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
			for _, asked := range []int{a.index + i, a.bridge.Index} {
				a.askOne(b, what, outside, linkAt(asked))
			}
			b.Close(outside)
		})
	})
}
