package bridge

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// onHost runs f in a network namespace that is made for it, and gone after it: its
// thread ends with it.
func onHost(t *testing.T, f func(h *Host)) {
	t.Helper()
	if unix.Geteuid() != 0 {
		t.Skip("needs root")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare(CLONE_NEWNET): %v", err)
			return
		}
		h, err := Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer h.Close()
		f(h)
	}()
	<-done
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Error(err)
			runtime.Goexit()
		}
		return v
	}
}

func TestUpTwice(t *testing.T) {
	onHost(t, func(h *Host) {
		spec := Spec{Name: "br0", Addrs: prefixes("10.9.0.1/24"), NAT: true}
		first := must[*Bridge](t)(h.Up(spec))
		second := must[*Bridge](t)(h.Up(spec))
		if !first.Made || second.Made || first.Index != second.Index || !slices.Equal(first.Addrs, second.Addrs) || !second.Ours {
			t.Errorf("first %+v, second %+v", first, second)
		}
		spec.Addrs = prefixes("10.9.1.1/24")
		if _, err := h.Up(spec); !errors.Is(err, ErrAddr) {
			t.Errorf("with another address: %v", err)
		}
		if _, err := h.Up(Spec{Name: "br1", Addrs: prefixes("10.9.0.7/25")}); !errors.Is(err, ErrOverlap) {
			t.Errorf("with an overlapping subnet: %v", err)
		}
		if _, err := h.Find("br1"); !errors.Is(err, unix.ENODEV) {
			t.Errorf("br1 was made: %v", err)
		}
	})
}

func TestNotABridge(t *testing.T) {
	onHost(t, func(h *Host) {
		if _, err := h.Ensure(Spec{Name: "lo"}); !errors.Is(err, ErrNotBridge) {
			t.Errorf("lo: %v", err)
		}
		if err := h.Down("lo", true); !errors.Is(err, ErrNotBridge) {
			t.Errorf("lo: %v", err)
		}
	})
}

