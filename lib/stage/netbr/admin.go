package netbr

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/bridge"
	"staves/lib/chain"
	"staves/lib/diag"
)

// admin are the options that manage something and run nothing.
type admin struct {
	up, down, attach, detach, of string
	unpublish                    []string
	list, json, check, gc        bool
	force                        bool
}

func (a *admin) options(fs *pflag.FlagSet) {
	fs.StringVar(&a.up, "up", "", "make bridge `BR`, or what it lacks, and run nothing")
	fs.StringVar(&a.down, "down", "", "remove bridge `BR`")
	fs.BoolVar(&a.force, "force", false, "with --down: even if it is in use, or was not made by netbr")
	fs.StringVar(&a.attach, "attach", "", "wire the network namespace of `PID|FILE`, and print its address")
	fs.StringVar(&a.detach, "detach", "", "cut the link of `PID|FILE|NAME|ADDR`")
	fs.StringVar(&a.of, "of", "", "with --publish: for the running container `NAME|ADDR`")
	fs.StringArrayVar(&a.unpublish, "unpublish", nil, "withdraw the published port `[IP:]HOST[/udp]`; can be given again")
	fs.BoolVar(&a.list, "list", false, "list bridges, with what is wired to them")
	fs.BoolVar(&a.json, "json", false, "with --list: as JSON (docs/netbr-list.md)")
	fs.BoolVar(&a.check, "check", false, "name what a bridge, or each of them, lacks; exit 1 if anything")
	fs.BoolVar(&a.gc, "gc", false, "withdraw what is published for containers that are gone")
}

// An action is one of the admin options: what it does, and which others go with it.
type action struct {
	option string
	with   []string
	do     func(*bridge.Host, *pflag.FlagSet, []string) error
}

func (s *stage) actions() []action {
	link := []string{"bridge", "addr", "gw", "mac", "mtu", "name", "ifname", "isolated", "lock-mac", "rate", "publish"}
	return []action{
		{"up", []string{"nat", "no-nat", "internal", "isolate", "no-isolate", "mtu", "fix-forward"}, s.bringUp},
		{"down", []string{"force"}, s.takeDown},
		{"attach", append(link, "nat", "no-nat", "internal", "isolate", "no-isolate", "fix-forward"), s.attachTo},
		{"detach", nil, s.detachFrom},
		{"of", []string{"publish"}, s.publishFor},
		{"unpublish", nil, s.withdraw},
		{"list", []string{"json", "hosts"}, s.printList},
		{"check", nil, s.checkAll},
		{"gc", nil, s.collect},
	}
}

// misplaced finds options of a chain that belong to an admin action.
func (a *admin) misplaced(fs *pflag.FlagSet) error {
	for option, of := range map[string]string{"force": "--down", "json": "--list"} {
		if fs.Changed(option) {
			return fmt.Errorf("--%s is about %s", option, of)
		}
	}
	return nil
}

