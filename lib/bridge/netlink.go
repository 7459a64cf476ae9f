package bridge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// conn is a netlink socket (netlink(7)) of the network namespace that the calling
// thread was in when it was opened; it stays of that namespace. It is used by plain
// blocking system calls: nl's own sockets are os.Files, which start the runtime's
// poller, and a chain that has a poller cannot close its descriptors.
type conn struct {
	fd  int
	buf []byte

	tell   func(line string) // nil where nobody wants to know what is sent
	told   string            // the last that was told
	called linkNames
}

func dial(proto int) (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	// Both only add: the kernel's own words to an error, and filters to dumps.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	return &conn{fd: fd, buf: make([]byte, 32<<10)}, nil
}

func (c *conn) close() { _ = unix.Close(c.fd) }

// name keeps the name of a link, to tell of messages that have its index.
func (c *conn) name(index int, name string) {
	if c.tell == nil {
		return
	}
	if c.called == nil {
		c.called = linkNames{}
	}
	c.called[index] = name
}

// say tells of messages that are about to be sent; once of those that are sent again,
// because they failed.
func (c *conn) say(reqs []*nl.NetlinkRequest) {
	if c.tell == nil {
		return
	}
	var all string
	messages := telling(c.called, serialize(reqs))
	for _, m := range messages {
		all += m.String() + "\n"
	}
	if all == c.told {
		return
	}
	for _, m := range messages {
		c.tell(m.String())
	}
	if all != "" {
		c.told = all
	}
}

// do sends requests in one message and waits until the last of them is
// acknowledged. The kernel takes them in order, and reports each that fails.
func (c *conn) do(reqs ...*nl.NetlinkRequest) error {
	reqs[len(reqs)-1].Flags |= unix.NLM_F_ACK
	c.say(reqs)
	return c.exchange(reqs, nil)
}

// get sends a request for one object, and hands its body to each.
func (c *conn) get(req *nl.NetlinkRequest, each func(body []byte)) error {
	return c.exchange([]*nl.NetlinkRequest{req}, each)
}

// dump asks for all objects that match, and hands their bodies to each. The kernel
// says when they changed while it was listing them; then the dump is made again, and
// reset is called before.
func (c *conn) dump(req *nl.NetlinkRequest, reset func(), each func(body []byte)) error {
	req.Flags |= unix.NLM_F_DUMP
	var err error
	for range 10 {
		reset()
		if err = c.exchange([]*nl.NetlinkRequest{req}, each); err != nl.ErrDumpInterrupted {
			break
		}
		req.Seq++
	}
	return err
}

func serialize(reqs []*nl.NetlinkRequest) (msgs [][]byte) {
	for _, r := range reqs {
		msgs = append(msgs, r.Serialize())
	}
	return msgs
}

// joined are messages as one, each where it must begin.
func joined(msgs [][]byte) (all []byte) {
	for _, m := range msgs {
		all = append(all, m...)
		for len(all)%unix.NLMSG_ALIGNTO != 0 {
			all = append(all, 0)
		}
	}
	return all
}

func (c *conn) exchange(reqs []*nl.NetlinkRequest, each func(body []byte)) error {
	msg := joined(serialize(reqs))
	if err := unix.Sendto(c.fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send to netlink: %w", err)
	}
	first, last := reqs[0].Seq, reqs[len(reqs)-1].Seq
	var interrupted error
	for {
		n, from, err := unix.Recvfrom(c.fd, c.buf, unix.MSG_TRUNC)
		switch sender, ok := from.(*unix.SockaddrNetlink); {
		case err == unix.EINTR:
			continue
		case err != nil:
			return fmt.Errorf("receive from netlink: %w", err)
		case n > len(c.buf):
			return fmt.Errorf("receive from netlink: %w", unix.EMSGSIZE)
		case !ok || sender.Pid != 0: // not the kernel
			continue
		}
		for b := c.buf[:n]; len(b) >= unix.NLMSG_HDRLEN; {
			length := int(binary.NativeEndian.Uint32(b))
			kind, flags, seq := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:]), binary.NativeEndian.Uint32(b[8:])
			if length < unix.NLMSG_HDRLEN || length > len(b) {
				return fmt.Errorf("receive from netlink: %w", unix.EBADMSG)
			}
			body := b[unix.NLMSG_HDRLEN:length]
			b = b[min(len(b), (length+3)&^3):]
			if seq-first > last-first { // of an exchange that was given up after an error
				continue
			}
			if flags&unix.NLM_F_DUMP_INTR != 0 {
				interrupted = nl.ErrDumpInterrupted
			}
			switch kind {
			case unix.NLMSG_ERROR:
				if err := errorIn(body, flags); err != nil {
					return err
				}
				if seq == last {
					return interrupted
				}
			case unix.NLMSG_DONE:
				if err := errorIn(body, flags); err != nil {
					return err
				}
				return interrupted
			default:
				if each != nil {
					each(body)
				}
				if each != nil && flags&unix.NLM_F_MULTI == 0 && seq == last {
					return interrupted
				}
			}
		}
	}
}

