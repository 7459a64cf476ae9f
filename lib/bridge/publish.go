package bridge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// ErrPublished tells that a port of the host is published for another container.
var ErrPublished = errors.New("published already")

// A Port is a port of the host, on one of its addresses or on all (the zero Addr).
type Port struct {
	Addr  netip.Addr
	Proto uint8 // unix.IPPROTO_TCP or IPPROTO_UDP
	Port  uint16
}

// A Mapping publishes a port of the host: what comes there goes on to To.
type Mapping struct {
	Port
	To netip.AddrPort
}

// protocols are those that have ports to publish.
var protocols = map[string]uint8{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP}

// Protocol is its name: tcp, udp.
func (p Port) Protocol() string {
	for name, n := range protocols {
		if n == p.Proto {
			return name
		}
	}
	return strconv.Itoa(int(p.Proto))
}

// String writes the port as it is given: 8080/tcp, 127.0.0.1:8080/udp.
func (p Port) String() string {
	s := strconv.Itoa(int(p.Port))
	if p.Addr.IsValid() {
		s = netip.AddrPortFrom(p.Addr, p.Port).String()
	}
	return s + "/" + p.Protocol()
}

// ParsePort reads [IP:]PORT[/tcp|/udp]; an IPv6 address stands in brackets.
func ParsePort(s string) (Port, error) {
	words, proto, ok := strings.Cut(s, "/")
	p := Port{Proto: unix.IPPROTO_TCP}
	if ok {
		if p.Proto, ok = protocols[proto]; !ok {
			return p, fmt.Errorf("%q: the protocol is tcp or udp", s)
		}
	}
	addr, port, hasAddr := cutLast(words)
	if hasAddr {
		if len(addr) > 2 && addr[0] == '[' && addr[len(addr)-1] == ']' {
			addr = addr[1 : len(addr)-1]
		} else if strings.Contains(addr, ":") {
			return p, fmt.Errorf("%q: write an IPv6 address in brackets", s)
		}
		var err error
		if p.Addr, err = netip.ParseAddr(addr); err != nil || p.Addr.Zone() != "" {
			return p, fmt.Errorf("%q: %q is no address of the host's", s, addr)
		}
		if p.Addr = p.Addr.Unmap(); p.Addr.IsUnspecified() {
			p.Addr = netip.Addr{}
		}
		if p.Addr == netip.IPv6Loopback() {
			return p, fmt.Errorf("%q: what is sent to ::1 cannot leave the host: publish on 127.0.0.1", s)
		}
	}
	var err error
	p.Port, err = portNumber(s, port)
	return p, err
}

// ParseMapping reads [IP:]HOST:CONTAINER[/tcp|/udp]. To has the port alone: the container
// has no address yet.
func ParseMapping(s string) (Mapping, error) {
	words, proto, _ := strings.Cut(s, "/")
	host, inside, ok := cutLast(words)
	if !ok {
		return Mapping{}, fmt.Errorf("%q is no HOST:CONTAINER, such as 8080:80", s)
	}
	if strings.Contains(s, "/") {
		host += "/" + proto
	}
	p, err := ParsePort(host)
	if err != nil {
		return Mapping{}, err
	}
	port, err := portNumber(s, inside)
	return Mapping{p, netip.AddrPortFrom(netip.Addr{}, port)}, err
}

func cutLast(s string) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return "", s, false
}

func portNumber(whole, s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '+' {
		return 0, fmt.Errorf("%q: %q is no port, 1 to 65535", whole, s)
	}
	return uint16(n), nil
}

// in is the map that a mapping stands in.
func (m Mapping) in() string {
	switch {
	case m.To.Addr().Is4() && m.Addr.IsValid():
		return mapAt4
	case m.To.Addr().Is4():
		return mapPub4
	case m.Addr.IsValid():
		return mapAt6
	}
	return mapPub6
}

// word is a part of a key that fills the beginning of a register.
func word(b ...byte) []byte { return append(b, make([]byte, 4-len(b))...) }

