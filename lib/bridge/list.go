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
	NAT bool
	// Leases are the addresses that namespaces on it have, in order.
	Leases []netip.Addr
}

// List returns the bridges that were made here, and any other that a namespace was
// wired to, in the order in which they were made. An error with a list means that who
// asks may not see the rules (EPERM): NAT says nothing then.
func (h *Host) List() ([]Entry, error) {
	links, err := h.links()
	if err != nil {
		return nil, err
	}
	leases := map[int][]netip.Addr{}
	for _, l := range links {
		if ip, ok := LeaseAddr(l.name); ok && l.master != 0 {
			leases[l.master] = append(leases[l.master], ip)
		}
	}
	nat, natErr := natted()
	if natErr != nil && !errors.Is(natErr, unix.EPERM) && !errors.Is(natErr, unix.EPROTONOSUPPORT) {
		return nil, natErr
	}
	var list []Entry
	for _, l := range links {
		if l.kind != "bridge" || l.alias != mark && leases[l.index] == nil {
			continue
		}
		addrs, err := h.addrs(l.index)
		if errors.Is(err, unix.ENODEV) {
			continue // gone since
		}
		if err != nil {
			return nil, err
		}
		e := Entry{Bridge: Bridge{Name: l.name, Index: l.index, MTU: l.mtu, Addrs: addrs, Ours: l.alias == mark, up: l.up}, Leases: leases[l.index]}
		e.NAT = slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return nat[p.Masked().Addr()] })
		slices.SortFunc(e.Leases, netip.Addr.Compare)
		list = append(list, e)
	}
	if errors.Is(natErr, unix.EPERM) {
		return list, natErr
	}
	return list, nil
}
