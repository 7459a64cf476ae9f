package bridge

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What is told of a message is read from its bytes, those that are sent: so the two cannot
// differ. Messages that only ask are not told of.

// A told is what is told of a message: its name, and arguments by name. more are further
// values of the last one: of messages that are otherwise the same.
type told struct {
	name string
	args []arg
	more []string
}

// An arg is an argument of a message. maybeNot tells, of a message that is yet to be made,
// that it may do without.
type arg struct {
	name, value string
	maybeNot    bool
}

func (m told) String() string {
	var b strings.Builder
	b.WriteString(m.name)
	for i, a := range m.args {
		value := a.value
		if i == len(m.args)-1 {
			value = counted(append([]string{value}, m.more...))
		}
		if strings.ContainsAny(value, " \"\\") || value == "" {
			value = strconv.Quote(value)
		}
		if a.maybeNot {
			fmt.Fprintf(&b, " [%s=%s]", a.name, value)
		} else {
			fmt.Fprintf(&b, " %s=%s", a.name, value)
		}
	}
	return b.String()
}

// counted writes values as a list: a,b*3 has b three times.
func counted(values []string) string {
	var list []string
	for i := 0; i < len(values); {
		n := 1
		for i+n < len(values) && values[i+n] == values[i] {
			n++
		}
		text := values[i]
		if n > 1 {
			text += "*" + strconv.Itoa(n)
		}
		list = append(list, text)
		i += n
	}
	return strings.Join(list, ",")
}

// linkNames are names of links, by their index in one network namespace.
type linkNames map[int]string

// loopback is the index of lo (LOOPBACK_IFINDEX).
const loopback = 1

// of is the name of a link, its index where that is not known.
func (n linkNames) of(index int) string {
	if name := n[index]; name != "" {
		return name
	}
	if index == loopback {
		return "lo"
	}
	return strconv.Itoa(index)
}

// telling returns what is told of messages, of neighbours that can be told of as one but
// once.
func telling(called linkNames, msgs [][]byte) []told {
	var all []told
	for _, msg := range msgs {
		if m, ok := tell(called, msg); ok {
			all = joinTo(all, m)
		}
	}
	return all
}

func joinTo(all []told, m told) []told {
	if n := len(all) - 1; n >= 0 && all[n].differsLast(m) {
		all[n].more = append(all[n].more, m.args[len(m.args)-1].value)
		return all
	}
	return append(all, m)
}

// differsLast tells whether two messages of nftables, of which there are dozens, differ at
// most in their last argument.
func (m told) differsLast(o told) bool {
	n := len(m.args)
	return m.name == o.name && strings.HasPrefix(m.name, "NFT_") && n == len(o.args) &&
		slices.Equal(m.args[:n-1], o.args[:n-1]) && m.args[n-1].name == o.args[n-1].name
}

// tell reads a message; it is not ok if that changes nothing.
func tell(called linkNames, msg []byte) (m told, ok bool) {
	t := teller{called: called}
	kind, body := int(binary.NativeEndian.Uint16(msg[4:])), msg[unix.NLMSG_HDRLEN:]
	switch kind {
	case unix.RTM_NEWLINK:
		t.name = "RTM_NEWLINK"
	case unix.RTM_SETLINK:
		t.name = "RTM_SETLINK"
	case unix.RTM_DELLINK:
		t.name = "RTM_DELLINK"
	case unix.RTM_NEWLINKPROP:
		t.name = "RTM_NEWLINKPROP"
	case unix.RTM_NEWADDR:
		t.name = "RTM_NEWADDR"
		t.addr(body)
	case unix.RTM_NEWROUTE:
		t.name = "RTM_NEWROUTE"
		t.route(body)
	case unix.RTM_NEWNEIGH:
		t.name = "RTM_NEWNEIGH"
		t.add("dev", called.of(t.word(body[4:])))
		t.add("lladdr", net.HardwareAddr(attrs(body[unix.SizeofNdMsg:]).get(unix.NDA_LLADDR)).String())
	case unix.RTM_NEWQDISC:
		t.name = "RTM_NEWQDISC"
		t.rate(body)
	default:
		t.rules(kind, body)
	}
	switch kind {
	case unix.RTM_NEWLINK, unix.RTM_SETLINK, unix.RTM_DELLINK, unix.RTM_NEWLINKPROP:
		t.link("", body)
	}
	return t.told, t.name != ""
}

