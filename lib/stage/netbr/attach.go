package netbr

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/bridge"
	"staves/lib/chain"
	"staves/lib/diag"
)

// openNS opens the network namespace of a process, through a descriptor of the process
// that cannot come to mean another one, or of a file; fd is for setns(2).
func openNS(what string) (fd int, err error) {
	if pid, err := strconv.Atoi(what); err == nil && pid > 0 {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return -1, fmt.Errorf("open process %d: %w", pid, err)
		}
		return fd, nil
	}
	fd, err = unix.Open(what, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, chain.PathError("open", what, err)
	}
	const nsGetNsType = 0xb703 // NS_GET_NSTYPE of ioctl_ns(2)
	kind, err := unix.IoctlRetInt(fd, nsGetNsType)
	if err != nil || kind != unix.CLONE_NEWNET {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("%s is no network namespace", what)
	}
	return fd, nil
}

// enterNS moves the thread into a namespace that openNS has opened.
func enterNS(what string, fd int) error {
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network namespace of %s: %w", what, err)
	}
	return nil
}

// attachTo does what the chain does, for a namespace that is there already.
func (s *stage) attachTo(host *bridge.Host, fs *pflag.FlagSet, words []string) error {
	if err := noWords("attach "+s.admin.attach, words); err != nil {
		return err
	}
	if err := s.checkWords(fs); err != nil {
		return err
	}
	if err := permitted(host); err != nil {
		return err
	}
	if err := s.checkBridge(host); err != nil {
		return err
	}
	fd, err := openNS(s.admin.attach)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	same, err := inOwnNS(fd)
	switch {
	case err != nil:
		return err
	case same:
		return fmt.Errorf("%s is in the network namespace that the bridge is in", s.admin.attach)
	}
	if err := s.ensure(); err != nil {
		return s.undo(err)
	}
	defer s.host.Close()
	err = enterNS(s.admin.attach, fd)
	if err == nil {
		err = s.nameFree()
	}
	if err == nil {
		err = s.wire()
	}
	if err == nil {
		err = s.configure()
		if errors.Is(err, unix.EEXIST) {
			err = diag.WithHint(err, "the namespace has a default route already: --gw none")
		}
	}
	if err == nil && len(s.publish) > 0 {
		err = s.publishPorts()
	}
	if err != nil {
		if s.lease.Host != "" {
			err = s.host.Drop(s.lease, err)
		}
		return s.undo(err)
	}
	return print(s.lease.Addr.String() + "\n")
}

// nameFree finds out whether the namespace that the thread is in has a link of that name.
func (s *stage) nameFree() error {
	inside, err := bridge.Open()
	if err != nil {
		return err
	}
	defer inside.Close()
	if has, err := inside.HasLink(s.link.ifname); err != nil || !has {
		return err
	}
	return diag.WithHint(fmt.Errorf("%s has a %s already", s.admin.attach, s.link.ifname), "give the new one another name: --ifname NAME")
}

// inOwnNS tells whether a namespace is this thread's own.
func inOwnNS(fd int) (bool, error) {
	own, err := bridge.NamespaceID(-1)
	if err != nil {
		return false, err
	}
	other, err := bridge.NamespaceID(fd)
	return own == other, err
}

// detachFrom removes a link: by a name or an address that it has, or from within the
// namespace that it leads to.
func (s *stage) detachFrom(host *bridge.Host, _ *pflag.FlagSet, words []string) error {
	what := s.admin.detach
	if err := noWords("detach "+what, words); err != nil {
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
	end, err := host.FindEnd(what)
	if errors.Is(err, unix.ENOENT) {
		end, err = s.endInside(host, what)
	}
	if err != nil {
		return err
	}
	if err := firewall.Forget(end.Addrs); err != nil {
		return err
	}
	return host.Cut(end)
}

// endInside finds the link that leads to the namespace of a process or a file.
func (s *stage) endInside(host *bridge.Host, what string) (bridge.End, error) {
	fd, err := openNS(what)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return bridge.End{}, diag.WithHint(fmt.Errorf("%s: no container of that name or address, no process and no file", what), "'netbr --list --hosts' lists containers")
	}
	if err != nil {
		return bridge.End{}, err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := enterNS(what, fd); err != nil {
		return bridge.End{}, err
	}
	end, err := host.EndHere()
	if errors.Is(err, unix.ENOENT) {
		err = fmt.Errorf("%s has no link to a bridge here", what)
	}
	return end, err
}
