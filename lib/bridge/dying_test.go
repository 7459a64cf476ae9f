package bridge

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// A link leads to a namespace that is alive, or dying, or is gone.
func TestDying(t *testing.T) {
	onHost(t, func(h *Host) {
		b := must[*Bridge](t)(h.Up(Spec{Name: "br0", Addrs: prefixes("10.9.0.1/24")}))
		host := must[int](t)(openHere())
		defer func() { _ = unix.Close(host) }()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		ip := netip.MustParseAddr("10.9.0.4")
		l := must[Lease](t)(h.Wire(b, Request{Addr: ip, Name: "web"}))
		for _, name := range []string{l.Host, nameOf("web"), "br0"} {
			if h.dying(name) {
				t.Errorf("%s is dying", name)
			}
		}
		if err := unix.Setns(host, unix.CLONE_NEWNET); err != nil { // nobody is left there
			t.Error(err)
		}
		for _, name := range []string{l.Host, nameOf("web")} {
			if !h.dying(name) {
				t.Errorf("%s is not dying", name)
			}
		}
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
		}
		// What it held can be had as soon as it is free.
		must[Lease](t)(h.Wire(b, Request{Addr: ip, Name: "web"}))
	})
}