// A teller reads a message of one kind.
type teller struct {
	told
	called linkNames
}

func (t *teller) add(name, value string) { t.args = append(t.args, arg{name: name, value: value}) }

func (*teller) word(b []byte) int { return int(int32(binary.NativeEndian.Uint32(b))) }

// link reads a header and attributes of rtnetlink(7)'s links; of is what their names begin
// with.
func (t *teller) link(of string, body []byte) {
	a := attrs(body[unix.SizeofIfInfomsg:])
	switch index := t.word(body[4:]); {
	case index == 0:
	case a.get(unix.IFLA_IFNAME) != nil:
		t.add(of+"index", strconv.Itoa(index)) // which it is to have
	default:
		t.add(of+"dev", t.called.of(index))
	}
	a.each(func(kind int, v []byte) {
		switch kind {
		case unix.IFLA_IFNAME:
			t.add(of+"name", unix.ByteSliceToString(v))
		case unix.IFLA_ADDRESS:
			t.add(of+"address", net.HardwareAddr(v).String())
		case unix.IFLA_MTU:
			t.add(of+"mtu", strconv.Itoa(t.word(v)))
		case unix.IFLA_MASTER:
			t.add(of+"master", t.called.of(t.word(v)))
		case unix.IFLA_IFALIAS:
			t.add(of+"alias", unix.ByteSliceToString(v))
		case unix.IFLA_GROUP:
			t.add(of+"group", fmt.Sprintf("%#x", t.word(v)))
		case unix.IFLA_NET_NS_PID:
			t.add(of+"netns-pid", strconv.Itoa(t.word(v)))
		case unix.IFLA_NET_NS_FD:
			t.add(of+"netns-fd", strconv.Itoa(t.word(v)))
		case unix.IFLA_PROP_LIST:
			t.add(of+"altname", attrs(v).text(unix.IFLA_ALT_IFNAME))
		case unix.IFLA_LINKINFO:
			t.kind(of, attrs(v))
		case unix.IFLA_AF_SPEC:
			if mode := attrs(attrs(v).get(unix.AF_INET6)).get(unix.IFLA_INET6_ADDR_GEN_MODE); len(mode) == 1 && mode[0] == addrGenNone {
				t.add(of+"addrgenmode", "none")
			}
		default:
			t.unknown(kind)
		}
	})
	if t.word(body[8:])&t.word(body[12:])&unix.IFF_UP != 0 {
		t.add(of+"flags", "IFF_UP")
	}
}

// kind reads what a link is of, and its options as such (IFLA_LINKINFO).
func (t *teller) kind(of string, a attrs) {
	a.each(func(kind int, v []byte) {
		switch kind {
		case unix.IFLA_INFO_KIND:
			t.add(of+"kind", unix.ByteSliceToString(v))
		case unix.IFLA_INFO_DATA:
			if far := attrs(v).get(nl.VETH_INFO_PEER); far != nil {
				t.link("peer.", far)
			}
		case unix.IFLA_INFO_SLAVE_KIND:
			t.add(of+"port-kind", unix.ByteSliceToString(v))
		case unix.IFLA_INFO_SLAVE_DATA:
			attrs(v).each(func(option int, v []byte) {
				name := map[int]string{portHairpin: "hairpin", portLearning: "learning", portIsolated: "isolated", portLocked: "locked"}[option]
				t.add(of+name, map[byte]string{0: "off", 1: "on"}[v[0]])
			})
		default:
			t.unknown(kind)
		}
	})
}

// family tells of IPv6: IPv4 goes without saying.
func (t *teller) family(f byte) {
	if f == unix.AF_INET6 {
		t.add("family", "AF_INET6")
	}
}

func (t *teller) addr(body []byte) {
	p, index := readAddr(body)
	t.family(body[0])
	t.add("dev", t.called.of(index))
	t.add("local", p.String())
	if body[2]&unix.IFA_F_NODAD != 0 {
		t.add("flags", "IFA_F_NODAD")
	}
}

