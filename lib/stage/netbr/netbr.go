// Package netbr is the stage that gives the chain a network namespace wired to a
// bridge: it makes the bridge if it is missing, moves the process into a new network
// namespace, and joins the two by a veth pair with addresses of the bridge's subnets.
package netbr

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/bridge"
	"staves/lib/chain"
	"staves/lib/diag"
)

const (
	defaultBridge = "staves0"
	auto          = "auto"
	none          = "none"
)

// Tool is what the registry knows of netbr.
var Tool = &chain.Tool{
	Name:    "netbr",
	Summary: "Run NEXT in a network namespace wired to a bridge.",
	Usage: []string{
		"netbr [--no-nat|--internal] [--no-isolate] [--mtu N] [--fix-forward] --up BR [auto|CIDR...]",
		"netbr [--force] --down BR",
		"netbr [--bridge BR] [--addr CIDR]... [--name NAME] ... --attach PID|FILE",
		"netbr --detach PID|FILE|NAME|ADDR",
		"netbr --of NAME|ADDR --publish [IP:]HOST:CONT[/udp]...",
		"netbr --unpublish [IP:]HOST[/udp]...",
		"netbr --list [--json|--hosts]",
		"netbr --check [BR]",
		"netbr --gc",
	},
	New: func() chain.Stage { return &stage{} },
	Notes: `
A bridge that is missing is made: with the first private subnet that is free on this
host and the IPv6 one that goes with it, or the one that --addr is in, and with NAT (nft
list table inet netbr), for which the host becomes a router (ip_forward). It stays until
--down. NEXT has lo, eth0 and default routes; all of it, the addresses included, is gone
when NEXT is.

--publish has the host's PORT lead to NEXT's: on all addresses of the host, or on IP
alone; from outside, from the host itself (not as ::1), from other containers. Behind
NAT nothing else can be reached from outside. --listen passes a listening TCP socket of
the host to NEXT instead, as descriptor 3 and on (sd_listen_fds(3)): no NAT, and NEXT sees
the real peer. A pivot after it wants --keep-fd 3.

--hosts gives NEXT a hosts file with the named containers that are on the bridge when
it starts, and --dns a resolv.conf: of a server of that address, or of one on the host, as
scripts/netbr-dns runs it, which knows later ones too. They are seen in NEXT's mount
namespace, and in the root that pivot makes.

RATE is in bits a second: 500kbit, 10mbit, 1gbit; - for none.
Needs root. As an ordinary user: pasta(1).
  netbr -- sh                                 on staves0
  netbr --publish 8080:80 --name web -- httpd -f
  netbr --bridge lab --addr 10.9.0.5/24 -- sh
  cgset -- netbr -- nsrun -- sh               netbr comes before nsrun
  nsrun -Ur -- netbr -- sh                    or right after one that makes a user namespace,
                                              whose root then owns the network namespace`,
}

type stage struct {
	bridge string
	addrs  []string
	gw     string
	noNAT  bool
	spec   bridgeOptions
	link   linkOptions

	publish []string
	listen  []uint
	names   names

	admin admin
	wiring
}

// bridgeOptions are about a bridge to make.
type bridgeOptions struct {
	internal   bool
	noIsolate  bool
	isolate    bool
	nat        bool
	fixForward bool
}

// linkOptions are about the link to it.
type linkOptions struct {
	mac, name, ifname string
	mtu               uint
	isolated, lockMAC bool
	rate              string
}

func (s *stage) Options(fs *pflag.FlagSet) {
	fs.StringVar(&s.bridge, "bridge", defaultBridge, "the bridge `BR` to wire to; made if it is missing")
	fs.StringArrayVar(&s.addrs, "addr", []string{auto}, "NEXT's address, `auto|CIDR`; can be given again, IPv4 or IPv6")
	fs.StringVar(&s.gw, "gw", auto, "next hop of the default routes: `auto|none|ADDR`")
	fs.StringVar(&s.link.mac, "mac", "", "hardware `ADDRESS` of NEXT's end; else one that follows from its address")
	fs.UintVar(&s.link.mtu, "mtu", 0, "`BYTES` of the largest packet; else the bridge's, or of a new bridge the uplink's")
	fs.StringVar(&s.link.name, "name", "", "`NAME` of the container: unique, listed, in hosts files")
	fs.StringVar(&s.link.ifname, "ifname", bridge.Ifname, "`NAME` of the interface in the new namespace")
	fs.BoolVar(&s.link.isolated, "isolated", false, "keep NEXT from the other isolated containers on the bridge")
	fs.BoolVar(&s.link.lockMAC, "lock-mac", false, "drop what NEXT sends with another hardware address (Linux 5.18)")
	fs.StringVar(&s.link.rate, "rate", "", "limit what comes in and what goes out: `IN/OUT`")
	fs.StringArrayVar(&s.publish, "publish", nil, "have a port of the host lead to NEXT: `[IP:]HOST:CONT[/udp]`; can be given again")
	fs.UintSliceVar(&s.listen, "listen", nil, "pass NEXT a socket that listens on the host's `PORT`; can be given again")
	fs.BoolVar(&s.noNAT, "no-nat", false, "make the bridge without NAT, or with --up take it away")
	fs.BoolVar(&s.spec.nat, "nat", false, "make it with NAT (the default)")
	fs.BoolVar(&s.spec.internal, "internal", false, "make it a bridge that leads nowhere: to its containers and the host")
	fs.BoolVar(&s.spec.isolate, "isolate", false, "make it closed to containers of other bridges (the default)")
	fs.BoolVar(&s.spec.noIsolate, "no-isolate", false, "make it open to containers of other such bridges")
	fs.BoolVar(&s.spec.fixForward, "fix-forward", false, "where a firewall drops what is forwarded (docker, ufw), make an exception for it")
	s.names.options(fs)
	s.admin.options(fs)
}

