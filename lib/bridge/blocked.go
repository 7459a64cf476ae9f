package bridge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ErrBlocked tells that another firewall drops what the host forwards. No rule of ours
// can change that: a packet that one table drops is gone.
var ErrBlocked = errors.New("drops what this host forwards")

// A blocker is a chain of another firewall that drops what is forwarded.
type blocker struct {
	family byte
	table  string
	chain  string // the one to put an exception in
	policy string // the one that drops
	whose  string
}

func (b blocker) String() string {
	return fmt.Sprintf("chain %s of nft table %s %s (%s)", b.policy, familyName(b.family), b.table, b.whose)
}

func familyName(family byte) string {
	return map[byte]string{unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6", unix.NFPROTO_INET: "inet"}[family]
}

// nftChain is a chain of any table.
type nftChain struct {
	family        byte
	table, name   string
	forward, drop bool
}

// allChains returns the chains of all tables but ours.
func (c *conn) allChains() ([]nftChain, error) {
	var all []nftChain
	req := message(unix.NFT_MSG_GETCHAIN, 0)
	req.Data[0].(*genmsg)[0] = unix.NFPROTO_UNSPEC
	err := c.dump(req, func() { all = nil }, func(body []byte) {
		if len(body) < 4 {
			return
		}
		a := attrs(body[4:])
		ch := nftChain{family: body[0], table: a.text(unix.NFTA_CHAIN_TABLE), name: a.text(unix.NFTA_CHAIN_NAME)}
		hook := attrs(a.get(unix.NFTA_CHAIN_HOOK)).get(unix.NFTA_HOOK_HOOKNUM)
		policy := a.get(unix.NFTA_CHAIN_POLICY)
		ch.forward = len(hook) == 4 && binary.BigEndian.Uint32(hook) == unix.NF_INET_FORWARD
		ch.drop = len(policy) == 4 && binary.BigEndian.Uint32(policy) == nfDrop
		if ch.table != tableName {
			all = append(all, ch)
		}
	})
	return all, err
}

// blockers finds the chains that drop what is forwarded.
func (c *conn) blockers() ([]blocker, error) {
	all, err := c.allChains()
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list nftables chains: %w", err)
	}
	has := func(of nftChain, name string) bool {
		return slices.ContainsFunc(all, func(c nftChain) bool {
			return c.family == of.family && c.table == of.table && c.name == name
		})
	}
	var found []blocker
	for _, ch := range all {
		switch ch.family {
		case unix.NFPROTO_IPV4, unix.NFPROTO_IPV6, unix.NFPROTO_INET:
		default:
			continue
		}
		b := blocker{ch.family, ch.table, ch.name, ch.name, "policy drop"}
		switch {
		case !ch.forward:
			continue
		case ch.table == "firewalld": // what no zone accepts is rejected by its last rule
			b.whose = "firewalld"
		case !ch.drop:
			continue
		case has(ch, "DOCKER-USER"):
			b.whose, b.chain = "docker: policy drop", "DOCKER-USER"
		case has(ch, "ufw-before-forward"), has(ch, "ufw6-before-forward"):
			b.whose = "ufw: policy drop"
		}
		found = append(found, b)
	}
	return found, nil
}

// blocked is the error for a bridge whose packets another firewall drops, nil if none does
// or if it has an exception already, or is to be given one.
func blocked(s Spec) error {
	c, err := dial(unix.NETLINK_NETFILTER)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil // the attempt to make rules will say so
	}
	if err != nil {
		return err
	}
	defer c.close()
	all, err := c.blockers()
	if err != nil || s.FixForward {
		return err
	}
	for _, b := range all {
		if ok, err := c.excepted(b, s.Name); err != nil {
			return err
		} else if !ok {
			return fmt.Errorf("%s %w", b, ErrBlocked)
		}
	}
	return nil
}