func (t *teller) route(body []byte) {
	a := attrs(body[unix.SizeofRtMsg:])
	t.family(body[0])
	if to := a.addr(unix.RTA_DST); to.IsValid() { // a beacon
		t.add("type", "local")
		t.add("dst", to.String())
	} else {
		t.add("dst", "default")
		t.add("gateway", a.addr(unix.RTA_GATEWAY).String())
	}
	t.add("dev", t.called.of(a.number(unix.RTA_OIF)))
}

// rate reads a limit of tc-tbf(8).
func (t *teller) rate(body []byte) {
	a := attrs(body[nl.SizeofTcMsg:])
	t.add("dev", t.called.of(t.word(body[4:])))
	t.add("kind", a.text(nl.TCA_KIND))
	options := attrs(a.get(nl.TCA_OPTIONS))
	bytes := uint64(binary.NativeEndian.Uint32(options.get(nl.TCA_TBF_PARMS)[8:]))
	if v := options.get(nl.TCA_TBF_RATE64); v != nil {
		bytes = binary.NativeEndian.Uint64(v)
	}
	t.add("rate", fmt.Sprintf("%dbit", 8*bytes))
}

// rules reads a message of nftables.
func (t *teller) rules(kind int, body []byte) {
	if kind>>8 != unix.NFNL_SUBSYS_NFTABLES {
		return
	}
	a := attrs(body[len(genmsg{}):])
	begin := func(name string) {
		t.name = name
		t.add("family", familyName(body[0]))
		t.add("table", a.text(unix.NFTA_TABLE_NAME)) // so it is numbered in every message
	}
	switch kind & 0xff {
	case unix.NFT_MSG_NEWTABLE:
		begin("NFT_MSG_NEWTABLE")
	case unix.NFT_MSG_DELTABLE:
		begin("NFT_MSG_DELTABLE")
	case unix.NFT_MSG_NEWSET:
		begin("NFT_MSG_NEWSET")
		t.add("set", a.text(unix.NFTA_SET_NAME))
	case unix.NFT_MSG_NEWCHAIN:
		begin("NFT_MSG_NEWCHAIN")
		t.add("chain", a.text(unix.NFTA_CHAIN_NAME))
	case unix.NFT_MSG_NEWRULE:
		begin("NFT_MSG_NEWRULE")
		t.add("chain", a.text(unix.NFTA_RULE_CHAIN))
	case unix.NFT_MSG_DELRULE:
		begin("NFT_MSG_DELRULE")
	case unix.NFT_MSG_NEWSETELEM:
		begin("NFT_MSG_NEWSETELEM")
		t.elements(a)
	case unix.NFT_MSG_DELSETELEM:
		begin("NFT_MSG_DELSETELEM")
		t.elements(a)
	}
}

func (t *teller) elements(a attrs) {
	set := a.text(unix.NFTA_SET_ELEM_LIST_SET)
	t.add("set", set)
	var all, to []string
	attrs(a.get(unix.NFTA_SET_ELEM_LIST_ELEMENTS)).each(func(_ int, elem []byte) {
		e := readItem(elem)
		if m, ok := readMapping(e); ok {
			to = append(to, m.To.String())
		}
		if end, ok := netip.AddrFromSlice(e.key); ok && endsInterval(elem) && len(all) > 0 {
			all[len(all)-1] += "-" + end.Prev().String()
			return
		}
		all = append(all, e.in(set))
	})
	t.add("elem", strings.Join(all, ","))
	if to != nil {
		t.add("to", strings.Join(to, ","))
	}
}

// in writes an element of a set of ours, of a map its key.
func (e item) in(set string) string {
	switch set {
	case setBr, setOpen, setClosed:
		return unix.ByteSliceToString(e.key)
	case setSame:
		half := len(e.key) / 2
		return unix.ByteSliceToString(e.key[:half]) + "/" + unix.ByteSliceToString(e.key[half:])
	case setNat4, setNat6, setSub4, setSub6:
		ip, _ := netip.AddrFromSlice(e.key)
		return ip.String()
	}
	m, _ := readMapping(e)
	return m.Port.String()
}

// unknown tells of an attribute that has no name here, rather than leave it out.
func (t *teller) unknown(kind int) { t.add("attribute", strconv.Itoa(kind)) }
