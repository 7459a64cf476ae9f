package probe

import (
	"net"
	"strings"
	"testing"
)

func TestHasAddress(t *testing.T) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Skip(err)
	}
	for _, a := range all {
		if ip, _, err := net.ParseCIDR(a.String()); err == nil && ip.To4() != nil && !HasAddress(ip.String()) {
			t.Errorf("%s is not found", ip)
		}
	}
	for _, addr := range []string{"", "x", "0.0.0.0", "203.0.113.254", strings.Repeat("1", 1000)} {
		if HasAddress(addr) {
			t.Errorf("%q is found", addr)
		}
	}
}