// What nft(8) prints of our table is what the comment in nft.go says.
func TestRules(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("needs nft")
	}
	published := func(not6 string) string {
		return `ip daddr set ip daddr . meta l4proto . th dport map @at4_beacon ip daddr set ip daddr fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @at4
			` + not6 + `ip6 daddr set ip6 daddr . meta l4proto . th dport map @at6_beacon ip6 daddr set ip6 daddr fib daddr type local dnat ip6 to ip6 daddr . meta l4proto . th dport map @at6
			fib daddr type local ip daddr set meta l4proto . th dport map @pub4_beacon ip daddr set ip daddr fib daddr type local dnat ip to meta l4proto . th dport map @pub4
			` + not6 + `fib daddr type local ip6 daddr set meta l4proto . th dport map @pub6_beacon ip6 daddr set ip6 daddr fib daddr type local dnat ip6 to meta l4proto . th dport map @pub6 }
		`
	}
	want := words(`table inet netbr {
		set br { type ifname elements = { "br0", "br1", "br2" } }
		set same { type ifname . ifname elements = { "br0" . "br0", "br1" . "br1", "br2" . "br2" } }
		set open { type ifname }
		set closed { type ifname }
		set nat4 { type ipv4_addr flags interval elements = { 10.9.0.0/16, 10.77.0.0/22 } }
		set nat6 { type ipv6_addr flags interval elements = { fd4e:6272:a4d::/64 } }
		set sub4 { type ipv4_addr flags interval elements = { 10.9.0.0/16, 10.10.0.0/24, 10.77.0.0/22 } }
		set sub6 { type ipv6_addr flags interval elements = { fd4e:6272:a4d::/64 } }
		map pub4 { type inet_proto . inet_service : ipv4_addr . inet_service }
		map pub6 { type inet_proto . inet_service : ipv6_addr . inet_service }
		map at4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service }
		map at6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service }
		map pub4_beacon { type inet_proto . inet_service : ipv4_addr }
		map pub6_beacon { type inet_proto . inet_service : ipv6_addr }
		map at4_beacon { type ipv4_addr . inet_proto . inet_service : ipv4_addr }
		map at6_beacon { type ipv6_addr . inet_proto . inet_service : ipv6_addr }
		chain guard { type filter hook prerouting priority raw; policy accept;
			iifname != "lo" ip daddr 127.0.0.0/8 drop }
		chain pre { type nat hook prerouting priority dstnat; policy accept;
			` + published("") + `
		chain out { type nat hook output priority -100; policy accept;
			` + published("ip6 daddr != ::1 ") + `
		chain post { type nat hook postrouting priority srcnat; policy accept;
			ip saddr @nat4 oifname != @br masquerade
			ip6 saddr @nat6 oifname != @br masquerade
			ct status dnat oifname @br ip saddr @sub4 masquerade
			ct status dnat oifname @br ip6 saddr @sub6 masquerade
			ct status dnat oifname @br ip saddr 127.0.0.0/8 masquerade }
		chain forw { type filter hook forward priority filter; policy accept;
			ct state established,related accept
			iifname @closed iifname . oifname != @same drop
			oifname @closed iifname . oifname != @same drop
			ct status dnat accept
			iifname @open oifname @open accept
			iifname @br oifname @br iifname . oifname != @same drop
			oifname @br iifname != @br ip daddr @nat4 drop
			oifname @br iifname != @br ip6 daddr @nat6 drop } }`)
	onHost(t, func(h *Host) {
		list := func() string {
			out, err := exec.Command(nft, "list", "ruleset").CombinedOutput()
			if err != nil {
				t.Errorf("nft: %v: %s", err, out)
			}
			return words(string(out))
		}
		up := func() {
			must[*Bridge](t)(h.Up(Spec{Name: "br0", Addrs: prefixes("10.9.0.1/16"), NAT: true}))
			must[*Bridge](t)(h.Up(Spec{Name: "br1", NAT: true}))
			must[*Bridge](t)(h.Up(Spec{Name: "br2", Addrs: prefixes("10.10.0.1/24")}))
		}
		up()
		if got := list(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		for _, damage := range []string{"flush ruleset", "flush table inet netbr", "flush set inet netbr br", "flush chain inet netbr post"} {
			if out, err := exec.Command(nft, strings.Fields(damage)...).CombinedOutput(); err != nil {
				t.Errorf("nft %s: %v: %s", damage, err, out)
			}
			if up(); list() != want {
				t.Errorf("after %q: %s", damage, list())
			}
		}
		must[*Bridge](t)(h.Up(Spec{Name: "br0"}))
		if got := list(); strings.Contains(strings.Split(got, "set sub4")[0], "10.9.0.0") {
			t.Errorf("without NAT: %s", got)
		}
		for _, name := range []string{"br0", "br1", "br2"} {
			if err := h.Down(name, false); err != nil {
				t.Error(err)
			}
		}
		if got := list(); got != "" {
			t.Errorf("after Down: %s", got)
		}
	})
}

func words(s string) string { return strings.Join(strings.Fields(s), " ") }

func TestWire(t *testing.T) {
	onHost(t, func(h *Host) {
		b := must[*Bridge](t)(h.Up(Spec{Name: "br0", Addrs: prefixes("10.9.0.1/29")}))
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		l := must[Lease](t)(h.Wire(b, Request{Addr: netip.MustParseAddr("10.9.0.4")}))
		if err := Configure(l, nil); err != nil {
			t.Error(err)
		}
		if _, err := h.Wire(b, Request{Addr: l.Addr.Addr()}); !errors.Is(err, ErrTaken) {
			t.Errorf("an address twice: %v", err)
		}
		if list := must[[]Entry](t)(h.List()); len(list) != 1 || len(list[0].Ends) != 1 || list[0].Ends[0].Addrs[0] != l.Addr {
			t.Errorf("list %+v", list)
		}
		if err := h.conn.do(delLink(must[link](t)(h.link(l.Host)).index)); err != nil {
			t.Error(err)
		}
	})
}

