package netbr

import (
	"fmt"

	"golang.org/x/sys/unix"

	"staves/lib/bridge"
	"staves/lib/chain"
)

// Steps are taken in one life, one behind the other: they need nothing of what an
// earlier stage of the chain provides, and what one opens the next ones use.
func (s *stage) Steps(*chain.Chain, *chain.Link) []chain.Step {
	step := func(call, why, man string, do func() error) chain.Step {
		return chain.Step{Call: call, Why: why, Man: man, Outside: true, Do: func(r *chain.Run) error {
			if err := do(); err != nil {
				return s.undo(err)
			}
			r.State.Net = s.lease.String()
			return nil
		}}
	}
	return []chain.Step{
		step("find or make bridge "+s.bridge, "its subnet has the address, its own address is the gateway", "bridge(8)", s.ensure),
		step("unshare(CLONE_NEWNET)", "the process, and all that it starts, has a network of its own", "network_namespaces(7)", s.unshare),
		step("RTM_NEWLINK veth "+bridge.Ifname, "one end in this namespace, one at the bridge, whose name is the lease of the address", "veth(4)", s.wire),
		step("RTM_NEWADDR, RTM_NEWROUTE "+bridge.Ifname, "address, default route, and lo", "rtnetlink(7)", s.configure),
	}
}

func (s *stage) ensure() error {
	spec, err := s.spec()
	if err != nil {
		return err
	}
	if s.host, err = bridge.Open(); err != nil {
		return err
	}
	if s.br, err = s.host.Ensure(spec); err != nil {
		return s.hinted(err)
	}
	return nil
}

func (s *stage) unshare() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare(CLONE_NEWNET): %w", err)
	}
	return nil
}

func (s *stage) wire() error {
	ip, _, err := s.address()
	if err != nil {
		return err
	}
	s.lease, err = s.host.Wire(s.br, ip)
	return s.hinted(err)
}

func (s *stage) configure() error {
	if err := bridge.Configure(s.lease); err != nil {
		return err
	}
	s.host.Close()
	return nil
}

// undo takes back what was not there before the step that failed with err. What is in
// the new network namespace goes with the process.
func (s *stage) undo(err error) error {
	if s.br != nil {
		if undoErr := s.host.Undo(s.br, s.lease); undoErr != nil {
			err = fmt.Errorf("%w; bridge %s stays: %w", err, s.bridge, undoErr)
		}
	}
	if s.host != nil {
		s.host.Close()
	}
	return err
}
