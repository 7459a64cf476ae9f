package netbr

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/bridge"
	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/entry"
)

// wiring is what steps leave for those after them.
type wiring struct {
	host     *bridge.Host
	firewall *bridge.Firewall // nil where the kernel has none
	br       *bridge.Bridge
	lease    bridge.Lease
	sockets  []int
	abroad   *bridge.Abroad
	helper   *entry.Helper
	tell     func(line string) // what is sent to the kernel, nil where nobody reads that
}

// Steps are taken in one life, one behind the other: they need nothing of what an
// earlier stage of the chain provides, and what one opens the next ones use.
func (s *stage) Steps(c *chain.Chain, link *chain.Link) []chain.Step {
	if c.Made(chain.UserNS, link) {
		return append(s.abroadSteps(c, link), s.nameSteps(c, link)...)
	}
	var steps []chain.Step
	step := func(call, why, man string, cases func() []chain.Case, do func() error) {
		steps = append(steps, chain.Step{Call: call, Why: why, Man: man, Cases: cases, Outside: true, Do: func(r *chain.Run) error {
			s.tell = r.Tell()
			if err := do(); err != nil {
				return s.undo(err)
			}
			r.State.Net = s.names.state(s.lease.String())
			r.State.Listen = s.sockets
			return nil
		}})
	}
	if len(s.listen) > 0 {
		step("socket, bind, listen", "a socket stays in the network namespace that it was made in", "listen(2)", nil, s.openListeners)
	}
	step("find or make bridge "+s.bridge, "its subnets have the addresses, its own are the gateways", "bridge(8)", s.told(s.ensureTold), s.ensure)
	step("unshare(CLONE_NEWNET)", "the process, and all that it starts, has a network of its own", "network_namespaces(7)", nil, s.unshare)
	step("RTM_NEWLINK veth "+s.link.ifname, "one end in this namespace, one at the bridge, whose name is the lease of the address", "veth(4)", s.told(bridge.Outlook.Wire), s.wire)
	step("RTM_NEWADDR, RTM_NEWROUTE "+s.link.ifname, "addresses, default routes, and lo", "rtnetlink(7)", s.told(bridge.Outlook.Configure), s.configure)
	if len(s.publish) > 0 {
		step("RTM_NEWROUTE, NFT_MSG_NEWSETELEM "+strings.Join(s.publish, ", "), "an element of a map has the host's port lead here, while a route is there, which goes with the link", "nft(8)", s.told(s.publishTold), s.publishPorts)
	}
	return append(steps, s.nameSteps(c, link)...)
}

func (s *stage) ensure() error {
	spec, err := s.newBridge()
	if err != nil {
		return err
	}
	all, err := mappings(s.publish)
	if err == nil {
		err = portsFree(all)
	}
	if err != nil {
		return s.hinted(err)
	}
	if s.host, err = bridge.Open(); err != nil {
		return err
	}
	s.host.Tell(s.tell)
	if s.br, err = s.host.Ensure(spec); err != nil {
		return s.hinted(err)
	}
	if s.localhost() {
		if err := s.host.Localhost(s.br); err != nil {
			return err
		}
	}
	if s.firewall, err = s.openFirewall(); err != nil && len(s.publish) > 0 {
		return err
	}
	return nil
}

func (s *stage) openFirewall() (*bridge.Firewall, error) {
	f, err := bridge.OpenFirewall()
	if err == nil {
		f.Tell(s.tell)
	}
	return f, err
}

func (s *stage) unshare() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare(CLONE_NEWNET): %w", err)
	}
	return nil
}

func (s *stage) wire() error {
	r, err := s.request()
	if err != nil {
		return err
	}
	if err := s.checkGateway(r); err != nil {
		return err
	}
	r.NoRoute = r.NoRoute || s.br.Internal
	for _, p := range r.Extra {
		if err := s.br.CheckExtra(p, r.Addr); err != nil { // the bridge may be newer than Check
			return fmt.Errorf("--addr: %w", err)
		}
	}
	if s.lease, err = s.host.Wire(s.br, r); err != nil {
		return s.hinted(err)
	}
	if s.firewall == nil {
		return nil
	}
	// What was published for whoever had the address before is not for this one.
	err = s.firewall.Forget(s.lease.All())
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		err = nil // a kernel without nftables publishes nothing
	}
	return err
}

// checkGateway finds a next hop that is not on the bridge.
func (s *stage) checkGateway(r bridge.Request) error {
	if !r.Gateway.IsValid() || slices.ContainsFunc(s.br.Addrs, func(p netip.Prefix) bool { return p.Contains(r.Gateway) }) {
		return nil
	}
	return diag.WithHint(fmt.Errorf("--gw: %s is in no subnet of bridge %s", r.Gateway, s.bridge), "'netbr --list' lists them; the bridge's own address: --gw auto; no default route: --gw none")
}

func (s *stage) configure() error {
	if err := bridge.Configure(s.lease, s.tell); err != nil {
		return err
	}
	return s.host.Await(s.br, s.lease)
}

func (s *stage) publishPorts() error {
	all, err := mappings(s.publish)
	if err == nil {
		all, err = directed(all, s.lease.All())
	}
	if err != nil {
		return err
	}
	return s.hinted(s.firewall.Publish(s.host, s.lease.Host, all))
}

// undo takes back what was not there before the step that failed with err. What is in
// the new network namespace goes with the process.
func (s *stage) undo(err error) error {
	if s.br != nil {
		if undoErr := s.host.Undo(s.br, s.lease); undoErr != nil {
			err = fmt.Errorf("%w; bridge %s stays: %w", err, s.bridge, undoErr)
		}
	}
	return err
}

// checkListen finds what is wrong with --listen: its sockets are descriptors 3 and on.
func (s *stage) checkListen() error {
	for i, port := range s.listen {
		if port == 0 || port > 65535 {
			return fmt.Errorf("--listen: %d is no port, 1 to 65535", port)
		}
		if slices.Contains(s.listen[:i], port) {
			return fmt.Errorf("--listen: %d is given twice", port)
		}
		fd := chain.FirstListenFD + i
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			return fmt.Errorf("--listen: descriptor %d is open already: close it (%d<&-)", fd, fd)
		}
	}
	return nil
}

// checkUnpublished finds a port to listen on that leads to another container: nothing would
// arrive here.
func (s *stage) checkUnpublished() error {
	firewall, err := s.openFirewall()
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil // a kernel without nftables publishes nothing
	}
	if err != nil {
		return err
	}
	defer firewall.Close()
	host, err := bridge.Open()
	if err != nil {
		return err
	}
	defer host.Close()
	for _, port := range s.listen {
		if err := firewall.CheckFree(host, uint16(port)); errors.Is(err, bridge.ErrPublished) {
			return fmt.Errorf("listen on port %d: %w", port, err)
		} else if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
	}
	return nil
}

func (s *stage) openListeners() error {
	if err := s.checkUnpublished(); err != nil {
		return s.hinted(err)
	}
	for _, port := range s.listen {
		fd, err := socket(unix.SOCK_STREAM, anyAddr, uint16(port))
		if err == nil {
			err = unix.Listen(fd, unix.SOMAXCONN)
		}
		if err != nil {
			return s.hinted(fmt.Errorf("listen on port %d: %w", port, err))
		}
		// Out of the way of the numbers that they get at the end.
		high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, chain.FirstListenFD+len(s.listen))
		_ = unix.Close(fd)
		if err != nil {
			return fmt.Errorf("duplicate a descriptor: %w", err)
		}
		s.sockets = append(s.sockets, high)
	}
	return nil
}
