package netbr

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/bridge"
)

// What --list --json prints; docs/netbr-list.md describes it.
type (
	listJSON struct {
		Bridges []bridgeJSON `json:"bridges"`
	}
	bridgeJSON struct {
		Name       string          `json:"name"`
		Addresses  []netip.Prefix  `json:"addresses"`
		MTU        int             `json:"mtu"`
		Ours       bool            `json:"ours"`
		Internal   bool            `json:"internal"`
		NAT        *bool           `json:"nat"`
		Isolated   *bool           `json:"isolated"`
		Containers []containerJSON `json:"containers"`
	}
	containerJSON struct {
		Name      string          `json:"name,omitempty"`
		Link      string          `json:"link"`
		Addresses []netip.Prefix  `json:"addresses"`
		Published []publishedJSON `json:"published,omitempty"`
	}
	publishedJSON struct {
		Address  *netip.Addr    `json:"address,omitempty"`
		Port     uint16         `json:"port"`
		Protocol string         `json:"protocol"`
		To       netip.AddrPort `json:"to"`
	}
)

func (s *stage) printList(host *bridge.Host, _ *pflag.FlagSet, words []string) error {
	if err := noWords("list", words); err != nil {
		return err
	}
	if s.admin.json && s.names.hosts {
		return errors.New("--json and --hosts exclude each other")
	}
	list, err := host.List()
	hidden := errors.Is(err, unix.EPERM) // only root may see rules; the rest anyone may
	if err != nil && !hidden {
		return err
	}
	switch {
	case s.admin.json:
		text, err := asJSON(list, hidden)
		if err != nil {
			return err
		}
		return print(text)
	case s.names.hosts:
		return print(asHosts(list))
	}
	return print(asTable(list, hidden))
}

// asTable writes a line for each bridge, and one for each container beneath it: words,
// with nothing that needs quoting in them.
func asTable(list []bridge.Entry, hidden bool) string {
	var out strings.Builder
	line := func(words ...any) {
		out.WriteString(strings.TrimRight(fmt.Sprintf("%-15s %-32s %-4s %-12s %s", words...), " ") + "\n")
	}
	line("BRIDGE", "ADDRESS", "NAT", "CONTAINER", "PUBLISHED")
	for _, e := range list {
		nat := map[bool]string{true: "yes", false: "no"}[e.NAT]
		switch {
		case e.Internal:
			nat = "none"
		case hidden:
			nat = "?"
		}
		line(e.Name, joined(e.All()), nat, "-", "-")
		for _, end := range e.Ends {
			name := end.Name
			if name == "" {
				name = end.Link
			}
			published := "-"
			var words []string
			for _, m := range e.PublishedFor(end) { // of both kinds of address is one word
				if w := fmt.Sprintf("%s>%d", m.Port, m.To.Port()); !slices.Contains(words, w) {
					words = append(words, w)
				}
			}
			if words != nil {
				published = strings.Join(words, ",")
			}
			line(e.Name, end.Addrs[0].Addr().String(), "-", name, published)
		}
	}
	return out.String()
}

// joined writes a list with commas, "-" where it is empty.
func joined(list []netip.Prefix) string {
	if len(list) == 0 {
		return "-"
	}
	var s []string
	for _, v := range list {
		s = append(s, v.String())
	}
	return strings.Join(s, ",")
}

// asHosts writes the addresses of containers that have names, in the form of hosts(5).
func asHosts(list []bridge.Entry) string {
	var out strings.Builder
	for _, e := range list {
		for _, end := range e.Ends {
			writeHosts(&out, end)
		}
	}
	return out.String()
}

// writeHosts writes the addresses of a container, if it has a name.
func writeHosts(out *strings.Builder, end bridge.End) {
	if end.Name == "" {
		return
	}
	for _, a := range end.Addrs {
		fmt.Fprintf(out, "%s\t%s\n", a.Addr(), end.Name)
	}
}

func asJSON(list []bridge.Entry, hidden bool) (string, error) {
	all := listJSON{Bridges: []bridgeJSON{}}
	for _, e := range list {
		b := bridgeJSON{Name: e.Name, Addresses: e.All(), MTU: e.MTU, Ours: e.Ours, Internal: e.Internal, Containers: []containerJSON{}}
		if b.Addresses == nil {
			b.Addresses = []netip.Prefix{}
		}
		if !hidden {
			masquerades, isolated := e.NAT, !e.Open
			b.NAT, b.Isolated = &masquerades, &isolated
		}
		for _, end := range e.Ends {
			c := containerJSON{Name: end.Name, Link: end.Link, Addresses: end.Addrs}
			for _, m := range e.PublishedFor(end) {
				p := publishedJSON{Port: m.Port.Port, Protocol: m.Protocol(), To: m.To}
				if m.Addr.IsValid() {
					p.Address = &m.Addr
				}
				c.Published = append(c.Published, p)
			}
			b.Containers = append(b.Containers, c)
		}
		all.Bridges = append(all.Bridges, b)
	}
	text, err := json.MarshalIndent(all, "", "  ")
	return string(text) + "\n", err
}
