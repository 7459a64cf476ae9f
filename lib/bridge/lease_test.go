package bridge

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCandidates(t *testing.T) {
	b := &Bridge{Name: "b", Addrs: prefixes("10.0.0.3/29", "10.0.0.5/29")}
	for n := range uint32(10) {
		var got []string
		b.candidates(b.Addrs[0], n, func(ip netip.Addr) bool {
			got = append(got, ip.String())
			return false
		})
		slices.Sort(got)
		// Neither the subnet's name, nor its broadcast address, nor the bridge's own.
		if want := []string{"10.0.0.1", "10.0.0.2", "10.0.0.4", "10.0.0.6"}; !slices.Equal(got, want) {
			t.Errorf("from %d: %v, want %v", n, got, want)
		}
	}
	for _, small := range prefixes("10.0.0.1/31", "10.0.0.1/32") {
		b.candidates(small, 7, func(ip netip.Addr) bool {
			t.Errorf("%s in %s", ip, small)
			return true
		})
	}
}

func TestCheckAddr(t *testing.T) {
	b := &Bridge{Name: "b", Addrs: prefixes("10.0.0.1/24", "10.1.0.1/16", "10.1.0.2/16")}
	for _, c := range []struct {
		ip   string
		bits int
		ok   bool
	}{
		{"10.0.0.2", 0, true},
		{"10.0.0.2", 24, true},
		{"10.1.9.9", 16, true},
		{"10.0.0.2", 16, false},
		{"10.0.0.0", 24, false},
		{"10.0.0.1", 0, false},
		{"10.1.0.2", 16, false},
		{"10.0.0.255", 0, false},
		{"10.2.0.1", 0, false},
	} {
		_, err := b.CheckAddr(netip.MustParseAddr(c.ip), c.bits)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrAddrUnusable) {
			t.Errorf("CheckAddr(%s, %d) = %v", c.ip, c.bits, err)
		}
	}
	if _, err := (&Bridge{}).CheckAddr(netip.MustParseAddr("10.0.0.1"), 0); !errors.Is(err, ErrAddrUnusable) {
		t.Errorf("without a subnet: %v", err)
	}
}

// The name of a link holds 15 bytes, and says the address and nothing else.
func FuzzLease(f *testing.F) {
	f.Add(uint32(0), "nb00000000")
	f.Add(uint32(10<<24|5), "nb0a00000x")
	f.Add(^uint32(0), "NB0A000005")
	f.Fuzz(func(t *testing.T, n uint32, name string) {
		ip := fromUint(n)
		if got, ok := LeaseAddr(LeaseName(ip)); !ok || got != ip || len(LeaseName(ip)) >= unix.IFNAMSIZ {
			t.Fatalf("%s: %s, %v", LeaseName(ip), got, ok)
		}
		if got, ok := LeaseAddr(name); ok && LeaseName(got) != name {
			t.Fatalf("%q is read as %s", name, got)
		}
	})
}

// What the kernel sends is read without a slip, whatever it is.
func FuzzAttrs(f *testing.F) {
	f.Add([]byte{8, 0, 4, 0, 1, 2, 3, 4, 5, 0, 3, 0, 'x'})
	f.Add([]byte{255, 255, 0, 0})
	f.Fuzz(func(_ *testing.T, b []byte) {
		attrs(b).each(func(kind int, v []byte) {
			attrs(v).number(kind)
			attrs(b).text(kind)
			attrs(b).addr(kind)
		})
		readLink(b)
		readAddr(b)
		_ = errorIn(b, unix.NLM_F_ACK_TLVS)
	})
}
