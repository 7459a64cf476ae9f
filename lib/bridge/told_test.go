package bridge

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func TestTold(t *testing.T) {
	called := linkNames{5: "lab", 7: "nb0a090005", 2: "eth0"}
	b := &Bridge{Name: "lab", Index: 5, MTU: 1500, Addrs: prefixes("10.9.0.1/24"), Addrs6: prefixes("fd99::1/64")}
	r := Request{Name: "web", Hairpin: true, Isolated: true, LockMAC: true}
	l := b.lease(r, netip.MustParseAddr("10.9.0.5"), b.Addrs[0])
	m, err := ParseMapping("8080:80/udp")
	if err != nil {
		t.Fatal(err)
	}
	m.To = netip.AddrPortFrom(l.Addr.Addr(), m.To.Port())
	for _, c := range []struct {
		reqs []*nl.NetlinkRequest
		want string
	}{
		{making(Spec{Name: "lab", Addrs: b.Addrs, Internal: true}), `RTM_NEWLINK name=lab address=02:4e:0a:09:00:01 kind=bridge
RTM_SETLINK name=lab alias="netbr internal"`},
		{[]*nl.NetlinkRequest{pairRequest(b, r, l, 0, 0, number(unix.IFLA_NET_NS_PID, 99))}, `RTM_NEWLINK name=nb0a090005 address=fe:4e:0a:09:00:05 mtu=1500 master=lab kind=veth peer.name=eth0 peer.address=02:4e:0a:09:00:05 peer.mtu=1500 peer.netns-pid=99 flags=IFF_UP`},
		{[]*nl.NetlinkRequest{alsoCalled(l.Host, nameOf("web")), portOptions(r, l), fdbEntry(7, r.mac(l)), bucket(7, 10e6), intoGroup(7), delLink(7)}, `RTM_NEWLINKPROP name=nb0a090005 altname=netbr:name:web
RTM_NEWLINK name=nb0a090005 alias="netbr web 10.9.0.5/24,fd99::5/64" port-kind=bridge hairpin=on isolated=on learning=off locked=on
RTM_NEWNEIGH dev=nb0a090005 lladdr=02:4e:0a:09:00:05
RTM_NEWQDISC dev=nb0a090005 kind=tbf rate=10000000bit
RTM_SETLINK dev=nb0a090005 group=0x6e62646f
RTM_DELLINK dev=nb0a090005`},
		{append(configure6(l, 2), configure4(l, 2)...), `RTM_SETLINK dev=eth0 addrgenmode=none
RTM_NEWADDR family=AF_INET6 dev=eth0 local=fe80::a09:5/64 flags=IFA_F_NODAD
RTM_NEWADDR family=AF_INET6 dev=eth0 local=fd99::5/64 flags=IFA_F_NODAD
RTM_SETLINK dev=lo flags=IFF_UP
RTM_NEWADDR dev=eth0 local=10.9.0.5/24
RTM_SETLINK dev=eth0 flags=IFF_UP
RTM_NEWROUTE dst=default gateway=10.9.0.1 dev=eth0
RTM_NEWROUTE family=AF_INET6 dst=default gateway=fd99::1 dev=eth0`},
		{append(m.publication(), m.withdrawal()...), `NFT_MSG_NEWSETELEM family=inet table=netbr set=pub4 elem=8080/udp to=10.9.0.5:80
NFT_MSG_NEWSETELEM family=inet table=netbr set=pub4_beacon elem=8080/udp
NFT_MSG_DELSETELEM family=inet table=netbr set=pub4_beacon elem=8080/udp
NFT_MSG_DELSETELEM family=inet table=netbr set=pub4 elem=8080/udp`},
		{beacons(7, []Mapping{m, m}), `RTM_NEWROUTE type=local dst=250.9.0.5 dev=nb0a090005`},
		// Many of one kind are told of in one line.
		{first(permission(Spec{Name: "lab", Addrs: b.Addrs, NAT: true})), `NFT_MSG_NEWTABLE family=inet table=netbr
NFT_MSG_NEWSET family=inet table=netbr set=br,same,open,closed,nat4,nat6,sub4,sub6,pub4,pub6,at4,at6,pub4_beacon,pub6_beacon,at4_beacon,at6_beacon
NFT_MSG_NEWCHAIN family=inet table=netbr chain=guard,pre,out,post,forw
NFT_MSG_DELRULE family=inet table=netbr
NFT_MSG_NEWRULE family=inet table=netbr chain=guard,pre*4,out*4,post*5,forw*8
NFT_MSG_NEWSETELEM family=inet table=netbr set=br elem=lab
NFT_MSG_NEWSETELEM family=inet table=netbr set=same elem=lab/lab
NFT_MSG_NEWSETELEM family=inet table=netbr set=sub4 elem=10.9.0.0-10.9.0.255
NFT_MSG_NEWSETELEM family=inet table=netbr set=nat4 elem=10.9.0.0-10.9.0.255`},
		{[]*nl.NetlinkRequest{request(unix.RTM_GETLINK, 0, nl.NewIfInfomsg(unix.AF_UNSPEC))}, ""},
	} {
		var lines []string
		for _, m := range telling(called, serialize(c.reqs)) {
			lines = append(lines, m.String())
		}
		if got := strings.Join(lines, "\n"); got != c.want {
			t.Errorf("told:\n%s\nwant:\n%s", got, c.want)
		}
	}
}

