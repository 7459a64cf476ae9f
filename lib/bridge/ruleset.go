package bridge

import (
	"encoding/binary"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The rules: one table, of a fixed shape, in which sets name our bridges and maps what is
// published. A bridge is an element in each set, a container is nothing at all, a
// published port an element: so neither wiring nor publishing changes a rule, which would
// cost an RCU grace period. As nft(8) writes it:
//
//	table inet netbr {
//		set br { type ifname; }             # our bridges
//		set same { type ifname . ifname; }  # each with itself
//		set open { type ifname; }           # those that may talk to one another
//		set closed { type ifname; }         # those that nothing enters or leaves
//		set nat4 { type ipv4_addr; flags interval; }  # subnets behind NAT; nat6 alike
//		set sub4 { type ipv4_addr; flags interval; }  # all subnets; sub6 alike
//		# published on every address of the host, and on one; pub6 and at6 alike
//		map pub4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
//		map at4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
//		# for each of these the beacon of whom it is published for; three more alike
//		map pub4_beacon { type inet_proto . inet_service : ipv4_addr; }
//		chain guard {
//			type filter hook prerouting priority raw; policy accept;
//			# what is published on 127.0.0.1 is not for neighbours of the host
//			iifname != "lo" ip daddr 127.0.0.0/8 drop
//		}
//		chain pre {
//			type nat hook prerouting priority dstnat; policy accept;
//			dnat ip to ip daddr . meta l4proto . th dport map @at4
//			dnat ip6 to ip6 daddr . meta l4proto . th dport map @at6
//			meta nfproto ipv4 fib daddr type local dnat ip to meta l4proto . th dport map @pub4
//			meta nfproto ipv6 fib daddr type local dnat ip6 to meta l4proto . th dport map @pub6
//			# each of them only while the container's link is there: see published
//		}
//		chain out {
//			type nat hook output priority -100; policy accept;
//			# the same four, for the host's own programs; but not for ::1, as whose
//			# neighbour nothing can answer
//		}
//		chain post {
//			type nat hook postrouting priority srcnat; policy accept;
//			ip saddr @nat4 oifname != @br masquerade
//			ip6 saddr @nat6 oifname != @br masquerade
//			# a published port, from a container or from the host's 127.0.0.1
//			ct status dnat oifname @br ip saddr @sub4 masquerade
//			ct status dnat oifname @br ip6 saddr @sub6 masquerade
//			ct status dnat oifname @br ip saddr 127.0.0.0/8 masquerade
//		}
//		chain forw {
//			type filter hook forward priority filter; policy accept;
//			ct state established,related accept
//			iifname @closed iifname . oifname != @same drop
//			oifname @closed iifname . oifname != @same drop
//			ct status dnat accept
//			iifname @open oifname @open accept
//			iifname @br oifname @br iifname . oifname != @same drop
//			# behind NAT only what is published can be reached from outside
//			oifname @br iifname != @br ip daddr @nat4 drop
//			oifname @br iifname != @br ip6 daddr @nat6 drop
//		}
//	}
const (
	tableName = "netbr"
	setBr     = "br"
	setSame   = "same"
	setOpen   = "open"
	setClosed = "closed"
	setNat4   = "nat4"
	setNat6   = "nat6"
	setSub4   = "sub4"
	setSub6   = "sub6"
	mapPub4   = "pub4"
	mapPub6   = "pub6"
	mapAt4    = "at4"
	mapAt6    = "at6"

	beaconSuffix = "_beacon"
)

// Types of set keys and their byte order, as nft(8) numbers them: the kernel only keeps
// them, for nft to print.
const (
	typeIPv4    = 7
	typeIPv6    = 8
	typeProto   = 12
	typeService = 13
	typeIfname  = 41

	hostOrder    = 1
	networkOrder = 2
)

// concat is the type of a key of several parts.
func concat(types ...int) int {
	t := 0
	for _, part := range types {
		t = t<<6 | part
	}
	return t
}

// A setShape is a set of the table, or a map, which has data too.
type setShape struct {
	name              string
	flags             int
	keyType, keyLen   int
	dataType, dataLen int
	order             uint32
}

// Each part of a key takes whole registers of 4 bytes.
var sets = []setShape{
	{name: setBr, keyType: typeIfname, keyLen: unix.IFNAMSIZ, order: hostOrder},
	{name: setSame, keyType: concat(typeIfname, typeIfname), keyLen: 2 * unix.IFNAMSIZ, order: hostOrder},
	{name: setOpen, keyType: typeIfname, keyLen: unix.IFNAMSIZ, order: hostOrder},
	{name: setClosed, keyType: typeIfname, keyLen: unix.IFNAMSIZ, order: hostOrder},
	{name: setNat4, flags: unix.NFT_SET_INTERVAL, keyType: typeIPv4, keyLen: 4, order: networkOrder},
	{name: setNat6, flags: unix.NFT_SET_INTERVAL, keyType: typeIPv6, keyLen: 16, order: networkOrder},
	{name: setSub4, flags: unix.NFT_SET_INTERVAL, keyType: typeIPv4, keyLen: 4, order: networkOrder},
	{name: setSub6, flags: unix.NFT_SET_INTERVAL, keyType: typeIPv6, keyLen: 16, order: networkOrder},
	{mapPub4, unix.NFT_SET_MAP, concat(typeProto, typeService), 8, concat(typeIPv4, typeService), 8, networkOrder},
	{mapPub6, unix.NFT_SET_MAP, concat(typeProto, typeService), 8, concat(typeIPv6, typeService), 20, networkOrder},
	{mapAt4, unix.NFT_SET_MAP, concat(typeIPv4, typeProto, typeService), 12, concat(typeIPv4, typeService), 8, networkOrder},
	{mapAt6, unix.NFT_SET_MAP, concat(typeIPv6, typeProto, typeService), 24, concat(typeIPv6, typeService), 20, networkOrder},
	{mapPub4 + beaconSuffix, unix.NFT_SET_MAP, concat(typeProto, typeService), 8, typeIPv4, 4, networkOrder},
	{mapPub6 + beaconSuffix, unix.NFT_SET_MAP, concat(typeProto, typeService), 8, typeIPv6, 16, networkOrder},
	{mapAt4 + beaconSuffix, unix.NFT_SET_MAP, concat(typeIPv4, typeProto, typeService), 12, typeIPv4, 4, networkOrder},
	{mapAt6 + beaconSuffix, unix.NFT_SET_MAP, concat(typeIPv6, typeProto, typeService), 24, typeIPv6, 16, networkOrder},
}

func (s setShape) request(id int) *nl.NetlinkRequest {
	// NFTNL_UDATA_SET_KEYBYTEORDER and _DATABYTEORDER: each a byte of type, a byte of length.
	user := binary.NativeEndian.AppendUint32([]byte{0, 4}, s.order)
	r := message(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, text(unix.NFTA_SET_TABLE, tableName), text(unix.NFTA_SET_NAME, s.name),
		big(unix.NFTA_SET_FLAGS, s.flags), big(unix.NFTA_SET_KEY_TYPE, s.keyType), big(unix.NFTA_SET_KEY_LEN, s.keyLen), big(unix.NFTA_SET_ID, id))
	if s.dataLen != 0 {
		r.AddData(big(unix.NFTA_SET_DATA_TYPE, s.dataType))
		r.AddData(big(unix.NFTA_SET_DATA_LEN, s.dataLen))
		user = binary.NativeEndian.AppendUint32(append(user, 1, 4), s.order)
	}
	r.AddData(nl.NewRtAttr(unix.NFTA_SET_USERDATA, user))
	return r
}

// A chainShape is a base chain of the table with its rules.
type chainShape struct {
	name, kind     string
	hook, priority int
	rules          [][]*nl.RtAttr
}

// chains are built anew for each use: the encoder changes attributes.
func chains() []chainShape {
	const raw, dstnat, srcnat, filter = -300, -100, 100, 0 // priorities, nft(8)
	const established, related = 1 << 1, 1 << 2
	const dnatted = 1 << 5 // IPS_DST_NAT
	iif, oif := meta(unix.NFT_META_IIFNAME, 1), meta(unix.NFT_META_OIFNAME, 1)
	rule := func(parts ...[]*nl.RtAttr) (all []*nl.RtAttr) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	in := func(set string) []*nl.RtAttr { return []*nl.RtAttr{iif, lookup(set, true)} }
	out := func(set string) []*nl.RtAttr { return []*nl.RtAttr{oif, lookup(set, true)} }
	notIn := func(set string) []*nl.RtAttr { return []*nl.RtAttr{iif, lookup(set, false)} }
	notOut := func(set string) []*nl.RtAttr { return []*nl.RtAttr{oif, lookup(set, false)} }
	elsewhere := []*nl.RtAttr{iif, meta(unix.NFT_META_OIFNAME, 2), lookup(setSame, false)}
	is := func(name string, v int) []*nl.RtAttr { // a bit of ct
		key := unix.NFT_CT_STATE
		if name == "status" {
			key = unix.NFT_CT_STATUS
		}
		return []*nl.RtAttr{
			expr("ct", big(unix.NFTA_CT_KEY, key), big(unix.NFTA_CT_DREG, 1)),
			mask(uint32(v)), compare(unix.NFT_CMP_NEQ, make([]byte, 4)),
		}
	}
	do := func(v int) []*nl.RtAttr { return []*nl.RtAttr{verdict(v)} }
	masquerade := []*nl.RtAttr{expr("masq")}
	local := isLocal(1)
	notLoopback6 := append(v6.is(), v6.field(v6.dst, 1), compare(unix.NFT_CMP_NEQ, append(make([]byte, 15), 1)))
	published := func(not6 ...*nl.RtAttr) [][]*nl.RtAttr {
		return [][]*nl.RtAttr{
			rule(v4.is(), v4.published(mapAt4, true)),
			rule(v6.is(), not6, v6.published(mapAt6, true)),
			rule(v4.is(), local, v4.published(mapPub4, false)),
			rule(v6.is(), not6, local, v6.published(mapPub6, false)),
		}
	}
	return []chainShape{
		{"guard", "filter", unix.NF_INET_PRE_ROUTING, raw, [][]*nl.RtAttr{
			rule([]*nl.RtAttr{iif, compare(unix.NFT_CMP_NEQ, key("lo"))}, v4.is(), v4.loopback(v4.dst), do(nfDrop)),
		}},
		{"pre", "nat", unix.NF_INET_PRE_ROUTING, dstnat, published()},
		{"out", "nat", unix.NF_INET_LOCAL_OUT, dstnat, published(notLoopback6[2:]...)},
		{"post", "nat", unix.NF_INET_POST_ROUTING, srcnat, [][]*nl.RtAttr{
			rule(v4.is(), v4.in(v4.src, setNat4), notOut(setBr), masquerade),
			rule(v6.is(), v6.in(v6.src, setNat6), notOut(setBr), masquerade),
			rule(is("status", dnatted), out(setBr), v4.is(), v4.in(v4.src, setSub4), masquerade),
			rule(is("status", dnatted), out(setBr), v6.is(), v6.in(v6.src, setSub6), masquerade),
			rule(is("status", dnatted), out(setBr), v4.is(), v4.loopback(v4.src), masquerade),
		}},
		{"forw", "filter", unix.NF_INET_FORWARD, filter, [][]*nl.RtAttr{
			rule(is("state", established|related), do(nfAccept)),
			rule(in(setClosed), elsewhere, do(nfDrop)),
			rule(out(setClosed), elsewhere, do(nfDrop)),
			rule(is("status", dnatted), do(nfAccept)),
			rule(in(setOpen), out(setOpen), do(nfAccept)),
			rule(in(setBr), out(setBr), elsewhere, do(nfDrop)),
			rule(out(setBr), notIn(setBr), v4.is(), v4.in(v4.dst, setNat4), do(nfDrop)),
			rule(out(setBr), notIn(setBr), v6.is(), v6.in(v6.dst, setNat6), do(nfDrop)),
		}},
	}
}

// table are the requests that make the table, its sets, chains and rules, and replace
// the rules where they were there. Elements stay.
func table() []*nl.NetlinkRequest {
	const create = unix.NLM_F_CREATE
	name := func(kind int) *nl.RtAttr { return text(kind, tableName) }
	reqs := []*nl.NetlinkRequest{message(unix.NFT_MSG_NEWTABLE, create, name(unix.NFTA_TABLE_NAME))}
	for i, s := range sets {
		reqs = append(reqs, s.request(i+1))
	}
	all := chains()
	for _, c := range all {
		reqs = append(reqs, message(unix.NFT_MSG_NEWCHAIN, create, name(unix.NFTA_CHAIN_TABLE), text(unix.NFTA_CHAIN_NAME, c.name),
			nested(unix.NFTA_CHAIN_HOOK, big(unix.NFTA_HOOK_HOOKNUM, c.hook), big(unix.NFTA_HOOK_PRIORITY, c.priority)),
			big(unix.NFTA_CHAIN_POLICY, nfAccept), text(unix.NFTA_CHAIN_TYPE, c.kind)))
	}
	reqs = append(reqs, message(unix.NFT_MSG_DELRULE, 0, name(unix.NFTA_RULE_TABLE)))
	for _, c := range all {
		for _, r := range c.rules {
			list := nested(unix.NFTA_RULE_EXPRESSIONS)
			for _, e := range r {
				list.AddChild(e)
			}
			reqs = append(reqs, message(unix.NFT_MSG_NEWRULE, create|unix.NLM_F_APPEND, name(unix.NFTA_RULE_TABLE), text(unix.NFTA_RULE_CHAIN, c.name), list))
		}
	}
	return reqs
}

// Verdicts (linux/netfilter.h).
const (
	nfDrop   = 0
	nfAccept = 1
)

// The expressions of rules work on registers of 16 bytes; where none is named here it
// is the first. A key of two registers begins in the first.

func expr(name string, data ...nl.NetlinkRequestData) *nl.RtAttr {
	return nested(unix.NFTA_LIST_ELEM, text(unix.NFTA_EXPR_NAME, name), nested(unix.NFTA_EXPR_DATA, data...))
}

// meta loads what the kernel knows of the packet besides its bytes.
func meta(key, register int) *nl.RtAttr {
	return expr("meta", big(unix.NFTA_META_KEY, key), big(unix.NFTA_META_DREG, register))
}

// A family is how an IP version is told, and where its header has the addresses.
type family struct {
	proto          byte
	src, dst, size int
}

var (
	v4 = family{unix.NFPROTO_IPV4, 12, 16, 4}
	v6 = family{unix.NFPROTO_IPV6, 8, 24, 16}
)

// is goes on with packets of the family.
func (f family) is() []*nl.RtAttr {
	return []*nl.RtAttr{meta(unix.NFT_META_NFPROTO, 1), compare(unix.NFT_CMP_EQ, []byte{f.proto})}
}

// field loads the address at an offset of the header.
func (f family) field(at, register int) *nl.RtAttr {
	return payload(unix.NFT_PAYLOAD_NETWORK_HEADER, at, f.size, register)
}

// in goes on if the address at an offset is in a set.
func (f family) in(at int, set string) []*nl.RtAttr {
	return []*nl.RtAttr{f.field(at, 1), lookup(set, true)}
}

// loopback goes on if the IPv4 address at an offset is in 127.0.0.0/8.
func (f family) loopback(at int) []*nl.RtAttr {
	return []*nl.RtAttr{payload(unix.NFT_PAYLOAD_NETWORK_HEADER, at, 1, 1), compare(unix.NFT_CMP_EQ, []byte{127})}
}

// published sends what is published on to where a map says. The parts of its key, and of
// what it answers, lie in one register of 4 bytes after the other.
//
// An element does not go with its container, so it counts only while the container's beacon
// is there. The kernel asks its routes about no address but one of the packet: the beacon
// takes the place of the destination for that question.
func (f family) published(name string, onAddress bool) []*nl.RtAttr {
	const first = unix.NFT_REG32_00
	words := f.size / 4
	var key []*nl.RtAttr
	at := first
	if onAddress {
		key = append(key, f.field(f.dst, at))
		at += words
	}
	key = append(key,
		meta(unix.NFT_META_L4PROTO, at),
		payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, at+1))
	find := func(in string, to int) *nl.RtAttr {
		return expr("lookup", text(unix.NFTA_LOOKUP_SET, in), big(unix.NFTA_LOOKUP_SREG, first), big(unix.NFTA_LOOKUP_DREG, to))
	}
	asked := at + 2 // behind the key
	beacon, answer := asked+words, asked+2*words
	there := isLocal(answer)
	return append(key,
		f.field(f.dst, asked),
		find(name+beaconSuffix, beacon),
		f.setDestination(beacon),
		there[0],
		f.setDestination(asked),
		there[1],
		find(name, first),
		expr("nat", big(unix.NFTA_NAT_TYPE, unix.NFT_NAT_DNAT), big(unix.NFTA_NAT_FAMILY, int(f.proto)),
			big(unix.NFTA_NAT_REG_ADDR_MIN, first), big(unix.NFTA_NAT_REG_PROTO_MIN, first+words)))
}