func (s *stage) Check(c *chain.Chain, link *chain.Link) error {
	if err := s.admin.misplaced(link.Flags); err != nil {
		return err
	}
	if c.Made(chain.UserNS, link) {
		if err := s.checkAbroad(c, link); err != nil {
			return err
		}
	} else if c.Made(chain.NetNS, link) {
		return diag.WithHint(errors.New("the network namespace has been made already: netbr makes its own, and wires it from outside"),
			"leave the earlier one out (nsrun without -n, one netbr), or put netbr before nsrun")
	}
	if err := s.checkWords(link.Flags); err != nil {
		return err
	}
	host, err := bridge.Open()
	if err != nil {
		return err
	}
	defer host.Close()
	if err := permitted(host); err != nil {
		if err = c.Denied(link, err); err != nil {
			return err
		}
	}
	if !link.Bare() {
		if err := s.checkBridge(host); err != nil {
			return err
		}
	}
	c.Provide(chain.NetNS, link)
	for _, f := range s.names.facts() {
		c.Provide(f, link)
	}
	return nil
}

// checkWords finds what is wrong with the options whatever the host is.
func (s *stage) checkWords(fs *pflag.FlagSet) error {
	if err := checkName(s.bridge); err != nil {
		return fmt.Errorf("--bridge: %w", err)
	}
	if _, err := s.request(); err != nil {
		return err
	}
	if _, err := s.bridgeSpec(fs); err != nil {
		return err
	}
	if _, err := mappings(s.publish); err != nil {
		return err
	}
	if err := s.names.check(); err != nil {
		return err
	}
	return s.checkListen()
}

// checkBridge finds what is wrong with the options for the bridge as it is now.
func (s *stage) checkBridge(host *bridge.Host) error {
	ip, bits, _ := s.first()
	b, err := host.Find(s.bridge)
	switch {
	case errors.Is(err, unix.ENODEV) && ip.IsValid() && bits == 0:
		return diag.WithHint(fmt.Errorf("--addr %s: there is no bridge %s yet, so the length of its subnet must be given", ip, s.bridge),
			fmt.Sprintf("netbr --bridge %s --addr %s/24", s.bridge, ip))
	case err != nil && !errors.Is(err, unix.ENODEV):
		return s.hinted(err)
	case err != nil || len(b.Addrs) == 0: // missing, or someone is making it just now
		return s.checkNew()
	}
	if ip.IsValid() {
		if _, err := b.CheckAddr(ip, bits); err != nil {
			return fmt.Errorf("--addr: %w", err)
		}
	}
	r, err := s.request()
	if err != nil {
		return err
	}
	for _, p := range r.Extra {
		if err := b.CheckExtra(p, ip); err != nil {
			return fmt.Errorf("--addr: %w", err)
		}
	}
	if b.Internal && len(s.publish) > 0 {
		return fmt.Errorf("--publish: bridge %s is internal: nothing enters it", s.bridge)
	}
	if b.Internal != s.spec.internal && s.spec.internal {
		return diag.WithHint(fmt.Errorf("--internal: bridge %s leads out, for all that is wired to it", s.bridge),
			"take another one: netbr --bridge NAME --internal ...", "or change it: netbr --internal --up "+s.bridge)
	}
	if s.noNAT {
		nat, err := b.NAT()
		if err != nil {
			return err
		}
		if nat {
			return diag.WithHint(fmt.Errorf("--no-nat: bridge %s has NAT, for all that is wired to it", s.bridge),
				"take another one: netbr --bridge NAME --no-nat ...", "or take it away: netbr --no-nat --up "+s.bridge)
		}
	}
	return nil
}

// checkName finds what the kernel would not take as a link's name (dev_valid_name).
func checkName(name string) error {
	switch {
	case name == "" || len(name) >= unix.IFNAMSIZ:
		return fmt.Errorf("%q: a link's name has 1 to %d bytes", name, unix.IFNAMSIZ-1)
	case name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\v\f\r%"):
		return fmt.Errorf("%q is no name for a link", name)
	}
	return nil
}
