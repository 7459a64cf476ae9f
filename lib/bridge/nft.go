package bridge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The rules: one table, of a fixed shape, in which sets name our bridges. A bridge is
// an element in each set, a container is nothing at all, so wiring one costs no change
// of rules. As nft(8) writes it:
//
//	table inet netbr {
//		set br { type ifname; }             # our bridges
//		set same { type ifname . ifname; }  # each with itself
//		set nat4 { type ipv4_addr; flags interval; }
//		chain post {
//			type nat hook postrouting priority srcnat; policy accept;
//			ip saddr @nat4 oifname != @br masquerade
//		}
//		chain forw {
//			type filter hook forward priority filter; policy accept;
//			ct state established,related accept
//			iifname @br oifname @br iifname . oifname != @same drop
//		}
//	}
const (
	tableName = "netbr"
	setBr     = "br"
	setSame   = "same"
	setNat4   = "nat4"
	chainPost = "post"
	chainForw = "forw"
)

// permit brings the table to the shape above, whatever it was, with s's bridge in it,
// in one transaction.
func permit(s Spec) error {
	c, err := dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("set up nftables: %w", err)
	}
	defer c.close()
	reqs := table()
	reqs = append(reqs, elements(unix.NFT_MSG_NEWSETELEM, setBr, ifname(s.Name)), elements(unix.NFT_MSG_NEWSETELEM, setSame, pair(s.Name)))
	if s.NAT {
		reqs = append(reqs, elements(unix.NFT_MSG_NEWSETELEM, setNat4, interval(s.Addr)...))
	}
	if err := c.transact(reqs); err != nil {
		return fmt.Errorf("set up nftables: %w", err)
	}
	if !s.NAT {
		return c.forget(setNat4, interval(s.Addr)...)
	}
	return nil
}

// forbid takes a bridge out of the table, and removes the table with the last one.
func forbid(name string, subnets []netip.Prefix) error {
	c, err := dial(unix.NETLINK_NETFILTER)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil // no nftables, no table
	}
	if err != nil {
		return err
	}
	defer c.close()
	for _, p := range subnets {
		if err := c.forget(setNat4, interval(p)...); err != nil {
			return err
		}
	}
	if err := c.forget(setSame, pair(name)); err != nil {
		return err
	}
	if err := c.forget(setBr, ifname(name)); err != nil {
		return err
	}
	left, err := c.members(setBr)
	if err != nil || len(left) > 0 {
		return err
	}
	if err := c.transact([]*nl.NetlinkRequest{message(unix.NFT_MSG_DELTABLE, 0, text(unix.NFTA_TABLE_NAME, tableName))}); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove nftables table %s: %w", tableName, err)
	}
	return nil
}

// forget removes elements that may not be there.
func (c *conn) forget(set string, elems ...*nl.RtAttr) error {
	err := c.transact([]*nl.NetlinkRequest{elements(unix.NFT_MSG_DELSETELEM, set, elems...)})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove from nftables set %s: %w", set, err)
	}
	return nil
}

