package netbr

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/pflag"

	"staves/lib/chain"
	"staves/lib/entry"
	"staves/lib/mount"
)

// names are the files by which NEXT finds others.
type names struct {
	hosts bool
	dns   string
}

// dnsHost has the bridge's own address for a server.
const dnsHost = "host"

func (n *names) options(fs *pflag.FlagSet) {
	fs.BoolVar(&n.hosts, "hosts", false, "a hosts file with the names of the containers on the bridge; with --list: print one")
	fs.StringVar(&n.dns, "dns", "", "a resolv.conf with the server `IP|host`; host is this one, at the bridge's address")
}

func (n *names) check() error {
	if n.dns == "" || n.dns == dnsHost {
		return nil
	}
	if _, err := netip.ParseAddr(n.dns); err != nil {
		return fmt.Errorf("--dns: %q is neither an address nor host", n.dns)
	}
	return nil
}

func (n *names) facts() (all []chain.Fact) {
	if n.hosts {
		all = append(all, chain.Hosts)
	}
	if n.dns != "" {
		all = append(all, chain.Resolv)
	}
	return all
}

// state is what the chain carries of the network to later stages.
func (n *names) state(address string) string {
	for _, f := range n.facts() {
		address += "," + string(f)
	}
	return address
}

// nameSteps put the files into a mount namespace of the chain's own.
func (s *stage) nameSteps(c *chain.Chain, link *chain.Link) []chain.Step {
	if len(s.names.facts()) == 0 {
		return nil
	}
	var steps []chain.Step
	if !c.Has(chain.MountNS, link) {
		steps = append(steps, chain.OwnMounts(mount.OwnNamespace))
	}
	return append(steps, chain.Step{
		Call: "mount(MS_BIND) on files of /etc", Why: "names of this network must not appear on the host", Man: "hosts(5)",
		Write: func(b *entry.Builder) error {
			var texts []mount.Text
			if s.names.hosts {
				text, err := s.hostsFile()
				if err != nil {
					return err
				}
				texts = append(texts, mount.Text{Target: "/etc/hosts", Text: text})
			}
			if s.names.dns != "" {
				server := s.names.dns
				if server == dnsHost {
					server = s.br.Addrs[0].Addr().String()
				}
				texts = append(texts, mount.Text{Target: "/etc/resolv.conf", Text: "nameserver " + server + "\n"})
			}
			mount.Place(b, texts)
			return nil
		},
	})
}

// hostsFile is a hosts(5) with the containers that are on the bridge now, this one
// included.
func (s *stage) hostsFile() (string, error) {
	ends, err := s.host.EndsOf(s.br)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	out.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	for _, e := range ends {
		writeHosts(&out, e)
	}
	return out.String(), nil
}