// errorIn reads the errno of an answer, 0 for success, and the kernel's words for it.
func errorIn(body []byte, flags uint16) error {
	if len(body) < 4 {
		return nil
	}
	n := -int32(binary.NativeEndian.Uint32(body))
	if n == 0 {
		return nil
	}
	errno := unix.Errno(n)
	if flags&unix.NLM_F_ACK_TLVS == 0 || len(body) < 8 {
		return errno
	}
	at := 4 + int(binary.NativeEndian.Uint32(body[4:])) // behind the request, which is echoed
	if at = (at + 3) &^ 3; at > len(body) {
		return errno
	}
	text := attrs(body[at:]).text(nl.NLMSGERR_ATTR_MSG)
	if text == "" {
		return errno
	}
	return fmt.Errorf("%w (%s)", errno, text)
}

// attrs are the attributes of a message.
type attrs []byte

// get returns the value of the first attribute of one kind, nil if there is none.
func (a attrs) get(kind int) []byte {
	var found []byte
	a.each(func(k int, v []byte) {
		if k == kind && found == nil {
			found = v
		}
	})
	return found
}

// each calls f with every attribute.
func (a attrs) each(f func(kind int, value []byte)) {
	for len(a) >= unix.SizeofRtAttr {
		length := int(binary.NativeEndian.Uint16(a))
		if length < unix.SizeofRtAttr || length > len(a) {
			return
		}
		f(int(binary.NativeEndian.Uint16(a[2:])&nl.NLA_TYPE_MASK), a[unix.SizeofRtAttr:length:length])
		a = a[min(len(a), (length+3)&^3):]
	}
}

func (a attrs) text(kind int) string { return unix.ByteSliceToString(a.get(kind)) }

func (a attrs) number(kind int) int {
	if v := a.get(kind); len(v) >= 4 {
		return int(binary.NativeEndian.Uint32(v))
	}
	return 0
}

func (a attrs) addr(kind int) netip.Addr {
	ip, _ := netip.AddrFromSlice(a.get(kind))
	return ip
}

func text(kind int, s string) *nl.RtAttr { return nl.NewRtAttr(kind, nl.ZeroTerminated(s)) }

func number(kind, v int) *nl.RtAttr { return nl.NewRtAttr(kind, nl.Uint32Attr(uint32(v))) }

func nest(kind int, children ...nl.NetlinkRequestData) *nl.RtAttr {
	a := nl.NewRtAttr(kind, nil)
	for _, c := range children {
		a.AddChild(c)
	}
	return a
}

// request makes a request of a header and attributes.
func request(kind, flags int, data ...nl.NetlinkRequestData) *nl.NetlinkRequest {
	r := nl.NewNetlinkRequest(kind, flags)
	r.Data = data
	return r
}

// ndmsg is struct ndmsg of a neighbour: nl has none of its own.
type ndmsg struct {
	family uint8
	index  uint32
	state  uint16
	flags  uint8
}

func (m *ndmsg) Len() int { return 12 }

func (m *ndmsg) Serialize() []byte {
	b := binary.NativeEndian.AppendUint32([]byte{m.family, 0, 0, 0}, m.index)
	return append(binary.NativeEndian.AppendUint16(b, m.state), m.flags, 0)
}

// bare is the errno in err, err itself if there is none.
func bare(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