// unblock puts two rules first in each chain that drops what is forwarded: accept what
// comes from the bridge, and what goes to it. They are as iptables(8) writes them.
func (h *Host) unblock(bridge string) error {
	c, err := h.firewall()
	if err != nil {
		return err
	}
	defer c.close()
	all, err := c.blockers()
	if err != nil {
		return err
	}
	for _, b := range all {
		if ok, err := c.excepted(b, bridge); err != nil {
			return err
		} else if ok {
			continue
		}
		if err := c.transact(b.exception(bridge)); err != nil {
			return fmt.Errorf("add to %s: %w", b, err)
		}
	}
	return nil
}

// exception are the requests for those two rules.
func (b blocker) exception(bridge string) (reqs []*nl.NetlinkRequest) {
	for _, iface := range []int{unix.NFT_META_IIFNAME, unix.NFT_META_OIFNAME} {
		reqs = append(reqs, ofFamily(b.family, message(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE, // without APPEND: the first
			text(unix.NFTA_RULE_TABLE, b.table), text(unix.NFTA_RULE_CHAIN, b.chain),
			nested(unix.NFTA_RULE_EXPRESSIONS, meta(iface, 1), compare(unix.NFT_CMP_EQ, append([]byte(bridge), 0)),
				expr("counter", nl.NewRtAttr(unix.NFTA_COUNTER_BYTES, make([]byte, 8)), nl.NewRtAttr(unix.NFTA_COUNTER_PACKETS, make([]byte, 8))),
				verdict(nfAccept)))))
	}
	return reqs
}

// excepted tells whether a chain lets pass what comes from the bridge and goes to it.
func (c *conn) excepted(b blocker, bridge string) (bool, error) {
	seen := map[int]bool{}
	rules, err := c.rules(b.family, b.table, b.chain)
	for _, r := range rules {
		iface, name, accepts := 0, "", false
		attrs(r).each(func(_ int, e []byte) {
			data := attrs(attrs(e).get(unix.NFTA_EXPR_DATA))
			switch attrs(e).text(unix.NFTA_EXPR_NAME) {
			case "meta":
				if k := data.get(unix.NFTA_META_KEY); len(k) == 4 {
					iface = int(binary.BigEndian.Uint32(k))
				}
			case "cmp":
				name = unix.ByteSliceToString(attrs(data.get(unix.NFTA_CMP_DATA)).get(unix.NFTA_DATA_VALUE))
			case "immediate":
				v := attrs(attrs(data.get(unix.NFTA_IMMEDIATE_DATA)).get(unix.NFTA_DATA_VERDICT)).get(unix.NFTA_VERDICT_CODE)
				accepts = len(v) == 4 && binary.BigEndian.Uint32(v) == nfAccept
			}
		})
		if accepts && name == bridge {
			seen[iface] = true
		}
	}
	return seen[unix.NFT_META_IIFNAME] && seen[unix.NFT_META_OIFNAME], err
}

// rules returns the expressions of the rules of a chain; none where there is no such chain.
func (c *conn) rules(family byte, table, chain string) ([][]byte, error) {
	var all [][]byte
	req := ofFamily(family, message(unix.NFT_MSG_GETRULE, 0, text(unix.NFTA_RULE_TABLE, table), text(unix.NFTA_RULE_CHAIN, chain)))
	err := c.dump(req, func() { all = nil }, func(body []byte) {
		if len(body) < 4 {
			return
		}
		if a := attrs(body[4:]); a.text(unix.NFTA_RULE_CHAIN) == chain && a.text(unix.NFTA_RULE_TABLE) == table {
			all = append(all, slices.Clone(a.get(unix.NFTA_RULE_EXPRESSIONS)))
		}
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list nftables chain %s: %w", chain, err)
	}
	return all, nil
}

// ofFamily makes a request for another family's table than ours.
func ofFamily(family byte, r *nl.NetlinkRequest) *nl.NetlinkRequest {
	r.Data[0].(*genmsg)[0] = family
	return r
}