// setDestination writes a register to the packet's destination. Checksums are left: it is
// put back.
func (f family) setDestination(register int) *nl.RtAttr {
	return expr("payload", big(unix.NFTA_PAYLOAD_SREG, register), big(unix.NFTA_PAYLOAD_BASE, unix.NFT_PAYLOAD_NETWORK_HEADER),
		big(unix.NFTA_PAYLOAD_OFFSET, f.dst), big(unix.NFTA_PAYLOAD_LEN, f.size))
}

// isLocal asks for the kind of the packet's destination, and goes on if it is the host's.
func isLocal(register int) []*nl.RtAttr {
	return []*nl.RtAttr{
		expr("fib", big(unix.NFTA_FIB_DREG, register), big(unix.NFTA_FIB_RESULT, unix.NFT_FIB_RESULT_ADDRTYPE), big(unix.NFTA_FIB_FLAGS, unix.NFTA_FIB_F_DADDR)),
		compareIn(register, unix.NFT_CMP_EQ, binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)),
	}
}

func payload(base, offset, length, register int) *nl.RtAttr {
	return expr("payload", big(unix.NFTA_PAYLOAD_DREG, register), big(unix.NFTA_PAYLOAD_BASE, base),
		big(unix.NFTA_PAYLOAD_OFFSET, offset), big(unix.NFTA_PAYLOAD_LEN, length))
}

