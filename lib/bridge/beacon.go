package bridge

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A beacon tells the rules that a container is there: a local route through the host's end
// of its link, which the kernel removes with the link. Its destination is one that nobody
// has for an address: in 240.0.0.0/4, reserved, or in 24e::/16, of the range that RFC 4048
// took back.

// beaconOf is the destination of the beacon of a container's address.
func beaconOf(ip netip.Addr) netip.Addr {
	b := ip.AsSlice()
	if ip.Is4() {
		b[0] |= 0xf0
	} else {
		b[0], b[1] = 0x02, 0x4e
	}
	beacon, _ := netip.AddrFromSlice(b)
	return beacon
}

// beacon is the request for the beacon of an address, through the link with an index.
func beacon(index int, ip netip.Addr) *nl.NetlinkRequest {
	to := beaconOf(ip)
	msg := nl.NewRtMsg()
	msg.Family = unix.AF_INET
	if to.Is6() {
		msg.Family = unix.AF_INET6
	}
	msg.Table, msg.Scope, msg.Type, msg.Dst_len = unix.RT_TABLE_LOCAL, unix.RT_SCOPE_HOST, unix.RTN_LOCAL, uint8(to.BitLen())
	return request(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE,
		msg, nl.NewRtAttr(unix.RTA_DST, to.AsSlice()), number(unix.RTA_OIF, index))
}

// beacons are those of all that mappings lead to, which is at the far end of one link.
func beacons(index int, mappings []Mapping) (reqs []*nl.NetlinkRequest) {
	seen := map[netip.Addr]bool{}
	for _, m := range mappings {
		if ip := m.To.Addr(); !seen[ip] {
			seen[ip] = true
			reqs = append(reqs, beacon(index, ip))
		}
	}
	return reqs
}

// light sets the beacons of a container.
func (h *Host) light(end string, mappings []Mapping) error {
	near, err := h.link(end)
	if err == nil {
		err = h.conn.do(beacons(near.index, mappings)...)
	}
	if err != nil {
		return fmt.Errorf("route by which the rules know that %s is there: %w", end, err)
	}
	return nil
}
