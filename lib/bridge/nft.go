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

// permit brings the table to its shape, whatever it was, with s's bridge in it, in one
// transaction; then it takes out what s no longer says.
func (h *Host) permit(s Spec) error {
	c, err := h.firewall()
	if err != nil {
		return fmt.Errorf("set up nftables: %w", err)
	}
	defer c.close()
	reqs, unwanted := permission(s)
	if err := c.transact(reqs); err != nil {
		return fmt.Errorf("set up nftables: %w", err)
	}
	for _, m := range unwanted {
		if err := c.forget(m.set, m.elems...); err != nil {
			return err
		}
	}
	return nil
}

// permission are the requests that permit a bridge what s says, and what else it may
// still be permitted.
func permission(s Spec) (reqs []*nl.NetlinkRequest, unwanted []membership) {
	reqs = table()
	wanted, unwanted := memberships(s)
	for _, m := range wanted {
		reqs = append(reqs, elements(unix.NFT_MSG_NEWSETELEM, m.set, m.elems...))
	}
	return reqs, unwanted
}

// firewall opens the rules of the calling thread's namespace, to be told of as this one is.
func (h *Host) firewall() (*conn, error) {
	c, err := dial(unix.NETLINK_NETFILTER)
	if err == nil {
		c.tell = h.conn.tell
	}
	return c, err
}

// A membership is what of a bridge is in a set.
type membership struct {
	set   string
	elems []*nl.RtAttr
}

// memberships are the sets that a bridge is to be in, and those that it is not.
func memberships(s Spec) (in, out []membership) {
	put := func(is bool, set string, elems ...*nl.RtAttr) {
		if is {
			in = append(in, membership{set, elems})
		} else {
			out = append(out, membership{set, elems})
		}
	}
	put(true, setBr, ifname(s.Name))
	put(true, setSame, pair(s.Name))
	put(s.Open, setOpen, ifname(s.Name))
	put(s.Internal, setClosed, ifname(s.Name))
	for _, p := range s.Addrs {
		sub, nat := setSub4, setNat4
		if p.Addr().Is6() {
			sub, nat = setSub6, setNat6
		}
		put(true, sub, interval(p)...)
		put(s.NAT, nat, interval(p)...)
	}
	return in, out
}

// forbid takes a bridge out of the table, with what is published on it, and removes the
// table with the last one.
func (h *Host) forbid(name string, subnets []netip.Prefix) error {
	c, err := h.firewall()
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil // no nftables, no table
	}
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.withdraw(func(m Mapping) bool {
		return slices.ContainsFunc(subnets, func(p netip.Prefix) bool { return p.Contains(m.To.Addr()) })
	}); err != nil {
		return err
	}
	// The set br comes last: it tells whether the table is still of use.
	in, out := memberships(Spec{Name: name, Addrs: subnets})
	all := append(out, in...)
	slices.Reverse(all)
	for _, m := range all {
		if err := c.forget(m.set, m.elems...); err != nil {
			return err
		}
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

// An item is an element of a set, and what a map has for it.
type item struct{ key, data []byte }

func readItem(elem attrs) item {
	value := func(kind int) []byte {
		return slices.Clone(attrs(elem.get(kind)).get(unix.NFTA_DATA_VALUE))
	}
	return item{value(unix.NFTA_SET_ELEM_KEY), value(unix.NFTA_SET_ELEM_DATA)}
}

// endsInterval tells of an element that it is what is behind an interval.
func endsInterval(elem attrs) bool {
	f := elem.get(unix.NFTA_SET_ELEM_FLAGS)
	return len(f) == 4 && f[3]&unix.NFT_SET_ELEM_INTERVAL_END != 0
}

// items returns the elements of a set or a map, of an interval its first; none where
// there is no such set.
func (c *conn) items(set string) ([]item, error) {
	var all []item
	req := message(unix.NFT_MSG_GETSETELEM, 0, text(unix.NFTA_SET_ELEM_LIST_TABLE, tableName), text(unix.NFTA_SET_ELEM_LIST_SET, set))
	err := c.dump(req, func() { all = nil }, func(body []byte) {
		if len(body) < 4 {
			return
		}
		attrs(attrs(body[4:]).get(unix.NFTA_SET_ELEM_LIST_ELEMENTS)).each(func(_ int, elem []byte) {
			if !endsInterval(elem) { // the end is perhaps the first address of one without NAT
				all = append(all, readItem(elem))
			}
		})
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list nftables set %s: %w", set, err)
	}
	return all, nil
}

// members returns the keys of a set.
func (c *conn) members(set string) (keys [][]byte, err error) {
	all, err := c.items(set)
	for _, e := range all {
		keys = append(keys, e.key)
	}
	return keys, err
}

// A standing is what the rules say of the bridges: names in sets, and the first address
// of each subnet with NAT.
type standing struct {
	br, open, closed map[string]bool
	nat              map[netip.Addr]bool
}

// standing reads the sets that describe bridges.
func (c *conn) standing() (s standing, err error) {
	names := func(set string) map[string]bool {
		m := map[string]bool{}
		if err != nil {
			return m
		}
		var keys [][]byte
		keys, err = c.members(set)
		for _, k := range keys {
			m[unix.ByteSliceToString(k)] = true
		}
		return m
	}
	s = standing{br: names(setBr), open: names(setOpen), closed: names(setClosed), nat: map[netip.Addr]bool{}}
	for _, set := range []string{setNat4, setNat6} {
		if err != nil {
			break
		}
		var keys [][]byte
		keys, err = c.members(set)
		for _, k := range keys {
			if ip, ok := netip.AddrFromSlice(k); ok {
				s.nat[ip] = true
			}
		}
	}
	return s, err
}

// natted tells whether a subnet of a bridge is masqueraded.
func (s standing) natted(addrs []netip.Prefix) bool {
	return slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return s.nat[p.Masked().Addr()] })
}

// NAT tells whether b's subnets are masqueraded.
func (b *Bridge) NAT() (bool, error) {
	c, err := dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return false, err
	}
	defer c.close()
	s, err := c.standing()
	return s.natted(b.Addrs), err
}

// transact has the kernel take all requests or none (nfnetlink batches).
func (c *conn) transact(reqs []*nl.NetlinkRequest) error {
	// The acknowledgement of the last request comes when all have been committed.
	reqs[len(reqs)-1].Flags |= unix.NLM_F_ACK
	c.say(reqs)
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

// elementKey is the key of an element, as items returns it.
func elementKey(e *nl.RtAttr) []byte {
	return attrs(attrs(e.Serialize()[unix.SizeofRtAttr:]).get(unix.NFTA_SET_ELEM_KEY)).get(unix.NFTA_DATA_VALUE)
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