func compare(op int, value []byte) *nl.RtAttr { return compareIn(1, op, value) }

func compareIn(register, op int, value []byte) *nl.RtAttr {
	return expr("cmp", big(unix.NFTA_CMP_SREG, register), big(unix.NFTA_CMP_OP, op), datum(unix.NFTA_CMP_DATA, value))
}

// mask keeps the given bits of a number in host byte order.
func mask(bits uint32) *nl.RtAttr {
	return expr("bitwise", big(unix.NFTA_BITWISE_SREG, 1), big(unix.NFTA_BITWISE_DREG, 1), big(unix.NFTA_BITWISE_LEN, 4),
		datum(unix.NFTA_BITWISE_MASK, binary.NativeEndian.AppendUint32(nil, bits)), datum(unix.NFTA_BITWISE_XOR, make([]byte, 4)))
}

// lookup goes on if a set has what was loaded; without in, if it has not.
func lookup(set string, in bool) *nl.RtAttr {
	flags := unix.NFT_LOOKUP_F_INV
	if in {
		flags = 0
	}
	return expr("lookup", text(unix.NFTA_LOOKUP_SET, set), big(unix.NFTA_LOOKUP_SREG, 1), big(unix.NFTA_LOOKUP_FLAGS, flags))
}

func verdict(code int) *nl.RtAttr {
	return expr("immediate", big(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT),
		nested(unix.NFTA_IMMEDIATE_DATA, nested(unix.NFTA_DATA_VERDICT, big(unix.NFTA_VERDICT_CODE, code))))
}

func datum(kind int, value []byte) *nl.RtAttr {
	return nested(kind, nl.NewRtAttr(unix.NFTA_DATA_VALUE, value))
}