func first[A, B any](a A, _ B) A { return a }

// What is open is told of as open, what is known as it is.
func TestOutlook(t *testing.T) {
	open := Outlook{Spec: Spec{Name: "lab", NAT: true}}
	known := Outlook{
		Spec:    Spec{Name: "lab", Addrs: prefixes("10.9.0.1/24"), MTU: 1400},
		Request: Request{Addr: netip.MustParseAddr("10.9.0.5")},
	}
	found := known
	found.Found = &Bridge{Name: "lab", Index: 3, MTU: 1300, Addrs: prefixes("10.9.0.254/24")}
	for _, c := range []struct {
		cases []Case
		want  []string
	}{
		{open.Ensure(), []string{"RTM_NEWLINK name=lab address=... kind=bridge [mtu=...]", "NFT_MSG_NEWSETELEM family=inet table=netbr set=nat4 elem=..."}},
		{open.Wire(), []string{"RTM_NEWLINK name=... address=... mtu=... master=lab kind=veth peer.name=eth0 peer.address=... peer.mtu=... peer.netns-pid=... flags=IFF_UP"}},
		{open.Configure(), []string{"RTM_NEWADDR dev=eth0 local=...", "RTM_NEWROUTE dst=default gateway=... dev=eth0"}},
		{known.Ensure(), []string{"RTM_NEWLINK name=lab address=02:4e:0a:09:00:01 kind=bridge mtu=1400", "RTM_NEWADDR dev=lab local=10.9.0.1/24"}},
		{known.Wire(), []string{"RTM_NEWLINK name=nb0a090005 alias=\"netbr - 10.9.0.5/24\"", "NFT_MSG_DELSETELEM family=inet table=netbr set=... elem=..."}},
		{known.Configure(), []string{"RTM_NEWADDR dev=eth0 local=10.9.0.5/24", "RTM_NEWROUTE dst=default gateway=10.9.0.1 dev=eth0"}},
		{found.Configure(), []string{"RTM_NEWROUTE dst=default gateway=10.9.0.254 dev=eth0"}},
	} {
		var lines []string
		for _, o := range c.cases {
			lines = append(lines, o.Lines...)
		}
		for _, want := range c.want {
			if !slices.Contains(lines, want) {
				t.Errorf("%q is not in\n%s", want, strings.Join(lines, "\n"))
			}
		}
	}
}