// members returns the keys of a set, of an interval its first; none where there is no
// such set.
func (c *conn) members(set string) ([][]byte, error) {
	var keys [][]byte
	req := message(unix.NFT_MSG_GETSETELEM, 0, text(unix.NFTA_SET_ELEM_LIST_TABLE, tableName), text(unix.NFTA_SET_ELEM_LIST_SET, set))
	err := c.dump(req, func() { keys = nil }, func(body []byte) {
		if len(body) < 4 {
			return
		}
		attrs(attrs(body[4:]).get(unix.NFTA_SET_ELEM_LIST_ELEMENTS)).each(func(_ int, elem []byte) {
			if f := attrs(elem).get(unix.NFTA_SET_ELEM_FLAGS); len(f) == 4 && f[3]&unix.NFT_SET_ELEM_INTERVAL_END != 0 {
				return // behind an interval, and perhaps the first of one without NAT
			}
			key := attrs(attrs(elem).get(unix.NFTA_SET_ELEM_KEY)).get(unix.NFTA_DATA_VALUE)
			keys = append(keys, append([]byte(nil), key...))
		})
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list nftables set %s: %w", set, err)
	}
	return keys, nil
}

// natted returns the first address of each subnet with NAT.
func natted() (map[netip.Addr]bool, error) {
	c, err := dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	defer c.close()
	keys, err := c.members(setNat4)
	m := map[netip.Addr]bool{}
	for _, k := range keys {
		if ip, ok := netip.AddrFromSlice(k); ok {
			m[ip] = true
		}
	}
	return m, err
}

// NAT tells whether b's subnets are masqueraded.
func (b *Bridge) NAT() (bool, error) {
	nat, err := natted()
	return slices.ContainsFunc(b.Addrs, func(p netip.Prefix) bool { return nat[p.Masked().Addr()] }), err
}

// transact has the kernel take all requests or none (nfnetlink batches).
func (c *conn) transact(reqs []*nl.NetlinkRequest) error {
	// The acknowledgement of the last request comes when all have been committed.
	reqs[len(reqs)-1].Flags |= unix.NLM_F_ACK
	limit := func(kind int) *nl.NetlinkRequest {
		r := nl.NewNetlinkRequest(kind, 0)
		r.AddRawData([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES})
		return r
	}
	begin, end := limit(unix.NFNL_MSG_BATCH_BEGIN), limit(unix.NFNL_MSG_BATCH_END)
	all := append(append([]*nl.NetlinkRequest{begin}, reqs...), end)
	begin.Seq, end.Seq = reqs[0].Seq, reqs[len(reqs)-1].Seq // what comes back is about the requests
	return c.exchange(all, nil)
}

// message is one nftables request of family inet.
func message(kind, flags int, data ...nl.NetlinkRequestData) *nl.NetlinkRequest {
	header := genmsg{unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0}
	return request(unix.NFNL_SUBSYS_NFTABLES<<8|kind, flags, append([]nl.NetlinkRequestData{&header}, data...)...)
}

// genmsg is struct nfgenmsg: family, version, resource id.
type genmsg [4]byte

func (g *genmsg) Len() int          { return len(g) }
func (g *genmsg) Serialize() []byte { return g[:] }

func elements(kind int, set string, elems ...*nl.RtAttr) *nl.NetlinkRequest {
	list := nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	for _, e := range elems {
		list.AddChild(e)
	}
	return message(kind, unix.NLM_F_CREATE, text(unix.NFTA_SET_ELEM_LIST_TABLE, tableName), text(unix.NFTA_SET_ELEM_LIST_SET, set), list)
}

func element(key []byte, flags int) *nl.RtAttr {
	e := nested(unix.NFTA_LIST_ELEM, nested(unix.NFTA_SET_ELEM_KEY, nl.NewRtAttr(unix.NFTA_DATA_VALUE, key)))
	if flags != 0 {
		e.AddChild(big(unix.NFTA_SET_ELEM_FLAGS, flags))
	}
	return e
}

// key is a link's name as sets of type ifname have it.
func key(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func ifname(name string) *nl.RtAttr { return element(key(name), 0) }
func pair(name string) *nl.RtAttr   { return element(append(key(name), key(name)...), 0) }

// interval is p's subnet: its first address, and the first behind it.
func interval(p netip.Prefix) []*nl.RtAttr {
	return []*nl.RtAttr{
		element(p.Masked().Addr().AsSlice(), 0),
		element(last(p).Next().AsSlice(), unix.NFT_SET_ELEM_INTERVAL_END),
	}
}

// big is a number as nftables wants it, in network byte order.
func big(kind, v int) *nl.RtAttr {
	return nl.NewRtAttr(kind, binary.BigEndian.AppendUint32(nil, uint32(v)))
}

func nested(kind int, children ...nl.NetlinkRequestData) *nl.RtAttr {
	return nest(kind|unix.NLA_F_NESTED, children...)
}
