package bridge

import (
	"encoding/binary"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Types of set keys and their byte order, as nft(8) numbers them: the kernel only keeps
// them, for nft to print.
const (
	typeIPv4   = 7
	typeIfname = 41
	typePair   = typeIfname<<6 | typeIfname

	hostOrder    = 1
	networkOrder = 2
)

// table are the requests that make the table, its sets, chains and rules, and replace
// the rules where they were there. Elements stay.
func table() []*nl.NetlinkRequest {
	const create = unix.NLM_F_CREATE
	name := func(kind int) *nl.RtAttr { return text(kind, tableName) }
	set := func(id int, set string, flags, keyType, keyLen int, order uint32) *nl.NetlinkRequest {
		const userKeyOrder = 0 // NFTNL_UDATA_SET_KEYBYTEORDER: a byte of type, a byte of length
		user := binary.NativeEndian.AppendUint32([]byte{userKeyOrder, 4}, order)
		return message(unix.NFT_MSG_NEWSET, create, name(unix.NFTA_SET_TABLE), text(unix.NFTA_SET_NAME, set),
			big(unix.NFTA_SET_FLAGS, flags), big(unix.NFTA_SET_KEY_TYPE, keyType), big(unix.NFTA_SET_KEY_LEN, keyLen),
			big(unix.NFTA_SET_ID, id), nl.NewRtAttr(unix.NFTA_SET_USERDATA, user))
	}
	chain := func(chain, kind string, hook, priority int) *nl.NetlinkRequest {
		return message(unix.NFT_MSG_NEWCHAIN, create, name(unix.NFTA_CHAIN_TABLE), text(unix.NFTA_CHAIN_NAME, chain),
			nested(unix.NFTA_CHAIN_HOOK, big(unix.NFTA_HOOK_HOOKNUM, hook), big(unix.NFTA_HOOK_PRIORITY, priority)),
			big(unix.NFTA_CHAIN_POLICY, nfAccept), text(unix.NFTA_CHAIN_TYPE, kind))
	}
	rule := func(chain string, exprs ...*nl.RtAttr) *nl.NetlinkRequest {
		list := nested(unix.NFTA_RULE_EXPRESSIONS)
		for _, e := range exprs {
			list.AddChild(e)
		}
		return message(unix.NFT_MSG_NEWRULE, create|unix.NLM_F_APPEND, name(unix.NFTA_RULE_TABLE), text(unix.NFTA_RULE_CHAIN, chain), list)
	}
	const srcnat, filter = 100, 0 // priorities, nft(8)
	const established, related = 1 << 1, 1 << 2
	return []*nl.NetlinkRequest{
		message(unix.NFT_MSG_NEWTABLE, create, name(unix.NFTA_TABLE_NAME)),
		set(1, setBr, 0, typeIfname, unix.IFNAMSIZ, hostOrder),
		set(2, setSame, 0, typePair, 2*unix.IFNAMSIZ, hostOrder),
		set(3, setNat4, unix.NFT_SET_INTERVAL, typeIPv4, 4, networkOrder),
		chain(chainPost, "nat", unix.NF_INET_POST_ROUTING, srcnat),
		chain(chainForw, "filter", unix.NF_INET_FORWARD, filter),
		message(unix.NFT_MSG_DELRULE, 0, name(unix.NFTA_RULE_TABLE)),
		rule(chainPost,
			meta(unix.NFT_META_NFPROTO, 1), compare(unix.NFT_CMP_EQ, []byte{unix.NFPROTO_IPV4}),
			sourceIPv4(), lookup(setNat4, true),
			meta(unix.NFT_META_OIFNAME, 1), lookup(setBr, false),
			expr("masq")),
		rule(chainForw,
			expr("ct", big(unix.NFTA_CT_KEY, unix.NFT_CT_STATE), big(unix.NFTA_CT_DREG, 1)),
			mask(established|related), compare(unix.NFT_CMP_NEQ, make([]byte, 4)),
			verdict(nfAccept)),
		rule(chainForw,
			meta(unix.NFT_META_IIFNAME, 1), lookup(setBr, true),
			meta(unix.NFT_META_OIFNAME, 1), lookup(setBr, true),
			meta(unix.NFT_META_IIFNAME, 1), meta(unix.NFT_META_OIFNAME, 2), lookup(setSame, false),
			verdict(nfDrop)),
	}
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

// sourceIPv4 loads the address that the packet comes from.
func sourceIPv4() *nl.RtAttr {
	return expr("payload", big(unix.NFTA_PAYLOAD_DREG, 1), big(unix.NFTA_PAYLOAD_BASE, unix.NFT_PAYLOAD_NETWORK_HEADER),
		big(unix.NFTA_PAYLOAD_OFFSET, 12), big(unix.NFTA_PAYLOAD_LEN, 4))
}

func compare(op int, value []byte) *nl.RtAttr {
	return expr("cmp", big(unix.NFTA_CMP_SREG, 1), big(unix.NFTA_CMP_OP, op), datum(unix.NFTA_CMP_DATA, value))
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
