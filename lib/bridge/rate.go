package bridge

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ParseRate reads bits a second: 500000, or with kbit, mbit, gbit (powers of 1000, as tc(8)
// has them).
func ParseRate(s string) (uint64, error) {
	digits, factor := s, uint64(1)
	for suffix, f := range map[string]uint64{"kbit": 1e3, "mbit": 1e6, "gbit": 1e9} {
		if d, ok := strings.CutSuffix(s, suffix); ok {
			digits, factor = d, f
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	switch {
	case err != nil || digits[0] == '+':
		return 0, fmt.Errorf("%q is no rate, such as 500kbit, 10mbit or 1gbit", s)
	case n > math.MaxUint64/factor:
		return 0, fmt.Errorf("%q: a rate is at most %dgbit", s, uint64(math.MaxUint64)/1_000_000_000)
	case n*factor < 8000:
		return 0, fmt.Errorf("%q: a rate is at least 8kbit", s)
	}
	return n * factor, nil
}

// limitRate has a link send no more than rate bits a second.
func limitRate(c *conn, index int, rate uint64) error {
	if err := c.do(bucket(index, rate)); err != nil {
		return fmt.Errorf("limit rate: %w", err)
	}
	return nil
}

// bucket asks for a limit of tc-tbf(8): what is beyond it waits, up to 50 ms of it.
func bucket(index int, rate uint64) *nl.NetlinkRequest {
	bytes := rate / 8
	burst := max(bytes/50, 32<<10) // a segment of a veth has up to 64 kB; the kernel splits it if it must
	const ethernet = 1             // TC_LINKLAYER_ETHERNET: the kernel does its own sums
	var opt []byte                 // struct tc_tbf_qopt: two of tc_ratespec, limit, buffer, mtu
	word := func(v uint32) { opt = binary.NativeEndian.AppendUint32(opt, v) }
	spec := func(rate uint64) {
		opt = append(opt, 0, ethernet, 0, 0, 0, 0, 0, 0)
		word(uint32(min(rate, math.MaxUint32)))
	}
	spec(bytes)
	spec(0)
	word(uint32(min(burst+bytes/20, math.MaxUint32)))
	word(0)
	word(0)
	options := nest(nl.TCA_OPTIONS, nl.NewRtAttr(nl.TCA_TBF_PARMS, opt), number(nl.TCA_TBF_BURST, int(min(burst, math.MaxUint32))))
	if bytes > math.MaxUint32 {
		options.AddChild(nl.NewRtAttr(nl.TCA_TBF_RATE64, binary.NativeEndian.AppendUint64(nil, bytes)))
	}
	msg := &nl.TcMsg{Family: unix.AF_UNSPEC, Ifindex: int32(index), Parent: math.MaxUint32} // TC_H_ROOT
	return request(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, msg, text(nl.TCA_KIND, "tbf"), options)
}