// Admin returns what the admin option that was given does.
func (s *stage) Admin(fs *pflag.FlagSet) func(words []string) error {
	var given []action
	for _, a := range s.actions() {
		if fs.Changed(a.option) {
			given = append(given, a)
		}
	}
	if len(given) == 0 {
		return nil
	}
	return func(words []string) error {
		a := given[0]
		if len(given) > 1 {
			return fmt.Errorf("--%s and --%s exclude each other", a.option, given[1].option)
		}
		var wrong string
		fs.Visit(func(f *pflag.Flag) {
			if f.Name != a.option && !slices.Contains(a.with, f.Name) && wrong == "" {
				wrong = f.Name
			}
		})
		if wrong != "" {
			return fmt.Errorf("--%s does not go with --%s", wrong, a.option)
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
		s.tell = chain.TraceAdmin(fs, Tool.Name, "--"+a.option)
		host.Tell(s.tell)
		return a.do(host, fs, words)
	}
}

// noWords refuses words after an option that takes none.
func noWords(option string, words []string) error {
	if len(words) > 0 {
		return fmt.Errorf("--%s takes no more words: %s", option, strings.Join(words, " "))
	}
	return nil
}

func (s *stage) bringUp(host *bridge.Host, fs *pflag.FlagSet, words []string) error {
	s.bridge = s.admin.up
	if err := checkName(s.bridge); err != nil {
		return fmt.Errorf("--up: %w", err)
	}
	spec, err := s.bridgeSpec(fs)
	if err != nil {
		return err
	}
	if len(words) != 1 || words[0] != auto {
		if spec.Addrs, err = subnets(words); err != nil {
			return fmt.Errorf("--up %s: %w", s.bridge, err)
		}
	}
	if err := permitted(host); err != nil {
		return err
	}
	_, err = host.Up(spec)
	return s.hinted(err)
}

// subnets reads the addresses of a bridge: one of IPv4, one of IPv6.
func subnets(words []string) ([]netip.Prefix, error) {
	var four, six []netip.Prefix
	for _, w := range words {
		ip, bits, err := bridge.ParseAddr(w)
		if err != nil {
			return nil, err
		}
		p, err := bridge.Gateway(netip.PrefixFrom(ip, bits))
		if err != nil {
			return nil, err
		}
		if p.Addr().Is4() {
			four = append(four, p)
		} else {
			six = append(six, p)
		}
	}
	switch {
	case len(four) > 1 || len(six) > 1:
		return nil, fmt.Errorf("one IPv4 address and one IPv6 address at most, not %s", strings.Join(words, " "))
	case len(six) > 0 && len(four) == 0:
		return nil, errors.New("an IPv4 address is needed too: IPv4 addresses are what is leased")
	}
	return append(four, six...), nil
}

func (s *stage) takeDown(host *bridge.Host, _ *pflag.FlagSet, words []string) error {
	s.bridge = s.admin.down
	if err := checkName(s.bridge); err != nil {
		return fmt.Errorf("--down: %w", err)
	}
	if err := noWords("down "+s.bridge, words); err != nil {
		return err
	}
	if err := permitted(host); err != nil {
		return err
	}
	return s.hinted(host.Down(s.bridge, s.admin.force))
}

// publishFor publishes ports for a container that runs already.
func (s *stage) publishFor(host *bridge.Host, _ *pflag.FlagSet, words []string) error {
	if err := noWords("publish", words); err != nil {
		return err
	}
	if len(s.publish) == 0 {
		return diag.WithHint(errors.New("--of is about --publish"), "netbr --of "+s.admin.of+" --publish 8080:80")
	}
	all, err := mappings(s.publish)
	if err != nil {
		return err
	}
	if err := permitted(host); err != nil {
		return err
	}
	end, err := s.end(host, s.admin.of)
	if err != nil {
		return err
	}
	b, err := host.BridgeOf(end)
	if err != nil {
		return err
	}
	if b.Internal {
		return fmt.Errorf("--publish: bridge %s is internal: nothing enters it", b.Name)
	}
	if err := portsFree(all); err != nil {
		return s.hinted(err)
	}
	if all, err = directed(all, end.Addrs); err != nil {
		return err
	}
	firewall, err := s.openFirewall()
	if err != nil {
		return err
	}
	defer firewall.Close()
	if s.localhost() {
		if err := host.Localhost(b); err != nil {
			return err
		}
	}
	if err := host.Hairpin(end); err != nil {
		return err
	}
	return s.hinted(firewall.Publish(host, end.Link, all))
}

// end finds a running container.
func (s *stage) end(host *bridge.Host, what string) (bridge.End, error) {
	e, err := host.FindEnd(what)
	if errors.Is(err, unix.ENOENT) {
		return e, diag.WithHint(fmt.Errorf("%s: no container of that name or address", what), "'netbr --list --hosts' lists them")
	}
	return e, err
}

func (s *stage) withdraw(host *bridge.Host, _ *pflag.FlagSet, words []string) error {
	if err := noWords("unpublish", words); err != nil {
		return err
	}
	var ports []bridge.Port
	for _, w := range s.admin.unpublish {
		p, err := bridge.ParsePort(w)
		if err != nil {
			return fmt.Errorf("--unpublish: %w", err)
		}
		ports = append(ports, p)
	}
	if err := permitted(host); err != nil {
		return err
	}
	firewall, err := s.openFirewall()
	if err != nil {
		return err
	}
	defer firewall.Close()
	var errs []error
	for _, p := range ports {
		if err := firewall.Unpublish(p); errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("port %s is not published", p))
		} else if err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return errs[0]
}

// checkAll prints a line for each thing that is missing.
func (s *stage) checkAll(host *bridge.Host, _ *pflag.FlagSet, words []string) error {
	if len(words) > 1 {
		return fmt.Errorf("--check: one bridge, or all, not %s", strings.Join(words, " "))
	}
	if err := permitted(host); err != nil {
		return err
	}
	if len(words) == 0 {
		list, err := host.List()
		if err != nil {
			return err
		}
		for _, e := range list {
			if e.Ours {
				words = append(words, e.Name)
			}
		}
	}
	var out strings.Builder
	seen := map[string]bool{}
	for _, name := range words {
		missing, err := host.Check(name)
		if err != nil {
			return err
		}
		for _, m := range missing {
			if !seen[m] { // what all lack is said once
				seen[m] = true
				fmt.Fprintln(&out, m)
			}
		}
	}
	if err := print(out.String()); err != nil || len(seen) == 0 {
		return err
	}
	return errMissing
}

func (s *stage) collect(host *bridge.Host, _ *pflag.FlagSet, words []string) error {
	if err := noWords("gc", words); err != nil {
		return err
	}
	if err := permitted(host); err != nil {
		return err
	}
	firewall, err := s.openFirewall()
	if err != nil {
		return err
	}
	defer firewall.Close()
	return firewall.Sweep(host)
}

// print writes to standard output.
func print(text string) error {
	if _, err := os.Stdout.WriteString(text); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
