package bridge

import (
	"errors"
	"net/netip"
	"testing"
)

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func TestFreeSubnet(t *testing.T) {
	for _, c := range []struct {
		name  string
		taken []netip.Prefix
		want  string
	}{
		{"nothing in the way", nil, "10.77.0.1/22"},
		{"another of ours", prefixes("10.77.0.0/22"), "10.77.4.1/22"},
		{"an address in the middle", prefixes("10.77.2.9/32", "10.77.7.255/32"), "10.77.8.1/22"},
		{"a company's network", prefixes("10.0.0.0/8"), "172.29.0.1/22"},
		{"two large ones", prefixes("10.0.0.0/8", "172.16.0.0/12"), "192.168.128.1/22"},
		{"the corners only", prefixes("10.77.0.0/16", "172.29.0.0/16", "192.168.128.0/17"), "10.0.0.1/22"},
		{"every private range", prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := FreeSubnet(c.taken)
			if c.want == "" {
				if !errors.Is(err, ErrNoSubnet) {
					t.Fatalf("got %v, %v; want ErrNoSubnet", got, err)
				}
				return
			}
			if err != nil || got.String() != c.want {
				t.Fatalf("got %v, %v; want %s", got, err, c.want)
			}
		})
	}
}

func TestGateway(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.0/24": "10.0.0.1/24", "10.0.0.9/24": "10.0.0.9/24", "10.0.0.5/30": "10.0.0.5/30",
		"10.0.0.255/24": "", "10.0.0.0/31": "", "10.0.0.1/32": "", "10.0.0.0/4": "",
	} {
		got, err := Gateway(netip.MustParsePrefix(in))
		if (err != nil) != (want == "") || err == nil && got.String() != want {
			t.Errorf("Gateway(%s) = %v, %v; want %q", in, got, err, want)
		}
	}
}

func TestLast(t *testing.T) {
	for in, want := range map[string]string{
		"10.9.0.0/16": "10.9.255.255", "10.8.0.7/16": "10.8.255.255", "10.9.1.0/24": "10.9.1.255", "10.77.3.1/22": "10.77.3.255",
		"10.0.0.1/8": "10.255.255.255", "10.0.0.5/30": "10.0.0.7", "255.255.255.255/32": "255.255.255.255", "1.2.3.4/0": "255.255.255.255",
	} {
		if got := last(netip.MustParsePrefix(in)); got.String() != want {
			t.Errorf("last(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestCheckOverlap(t *testing.T) {
	known := []network{
		{netip.MustParsePrefix("10.0.0.0/8"), 2, false}, // a VPN's route through a router
		{netip.MustParsePrefix("10.1.2.0/24"), 2, false},
		{netip.MustParsePrefix("192.168.0.0/16"), 3, true},
		{netip.MustParsePrefix("10.9.0.0/24"), 7, true},
	}
	for in, free := range map[string]bool{
		"10.5.0.0/24":    true,
		"10.1.2.0/24":    false, // would take it over
		"10.1.2.128/25":  true,
		"10.1.0.0/16":    false,
		"192.168.5.0/24": false, // the host is attached to it
		"10.9.0.0/24":    true,  // the bridge's own
		"172.16.0.0/24":  true,
	} {
		if err := checkOverlap(netip.MustParsePrefix(in), known, 7); (err == nil) != free {
			t.Errorf("checkOverlap(%s) = %v", in, err)
		}
	}
}

func FuzzParseAddr(f *testing.F) {
	for _, s := range []string{"10.0.0.5/24", "10.0.0.5", "::1/64", "10.0.0.5/33", "", "/", "auto", "1.2.3.4/-1", "::ffff:1.2.3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ip, bits, err := ParseAddr(s)
		if err != nil {
			return
		}
		if ip.Is4In6() || bits < 0 || bits > ip.BitLen() {
			t.Fatalf("%q: %v/%d", s, ip, bits)
		}
		p := netip.PrefixFrom(ip, bits)
		if l := last(p); !p.Contains(l) || l.Next().IsValid() && p.Contains(l.Next()) && bits > 0 {
			t.Fatalf("%q: last address %v", s, l)
		}
		if g, err := Gateway(p); err == nil && (!g.Contains(ip) || g.Addr() == g.Masked().Addr()) {
			t.Fatalf("%q: gateway %v", s, g)
		}
	})
}
