package bridge

import (
	"net/netip"
	"testing"
)

func TestBeaconOf(t *testing.T) {
	for ip, want := range map[string]string{
		"10.77.0.21":          "250.77.0.21",
		"192.168.1.2":         "240.168.1.2",
		"fd4e:6272:a4d::1:15": "24e:6272:a4d::1:15",
	} {
		if got := beaconOf(netip.MustParseAddr(ip)); got != netip.MustParseAddr(want) {
			t.Errorf("beaconOf(%s) = %s, not %s", ip, got, want)
		}
	}
}
