package bridge

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Check finds what a bridge lacks, of what [Host.Up] gives it, for its containers to
// reach what they should: a line for each missing thing.
func (h *Host) Check(name string) (missing []string, err error) {
	say := func(format string, args ...any) { missing = append(missing, fmt.Sprintf(format, args...)) }
	b, err := h.Find(name)
	switch {
	case errors.Is(err, unix.ENODEV):
		return []string{fmt.Sprintf("there is no bridge %s", name)}, nil
	case err != nil:
		return nil, err
	}
	if !b.up {
		say("bridge %s is down", name)
	}
	if len(b.Addrs) == 0 {
		say("bridge %s has no IPv4 address", name)
	}
	c, err := dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("set up nftables: %w", err)
	}
	defer c.close()
	rules, err := c.shape()
	if err != nil {
		return nil, err
	}
	if rules != "" {
		say("%s", rules)
		return missing, nil // what would be in its sets need not be said
	}
	lacking, nat, err := c.lacking(b)
	if err != nil {
		return nil, err
	}
	for _, set := range lacking {
		say("bridge %s is not in set %s of nft table inet %s", name, set, tableName)
	}
	if nat {
		missing = append(missing, h.forwardLacks(b)...)
		if err := blocked(Spec{Name: name}); errors.Is(err, ErrBlocked) {
			say("%v", err)
		} else if err != nil {
			return nil, err
		}
		if legacyTables() {
			say("rules of the old iptables are loaded, which may drop what is forwarded: see iptables-legacy -S FORWARD")
		}
	}
	localhost, err := h.localhostPublished(c, b)
	if localhost && readSysctl(localhostSysctl(name)) != "1" {
		say("%s%s is not 1: ports published on 127.0.0.1 do not work", procSys, localhostSysctl(name))
	}
	return missing, err
}

// lacking are the sets that a bridge should be in and is not. nat tells whether one of its
// subnets is behind NAT: then all are to be.
func (c *conn) lacking(b *Bridge) (sets []string, nat bool, err error) {
	s, err := c.standing()
	if err != nil {
		return nil, false, err
	}
	nat = s.natted(b.all())
	want, _ := memberships(Spec{Name: b.Name, Addrs: b.all(), NAT: nat, Internal: b.Internal})
	present := map[string][][]byte{}
	for _, m := range want {
		if _, ok := present[m.set]; !ok {
			if present[m.set], err = c.members(m.set); err != nil {
				return nil, nat, err
			}
		}
		if !slices.ContainsFunc(present[m.set], func(k []byte) bool { return slices.Equal(k, elementKey(m.elems[0])) }) {
			sets = append(sets, m.set)
		}
	}
	return sets, nat, nil
}

// shape tells how the table differs from what it should be, "" if it does not.
func (c *conn) shape() (string, error) {
	table := "nft table inet " + tableName
	for _, chain := range chains() {
		rules, err := c.rules(unix.NFPROTO_INET, tableName, chain.name)
		if err != nil {
			return "", err
		}
		if len(rules) == 0 {
			return fmt.Sprintf("chain %s of %s is missing, or empty", chain.name, table), nil
		}
		if len(rules) != len(chain.rules) {
			return fmt.Sprintf("chain %s of %s has %d rules, not %d", chain.name, table, len(rules), len(chain.rules)), nil
		}
		for i, r := range rules {
			var got, want []string
			attrs(r).each(func(_ int, e []byte) { got = append(got, attrs(e).text(unix.NFTA_EXPR_NAME)) })
			for _, e := range chain.rules[i] {
				want = append(want, attrs(e.Serialize()[unix.SizeofRtAttr:]).text(unix.NFTA_EXPR_NAME))
			}
			if !slices.Equal(got, want) {
				return fmt.Sprintf("rule %d in chain %s of %s has been changed", i+1, chain.name, table), nil
			}
		}
	}
	return "", nil
}

// forwardLacks says what keeps the host from being a router for b.
func (h *Host) forwardLacks(b *Bridge) (missing []string) {
	if readSysctl("net/ipv4/ip_forward") != "1" {
		missing = append(missing, procSys+"net/ipv4/ip_forward is not 1")
	}
	if len(b.Addrs6) > 0 && readSysctl(forwarding6) != "1" {
		if _, uplink, err := h.networks(unix.AF_INET6); err == nil && uplink != 0 {
			missing = append(missing, procSys+forwarding6+" is not 1")
		}
	}
	return missing
}

// localhostPublished tells whether a port is published on 127.0.0.1, or everywhere, for a
// container of b.
func (h *Host) localhostPublished(c *conn, b *Bridge) (bool, error) {
	all, err := c.published()
	return slices.ContainsFunc(all, func(m Mapping) bool {
		return m.To.Addr().Is4() && (!m.Addr.IsValid() || m.Addr.IsLoopback()) &&
			slices.ContainsFunc(b.Addrs, func(p netip.Prefix) bool { return p.Contains(m.To.Addr()) })
	}), err
}
