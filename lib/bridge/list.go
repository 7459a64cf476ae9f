package bridge

import (
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// An Entry is one bridge in a list.
type Entry struct {
	Bridge
	NAT  bool
	Open bool // lets containers of other open bridges in: not isolated
	// Ends are the links of the namespaces on it, in the order of their addresses.
	Ends []End
	// Published are the ports that are published for them.
	Published []Mapping
}

// All are the bridge's addresses of both kinds.
func (e Entry) All() []netip.Prefix { return e.all() }

// PublishedFor are the ports published for one of the ends.
func (e Entry) PublishedFor(end End) []Mapping {
	var some []Mapping
	for _, m := range e.Published {
		if end.has(m.To.Addr()) {
			some = append(some, m)
		}
	}
	return some
}

// List returns the bridges that were made here, and any other that a namespace was
// wired to, in the order in which they were made. An error with a list means that who
// asks may not see the rules (EPERM): NAT, Open and Published say nothing then.
func (h *Host) List() ([]Entry, error) {
	links, err := h.links()
	if err != nil {
		return nil, err
	}
	ends := map[int][]End{}
	for _, l := range links {
		if e, ok := readEnd(l); ok {
			ends[l.master] = append(ends[l.master], e)
		}
	}
	rules, published, rulesErr := readRules()
	if rulesErr != nil && !errors.Is(rulesErr, unix.EPERM) && !errors.Is(rulesErr, unix.EPROTONOSUPPORT) {
		return nil, rulesErr
	}
	var list []Entry
	for _, l := range links {
		if l.kind != "bridge" {
			continue
		}
		b, err := h.bridge(l)
		if errors.Is(err, unix.ENODEV) {
			continue // gone since
		}
		if err != nil {
			return nil, err
		}
		if !b.Ours && ends[l.index] == nil {
			continue
		}
		e := Entry{Bridge: *b, Ends: ends[l.index], NAT: rules.natted(b.all()), Open: rules.open[b.Name]}
		for _, m := range published {
			if slices.ContainsFunc(b.all(), func(p netip.Prefix) bool { return p.Contains(m.To.Addr()) }) {
				e.Published = append(e.Published, m)
			}
		}
		slices.SortFunc(e.Ends, func(a, b End) int { return a.Addrs[0].Addr().Compare(b.Addrs[0].Addr()) })
		list = append(list, e)
	}
	if errors.Is(rulesErr, unix.EPERM) {
		return list, rulesErr
	}
	return list, nil
}

func readRules() (s standing, published []Mapping, err error) {
	c, err := dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return s, nil, err
	}
	defer c.close()
	if s, err = c.standing(); err == nil {
		published, err = c.published()
	}
	return s, published, err
}
