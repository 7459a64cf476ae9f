package netbr

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/bridge"
)

// Admin returns what --up, --down or --list does.
func (s *stage) Admin(fs *pflag.FlagSet) func(words []string) error {
	var do func(host *bridge.Host, words []string) error
	asked := 0
	for _, a := range []struct {
		option string
		do     func(*bridge.Host, []string) error
	}{{"up", s.bringUp}, {"down", s.takeDown}, {"list", s.printList}} {
		if fs.Changed(a.option) {
			do = a.do
			asked++
		}
	}
	if asked == 0 {
		return nil
	}
	return func(words []string) error {
		switch {
		case asked > 1:
			return errors.New("--up, --down and --list exclude each other")
		case fs.Changed("bridge") || fs.Changed("addr"):
			return errors.New("--bridge and --addr are about a program to run: --up and --down take the bridge's name themselves")
		case s.force && !fs.Changed("down"):
			return errors.New("--force is about --down")
		case s.noNAT && !fs.Changed("up"):
			return errors.New("--no-nat is about a bridge to make")
		}
		for _, w := range words {
			if strings.HasPrefix(w, "-") {
				return fmt.Errorf("option %s after a word: options come first", w)
			}
		}
		host, err := bridge.Open()
		if err != nil {
			return err
		}
		defer host.Close()
		return do(host, words)
	}
}

func (s *stage) bringUp(host *bridge.Host, words []string) error {
	s.bridge = s.up
	if err := checkName(s.up); err != nil {
		return fmt.Errorf("--up: %w", err)
	}
	spec := bridge.Spec{Name: s.up, NAT: !s.noNAT}
	switch {
	case len(words) > 1:
		return fmt.Errorf("--up %s: one address, not %s", s.up, strings.Join(words, " "))
	case len(words) == 1 && words[0] != auto:
		ip, bits, err := bridge.ParseAddr(words[0])
		if err != nil {
			return fmt.Errorf("--up %s: %w", s.up, err)
		}
		if spec.Addr, err = bridge.Gateway(netip.PrefixFrom(ip, bits)); err != nil {
			return fmt.Errorf("--up %s: %w", s.up, err)
		}
	}
	if err := permitted(host); err != nil {
		return err
	}
	_, err := host.Up(spec)
	return s.hinted(err)
}

func (s *stage) takeDown(host *bridge.Host, words []string) error {
	s.bridge = s.down
	if err := checkName(s.down); err != nil {
		return fmt.Errorf("--down: %w", err)
	}
	if len(words) > 0 {
		return fmt.Errorf("--down %s: one bridge at a time, not %s", s.down, strings.Join(words, " "))
	}
	if err := permitted(host); err != nil {
		return err
	}
	return s.hinted(host.Down(s.down, s.force))
}

// printList prints one line a bridge: words, with nothing that needs quoting in them.
func (s *stage) printList(host *bridge.Host, words []string) error {
	if len(words) > 0 {
		return fmt.Errorf("--list takes no words: %s", strings.Join(words, " "))
	}
	list, err := host.List()
	hidden := errors.Is(err, unix.EPERM) // only root may see rules; the rest anyone may
	if err != nil && !hidden {
		return err
	}
	var out strings.Builder
	line := func(bridge, address, nat, containers string) {
		fmt.Fprintf(&out, "%-15s %-18s %-3s %s\n", bridge, address, nat, containers)
	}
	line("BRIDGE", "ADDRESS", "NAT", "CONTAINERS")
	for _, e := range list {
		nat := map[bool]string{true: "yes", false: "no"}[e.NAT]
		if hidden {
			nat = "?"
		}
		line(e.Name, joined(e.Addrs), nat, joined(e.Leases))
	}
	if _, err := os.Stdout.WriteString(out.String()); err != nil {
		return fmt.Errorf("print the list: %w", err)
	}
	return nil
}

// joined writes a list with commas, "-" where it is empty.
func joined[T fmt.Stringer](list []T) string {
	if len(list) == 0 {
		return "-"
	}
	var s []string
	for _, v := range list {
		s = append(s, v.String())
	}
	return strings.Join(s, ",")
}