func portWord(p uint16) []byte { return word(byte(p>>8), byte(p)) }

func (m Mapping) item() item {
	var e item
	if m.Addr.IsValid() {
		e.key = m.Addr.AsSlice()
	}
	e.key = append(append(e.key, word(m.Proto)...), portWord(m.Port.Port)...)
	e.data = append(m.To.Addr().AsSlice(), portWord(m.To.Port())...)
	return e
}

// readMapping is the reverse of item; of an element without data it reads the port.
func readMapping(e item) (m Mapping, ok bool) {
	if n := len(e.key) - 8; n > 0 {
		if m.Addr, ok = netip.AddrFromSlice(e.key[:n]); !ok {
			return m, false
		}
		e.key = e.key[n:]
	}
	if len(e.key) != 8 {
		return m, false
	}
	m.Proto, m.Port.Port = e.key[0], binary.BigEndian.Uint16(e.key[4:])
	n := len(e.data) - 4
	if n < 4 {
		return m, false
	}
	to, ok := netip.AddrFromSlice(e.data[:n])
	m.To = netip.AddrPortFrom(to, binary.BigEndian.Uint16(e.data[n:]))
	return m, ok
}

// publication are the requests that publish m: EEXIST if the port is taken.
func (m Mapping) publication() []*nl.NetlinkRequest {
	e := m.item()
	add := func(to string, data []byte) *nl.NetlinkRequest {
		elem := element(e.key, 0)
		elem.AddChild(nested(unix.NFTA_SET_ELEM_DATA, nl.NewRtAttr(unix.NFTA_DATA_VALUE, data)))
		r := elements(unix.NFT_MSG_NEWSETELEM, to, elem)
		r.Flags |= unix.NLM_F_EXCL
		return r
	}
	return []*nl.NetlinkRequest{add(m.in(), e.data), add(m.in()+beaconSuffix, beaconOf(m.To.Addr()).AsSlice())}
}

// withdrawal are the requests that take m back, one after the other: published lists what
// is left if it ends in between.
func (m Mapping) withdrawal() []*nl.NetlinkRequest {
	key := m.item().key
	return []*nl.NetlinkRequest{
		elements(unix.NFT_MSG_DELSETELEM, m.in()+beaconSuffix, element(key, 0)),
		elements(unix.NFT_MSG_DELSETELEM, m.in(), element(key, 0)),
	}
}

// published returns all mappings.
func (c *conn) published() ([]Mapping, error) {
	var all []Mapping
	for _, name := range []string{mapPub4, mapPub6, mapAt4, mapAt6} {
		items, err := c.items(name)
		if err != nil {
			return nil, err
		}
		for _, e := range items {
			if m, ok := readMapping(e); ok {
				all = append(all, m)
			}
		}
	}
	return all, nil
}

// withdraw removes the mappings that which picks.
func (c *conn) withdraw(which func(Mapping) bool) error {
	all, err := c.published()
	if err != nil {
		return err
	}
	for _, m := range all {
		if !which(m) {
			continue
		}
		for _, r := range m.withdrawal() {
			if err := c.transact([]*nl.NetlinkRequest{r}); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("withdraw %s: %w", m.Port, err)
			}
		}
	}
	return nil
}

// A Firewall is the rules of a network namespace, through a socket of its own: it stays
// that namespace's when the thread moves to another one.
type Firewall struct{ conn *conn }

// OpenFirewall returns the rules of the calling thread's network namespace.
func OpenFirewall() (*Firewall, error) {
	c, err := dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("set up nftables: %w", err)
	}
	return &Firewall{c}, nil
}

// Tell has f be told of, as [Host.Tell] has it of a Host.
func (f *Firewall) Tell(line func(string)) { f.conn.tell = line }

// Close gives up the socket.
func (f *Firewall) Close() { f.conn.close() }

