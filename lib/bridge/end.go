package bridge

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// An End is the host's end of a link to a namespace: what can be known of a container
// without entering it.
type End struct {
	Link  string // its name, the lease
	Name  string // the container's, "" if it was given none
	Addrs []netip.Prefix

	index, master, peer int
}

// endMark begins the alias of an end, in which there stands what its name does not say.
const endMark = "netbr "

// maxAlias is the longest alias of a link (IFALIASZ).
const maxAlias = 255

// alias is the text that goes with the link.
func (e End) alias() string {
	name := e.Name
	if name == "" {
		name = "-"
	}
	var addrs []string
	for _, a := range e.Addrs {
		addrs = append(addrs, a.String())
	}
	return endMark + name + " " + strings.Join(addrs, ",")
}

// FitsAlias tells whether the addresses of one container can be remembered.
func FitsAlias(name string, extra []netip.Prefix) bool {
	const own = len("255.255.255.255/32,") + len("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128,")
	return len(End{Name: name, Addrs: extra}.alias())+own <= maxAlias
}

// readEnd reads a link: ok if it is the end of a link of ours.
func readEnd(l link) (e End, ok bool) {
	ip, ok := LeaseAddr(l.name)
	if !ok || l.master == 0 {
		return e, false
	}
	e = End{Link: l.name, index: l.index, master: l.master, peer: l.peer}
	if f := strings.Fields(l.alias); len(f) == 3 && f[0]+" " == endMark {
		if f[1] != "-" {
			e.Name = f[1]
		}
		for _, a := range strings.Split(f[2], ",") {
			if p, err := netip.ParsePrefix(a); err == nil {
				e.Addrs = append(e.Addrs, p)
			}
		}
	}
	if !e.has(ip) { // the alias was changed: the name is what counts
		e.Addrs = append([]netip.Prefix{netip.PrefixFrom(ip, 32)}, e.Addrs...)
	}
	return e, true
}

func (e End) has(ip netip.Addr) bool {
	return slices.ContainsFunc(e.Addrs, func(p netip.Prefix) bool { return p.Addr() == ip })
}

// is tells whether what names the end: its name, one of its addresses, or its link.
func (e End) is(what string) bool {
	ip, err := netip.ParseAddr(what)
	return what == e.Name || what == e.Link || err == nil && e.has(ip)
}

// ends returns the ends of all links that were made here.
func (h *Host) ends() ([]End, error) {
	links, err := h.links()
	var all []End
	for _, l := range links {
		if e, ok := readEnd(l); ok {
			all = append(all, e)
		}
	}
	return all, err
}

// EndsOf returns the ends that are ports of b.
func (h *Host) EndsOf(b *Bridge) ([]End, error) {
	all, err := h.ends()
	return slices.DeleteFunc(all, func(e End) bool { return e.master != b.Index }), err
}

// FindEnd returns the end that what names: a container's name or address, or the link's.
// ENOENT if there is none.
func (h *Host) FindEnd(what string) (End, error) {
	ends, err := h.ends()
	if err != nil {
		return End{}, err
	}
	for _, e := range ends {
		if e.is(what) {
			return e, nil
		}
	}
	return End{}, unix.ENOENT
}

// EndHere returns the end whose other end is in the network namespace that the calling
// thread is in now; ENOENT if there is none.
func (h *Host) EndHere() (End, error) {
	inside, err := Open()
	if err != nil {
		return End{}, err
	}
	defer inside.Close()
	links, err := inside.links()
	if err != nil {
		return End{}, err
	}
	ends, err := h.ends()
	if err != nil {
		return End{}, err
	}
	for _, l := range links {
		if l.kind != "veth" {
			continue
		}
		for _, e := range ends {
			// Numbers of links are of use within one namespace only: both must agree.
			if e.index == l.peer && e.peer == l.index {
				return e, nil
			}
		}
	}
	return End{}, unix.ENOENT
}

// BridgeOf returns the bridge that an end is a port of.
func (h *Host) BridgeOf(e End) (*Bridge, error) {
	var l link
	err := h.conn.get(linkAt(e.master), func(body []byte) { l = readLink(body) })
	if err != nil {
		return nil, fmt.Errorf("find the bridge of %s: %w", e.Link, err)
	}
	return h.bridge(l)
}

// Hairpin lets what the namespace at the far end sends to a port that is published for it
// come back to it.
func (h *Host) Hairpin(e End) error {
	req := portOptions(Request{Name: e.Name, Hairpin: true}, Lease{Host: e.Link, Addr: e.Addrs[0], Extra: e.Addrs[1:]})
	if err := h.conn.do(req); err != nil {
		return fmt.Errorf("set options of port %s: %w", e.Link, err)
	}
	return nil
}

// Cut removes the link.
func (h *Host) Cut(e End) error {
	if err := h.conn.do(delLink(e.index)); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove link %s: %w", e.Link, err)
	}
	return nil
}

// who names the container with an address, for an error.
func (h *Host) who(ip netip.Addr) string {
	ends, _ := h.ends() // else the address must do
	for _, e := range ends {
		if e.has(ip) && e.Name != "" {
			return e.Name + " (" + ip.String() + ")"
		} else if e.has(ip) {
			return e.Link
		}
	}
	return leaseName(ip) // it may be somebody else's link
}