// Every address of a subnet is given once; then the error says that there is no other.
func TestPoolFull(t *testing.T) {
	onHost(t, func(h *Host) {
		b := must[*Bridge](t)(h.Up(Spec{Name: "br0", Addrs: prefixes("10.9.0.1/29")}))
		var got []string
		for range 5 {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil { // so that eth0 is free
				t.Error(err)
				return
			}
			ns := must[int](t)(openHere())
			defer func() { _ = unix.Close(ns) }()
			got = append(got, must[Lease](t)(h.Wire(b, Request{})).String())
		}
		slices.Sort(got)
		if want := []string{"10.9.0.2/29", "10.9.0.3/29", "10.9.0.4/29", "10.9.0.5/29", "10.9.0.6/29"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
		}
		if _, err := h.Wire(b, Request{}); !errors.Is(err, ErrFull) {
			t.Errorf("the sixth: %v", err)
		}
	})
}

// What a failure leaves is what was there before; a link that belongs to someone else
// stays.
func TestUndo(t *testing.T) {
	onHost(t, func(h *Host) {
		spec := Spec{Name: "br0", Addrs: prefixes("10.9.0.1/24"), NAT: true}
		b := must[*Bridge](t)(h.Ensure(spec))
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		l := must[Lease](t)(h.Wire(b, Request{}))
		if err := h.Undo(b, l); err != nil {
			t.Error(err)
		}
		if _, err := h.Find("br0"); !errors.Is(err, unix.ENODEV) {
			t.Errorf("br0 stays: %v", err)
		}

		other := must[*Bridge](t)(h.Up(spec))
		must[Lease](t)(h.Wire(other, Request{Addr: netip.MustParseAddr("10.9.0.4")}))
		late := must[*Bridge](t)(h.Ensure(Spec{Name: "br1", Addrs: prefixes("10.9.1.1/24")}))
		_, err := h.Wire(other, Request{Addr: netip.MustParseAddr("10.9.0.4")})
		if !errors.Is(err, ErrTaken) {
			t.Errorf("taken: %v", err)
		}
		if err := h.Undo(late, Lease{}); err != nil {
			t.Error(err)
		}
		if _, err := h.link(LeaseName(netip.MustParseAddr("10.9.0.4"))); err != nil {
			t.Errorf("the other's link: %v", err)
		}
		if err := h.Down("br0", false); !errors.Is(err, ErrInUse) {
			t.Errorf("down in use: %v", err)
		}
		if err := h.Down("br0", true); err != nil {
			t.Error(err)
		}
	})
}

func TestForeign(t *testing.T) {
	onHost(t, func(h *Host) {
		if err := h.make(Spec{Name: "br0", Addrs: prefixes("10.9.0.1/24")}); err != nil {
			t.Error(err)
		}
		l := must[link](t)(h.link("br0"))
		if err := h.conn.do(setUp(l.index, text(unix.IFLA_IFALIAS, "mine"))); err != nil {
			t.Error(err)
		}
		if _, err := h.Ensure(Spec{Name: "br0"}); !errors.Is(err, ErrNoAddr) {
			t.Errorf("without an address: %v", err)
		}
		if err := h.Down("br0", false); !errors.Is(err, ErrForeign) {
			t.Errorf("down: %v", err)
		}
		if b := must[*Bridge](t)(h.Up(Spec{Name: "br0"})); b.Made || b.Ours || len(b.Addrs) != 1 {
			t.Errorf("up: %+v", b)
		}
	})
}

// The MTU of the link that leads out of the host is the bridge's, and its containers'.
func TestMTU(t *testing.T) {
	onHost(t, func(h *Host) {
		if err := h.make(Spec{Name: "up0", Addrs: prefixes("203.0.113.2/24"), MTU: 1400}); err != nil {
			t.Error(err)
		}
		up0 := must[link](t)(h.link("up0")).index
		if err := h.conn.do(addAddr(up0, netip.MustParsePrefix("203.0.113.2/24")), setUp(up0), defaultRoute(up0, netip.MustParseAddr("203.0.113.1"))); err != nil {
			t.Error(err)
		}
		if b := must[*Bridge](t)(h.Up(Spec{Name: "br0"})); b.MTU != 1400 {
			t.Errorf("MTU %d", b.MTU)
		}
	})
}

func TestPermitted(t *testing.T) {
	h, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Permitted(); (err == nil) != (os.Geteuid() == 0) || err != nil && !errors.Is(err, unix.EPERM) {
		t.Errorf("as user %d: %v", os.Geteuid(), err)
	}
}
