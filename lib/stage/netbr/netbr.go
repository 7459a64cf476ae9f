// Package netbr is the stage that gives the chain a network namespace wired to a
// bridge: it makes the bridge if it is missing, moves the process into a new network
// namespace, and joins the two by a veth pair with an address of the bridge's subnet.
package netbr

import (
	"errors"
	"fmt"
	"net/netip"
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
)

// Tool is what the registry knows of netbr.
var Tool = &chain.Tool{
	Name:    "netbr",
	Summary: "Run NEXT in a network namespace wired to a bridge.",
	Usage: []string{
		"netbr [--no-nat] --up BR [auto|CIDR]",
		"netbr [--force] --down BR",
		"netbr --list",
	},
	New: func() chain.Stage { return &stage{} },
	Notes: `
A bridge that is missing is made: with the first private subnet that is free on this
host, or the one that --addr is in, and with NAT (nft list table inet netbr), for
which the host becomes a router (ip_forward). It stays until --down. NEXT has lo, eth0
and a default route; all of it, the address included, is gone when NEXT is.
Needs root. As an ordinary user: pasta(1).
  netbr -- sh                                 on staves0
  netbr --bridge lab --addr 10.9.0.5/24 -- sh
  cgset -- netbr -- nsrun -- sh               netbr comes before nsrun`,
}

type stage struct {
	bridge string
	addr   string
	noNAT  bool
	up     string
	down   string
	force  bool
	list   bool

	// wiring is what steps leave for those after them.
	host  *bridge.Host
	br    *bridge.Bridge
	lease bridge.Lease
}

func (s *stage) Options(fs *pflag.FlagSet) {
	fs.StringVar(&s.bridge, "bridge", defaultBridge, "the bridge `BR` to wire to; made if it is missing")
	fs.StringVar(&s.addr, "addr", auto, "NEXT's address, `auto|CIDR`")
	fs.BoolVar(&s.noNAT, "no-nat", false, "make the bridge without NAT, or with --up take it away")
	fs.StringVar(&s.up, "up", "", "make bridge `BR`, or what it lacks, and run nothing")
	fs.StringVar(&s.down, "down", "", "remove bridge `BR`, and run nothing")
	fs.BoolVar(&s.force, "force", false, "with --down: even if it is in use, or was not made by netbr")
	fs.BoolVar(&s.list, "list", false, "list bridges, with the addresses of what is wired to them")
}

func (s *stage) Check(c *chain.Chain, link *chain.Link) error {
	if s.force {
		return errors.New("--force is about --down")
	}
	if err := checkName(s.bridge); err != nil {
		return fmt.Errorf("--bridge: %w", err)
	}
	if _, _, err := s.address(); err != nil {
		return err
	}
	if c.Made(chain.UserNS, link) {
		return diag.WithHint(errors.New("a user namespace made before has no power over this host's network"),
			"put netbr before nsrun: netbr -- nsrun -U ...", pastaHint)
	}
	if c.Made(chain.NetNS, link) {
		return diag.WithHint(errors.New("the network namespace has been made already: netbr makes its own, and wires it from outside"),
			"leave the earlier one out (nsrun without -n, one netbr), or put netbr before nsrun")
	}
	host, err := bridge.Open()
	if err != nil {
		return err
	}
	defer host.Close()
	if err := permitted(host); err != nil {
		return err
	}
	if !link.Bare() {
		if err := s.checkBridge(host); err != nil {
			return err
		}
	}
	c.Provide(chain.NetNS, link)
	return nil
}

// checkBridge finds what is wrong with the options for the bridge as it is now.
func (s *stage) checkBridge(host *bridge.Host) error {
	ip, bits, _ := s.address()
	b, err := host.Find(s.bridge)
	switch {
	case errors.Is(err, unix.ENODEV) && ip.IsValid() && bits == 0:
		return diag.WithHint(fmt.Errorf("--addr %s: there is no bridge %s yet, so the length of its subnet must be given", ip, s.bridge),
			fmt.Sprintf("netbr --bridge %s --addr %s/24", s.bridge, ip))
	case err != nil && !errors.Is(err, unix.ENODEV):
		return s.hinted(err)
	case err != nil || len(b.Addrs) == 0: // missing, or someone is making it just now
		_, err := s.spec()
		return err
	}
	if ip.IsValid() {
		if _, err := b.CheckAddr(ip, bits); err != nil {
			return fmt.Errorf("--addr: %w", err)
		}
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

// address is --addr: the zero Addr for auto, and 0 bits where no length is given.
func (s *stage) address() (ip netip.Addr, bits int, err error) {
	if s.addr == auto {
		return ip, 0, nil
	}
	if ip, bits, err = bridge.ParseAddr(s.addr); err != nil {
		return ip, 0, fmt.Errorf("--addr: %w", err)
	}
	return ip, bits, nil
}

// spec is the bridge to make if it is missing: in the subnet of --addr, if it has one.
func (s *stage) spec() (bridge.Spec, error) {
	spec := bridge.Spec{Name: s.bridge, NAT: !s.noNAT}
	ip, bits, _ := s.address()
	if bits == 0 {
		return spec, nil
	}
	p := netip.PrefixFrom(ip, bits)
	gateway, err := bridge.Gateway(p.Masked())
	if err != nil {
		return spec, fmt.Errorf("--addr: %w", err)
	}
	spec.Addr = gateway
	if _, err := (&bridge.Bridge{Name: s.bridge, Addrs: []netip.Prefix{gateway}}).CheckAddr(ip, bits); err != nil {
		return spec, fmt.Errorf("--addr: %w", err)
	}
	return spec, nil
}

// checkName finds what the kernel would not take as a link's name (dev_valid_name).
func checkName(name string) error {
	switch {
	case name == "" || len(name) >= unix.IFNAMSIZ:
		return fmt.Errorf("%q: a bridge's name has 1 to %d bytes", name, unix.IFNAMSIZ-1)
	case name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\v\f\r%"):
		return fmt.Errorf("%q is no name for a bridge", name)
	}
	return nil
}