// Publish publishes all of mappings, for the container whose link has the host's end of that
// name, or none. They hold while the link is there. A mapping whose container is gone is in
// nobody's way: h tells which are there. ErrPublished names the holder of a port.
func (f *Firewall) Publish(h *Host, end string, mappings []Mapping) error {
	err := h.light(end, mappings)
	if err != nil {
		return err
	}
	for range 3 {
		if err := f.makeWay(h, mappings); err != nil {
			return err
		}
		var reqs []*nl.NetlinkRequest
		for _, m := range mappings {
			reqs = append(reqs, m.publication()...)
		}
		if err = f.conn.transact(reqs); !errors.Is(err, unix.EEXIST) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("publish %s: %w", mappings[0].Port, err)
	}
	return nil
}

// CheckFree finds out whether a container has what comes to a TCP port of the host, on
// any address: ErrPublished names it.
func (f *Firewall) CheckFree(h *Host, port uint16) error {
	p := Port{Proto: unix.IPPROTO_TCP, Port: port}
	return f.makeWay(h, []Mapping{
		{p, netip.AddrPortFrom(netip.IPv4Unspecified(), port)},
		{p, netip.AddrPortFrom(netip.IPv6Unspecified(), port)},
	})
}

// makeWay removes what is in the way of mappings and leads to containers that are gone; it
// waits for one that is going. ErrPublished names one that stays.
func (f *Firewall) makeWay(h *Host, mappings []Mapping) error {
	for start := time.Now(); ; entry.Pause(5 * time.Millisecond) {
		held, found, err := f.conflict(mappings)
		if err != nil || !found {
			return err
		}
		if err := f.Sweep(h); err != nil {
			return err
		}
		var holders []string
		ends, err := h.ends()
		if err != nil {
			return err
		}
		for _, e := range ends {
			if e.has(held.To.Addr()) {
				holders = append(holders, e.Link)
			}
		}
		if !h.leaves(start, holders...) {
			return fmt.Errorf("port %s is %w, for %s", held.Port, ErrPublished, h.who(held.To.Addr()))
		}
	}
}

// conflict finds what is published and has, in part at least, what mappings are to have.
func (f *Firewall) conflict(mappings []Mapping) (held Mapping, found bool, err error) {
	all, err := f.conn.published()
	for _, m := range mappings {
		if i := slices.IndexFunc(all, m.conflicts); i >= 0 {
			return all[i], true, err
		}
	}
	return held, false, err
}

// conflicts tells whether both want one port of the host. A container may have a port on
// all addresses lead to one of its own, and on one address to another.
func (m Mapping) conflicts(o Mapping) bool {
	if m.Proto != o.Proto || m.Port.Port != o.Port.Port || m.To.Addr().Is4() != o.To.Addr().Is4() {
		return false
	}
	return m.Addr == o.Addr || m.To.Addr() != o.To.Addr() && (!m.Addr.IsValid() || !o.Addr.IsValid())
}

// Sweep removes the mappings to containers that are gone.
func (f *Firewall) Sweep(h *Host) error {
	ends, err := h.ends()
	if err != nil {
		return err
	}
	return f.conn.withdraw(func(m Mapping) bool {
		for _, e := range ends {
			if e.has(m.To.Addr()) {
				return false
			}
		}
		return true
	})
}

// Forget removes what is published for any of addrs: before one is used anew.
func (f *Firewall) Forget(addrs []netip.Prefix) error {
	return f.conn.withdraw(func(m Mapping) bool {
		for _, a := range addrs {
			if a.Addr() == m.To.Addr() {
				return true
			}
		}
		return false
	})
}

// Unpublish withdraws a port: from IPv4 and IPv6 alike. ENOENT if it is not published.
func (f *Firewall) Unpublish(p Port) error {
	found := false
	err := f.conn.withdraw(func(m Mapping) bool {
		same := m.Port == p
		found = found || same
		return same
	})
	if err == nil && !found {
		err = fmt.Errorf("port %s is not published: %w", p, unix.ENOENT)
	}
	return err
}
