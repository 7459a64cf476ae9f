package bridge

import (
	"net/netip"
	"testing"
)

func TestConflicts(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool // container
		want bool
	}{
		{"8080:80", "8080:80", false, true},
		{"8080:80", "8080:81", true, true},
		{"8080:80", "8081:80", false, false},
		{"8080:80", "8080:80/udp", false, false},
		{"8080:80", "203.0.113.2:8080:81", false, true},
		{"127.0.0.1:8080:81", "8080:80", false, true},
		{"8080:80", "127.0.0.1:8080:81", true, false},
		{"127.0.0.1:8080:81", "203.0.113.2:8080:81", false, false},
	} {
		mapping := func(s, to string) Mapping {
			m, err := ParseMapping(s)
			if err != nil {
				t.Fatal(err)
			}
			m.To = netip.AddrPortFrom(netip.MustParseAddr(to), m.To.Port())
			return m
		}
		other := "10.9.0.6"
		if c.same {
			other = "10.9.0.5"
		}
		a, b := mapping(c.a, "10.9.0.5"), mapping(c.b, other)
		if a.conflicts(b) != c.want || b.conflicts(a) != c.want {
			t.Errorf("%s and %s, same container %v: want %v", c.a, c.b, c.same, c.want)
		}
		if b.To = netip.AddrPortFrom(netip.MustParseAddr("fd99::5"), 80); a.conflicts(b) {
			t.Errorf("%s and %s conflict, of IPv4 and of IPv6", c.a, c.b)
		}
	}
}
