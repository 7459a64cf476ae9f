package netbr

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"staves/lib/bridge"
	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/probe"
)

// errMissing is --check's answer where something is missing: it has been printed.
var errMissing = &chain.Error{Status: 1}

const pastaHint = "an ordinary user gets a network from pasta, without a bridge: pasta -- COMMAND"

// permitted says, where the kernel would refuse, which of its reasons it is.
func permitted(host *bridge.Host) error {
	err := host.Permitted()
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, unix.EPERM):
		return err
	case unix.Geteuid() != 0:
		return diag.WithHint(fmt.Errorf("wiring a bridge needs root: %w", err), "as root: sudo netbr ...", pastaHint)
	case !probe.InitialUserNamespace():
		return diag.WithHint(fmt.Errorf("inside a user namespace there is no power over the host's network: %w", err),
			"put netbr before the user namespace is made: netbr -- nsrun -U ...", pastaHint)
	}
	return diag.WithHint(fmt.Errorf("this root may not wire a bridge: %w", err), "see 'grep Cap /proc/self/status': the capability was taken from it, as in a container")
}

// hinted adds what can be done about err.
func (s *stage) hinted(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bridge.ErrNotBridge):
		return diag.WithHint(err, "choose another name; 'netbr --list' lists bridges")
	case errors.Is(err, bridge.ErrForeign):
		return diag.WithHint(err, "if it may go nevertheless: netbr --force --down "+s.bridge)
	case errors.Is(err, bridge.ErrInUse):
		return diag.WithHint(err, "'netbr --list' lists what is wired to it; cut them off: netbr --force --down "+s.bridge)
	case errors.Is(err, bridge.ErrAddr):
		return diag.WithHint(err, fmt.Sprintf("keep it: netbr --up %s; or remove the bridge first: netbr --down %[1]s", s.bridge))
	case errors.Is(err, bridge.ErrNoAddr):
		return diag.WithHint(err, "it was not made by netbr; give it a subnet: netbr --up "+s.bridge+" auto")
	case errors.Is(err, bridge.ErrNoSubnet):
		return diag.WithHint(err, "give one: netbr --up "+s.bridge+" CIDR; 'ip route' lists what is in use")
	case errors.Is(err, bridge.ErrOverlap):
		return diag.WithHint(err, "choose another one, or let netbr choose: netbr --up "+s.bridge+" auto")
	case errors.Is(err, bridge.ErrTaken), errors.Is(err, bridge.ErrFull):
		return diag.WithHint(err, "'netbr --list' lists the addresses that are taken")
	case errors.Is(err, bridge.ErrPublished):
		return diag.WithHint(err, "'netbr --list' lists what is published; to take it away: netbr --unpublish PORT")
	case errors.Is(err, bridge.ErrBlocked):
		return diag.WithHint(err, "make an exception for this bridge: netbr --fix-forward --up "+s.bridge,
			"of firewalld a lasting one: firewall-cmd --permanent --zone=trusted --add-interface="+s.bridge)
	case errors.Is(err, unix.EADDRINUSE):
		return diag.WithHint(err, "a program of this host listens there: ss -tulnp")
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return diag.WithHint(err, "this host has no such address: ip address")
	case errors.Is(err, unix.EXFULL):
		return diag.WithHint(err, fmt.Sprintf("a bridge has at most %d ports: take another one, netbr --bridge NAME ...", bridge.MaxPorts))
	case errors.Is(err, unix.ENODEV):
		return diag.WithHint(err, "'netbr --list' lists the bridges; make it: netbr --up "+s.bridge+" auto")
	}
	return err
}
