package netbr

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"staves/lib/bridge"
)

// mappings reads --publish.
func mappings(words []string) ([]bridge.Mapping, error) {
	var all []bridge.Mapping
	for _, w := range words {
		m, err := bridge.ParseMapping(w)
		if err != nil {
			return nil, fmt.Errorf("--publish: %w", err)
		}
		for _, other := range all {
			if other.Port == m.Port {
				return nil, fmt.Errorf("--publish: %s is given twice", m.Port)
			}
		}
		all = append(all, m)
	}
	return all, nil
}

// localhost tells whether a port is published where the host's own 127.0.0.1 reaches it.
func (s *stage) localhost() bool {
	all, _ := mappings(s.publish) // Check has seen the error
	for _, m := range all {
		if !m.Addr.IsValid() || m.Addr.Is4() && m.Addr.IsLoopback() {
			return true
		}
	}
	return false
}

// directed gives mappings their targets: the addresses of a container. What is published
// on no address in particular is published for IPv4 and, where the container has it, for
// IPv6.
func directed(all []bridge.Mapping, addrs []netip.Prefix) ([]bridge.Mapping, error) {
	var four, six netip.Addr
	for _, p := range addrs {
		if p.Addr().Is4() && !four.IsValid() {
			four = p.Addr()
		} else if p.Addr().Is6() && !six.IsValid() {
			six = p.Addr()
		}
	}
	var done []bridge.Mapping
	for _, m := range all {
		to := func(ip netip.Addr) {
			d := m
			d.To = netip.AddrPortFrom(ip, m.To.Port())
			done = append(done, d)
		}
		if !m.Addr.IsValid() || m.Addr.Is4() {
			to(four)
		}
		if m.Addr.Is6() && !six.IsValid() {
			return nil, fmt.Errorf("publish %s: the container has no IPv6 address", m.Port)
		}
		if six.IsValid() && (!m.Addr.IsValid() || m.Addr.Is6()) {
			to(six)
		}
	}
	return done, nil
}

// portsFree finds a port that a program of the host has already: what comes there would
// no longer reach it.
func portsFree(all []bridge.Mapping) error {
	for _, m := range all {
		if err := tryPort(m.Port); err != nil {
			return fmt.Errorf("publish %s: %w", m.Port, err)
		}
	}
	return nil
}

func tryPort(p bridge.Port) error {
	kind := unix.SOCK_STREAM
	if p.Proto == unix.IPPROTO_UDP {
		kind = unix.SOCK_DGRAM
	}
	fd, err := socket(kind, p.Addr, p.Port)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

// anyAddr stands for all addresses of the host, of both kinds.
var anyAddr netip.Addr

// socket makes a socket bound to a port, on an address or on all of both kinds.
func socket(kind int, ip netip.Addr, port uint16) (int, error) {
	family, addr := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(port)})
	switch {
	case ip.Is4():
		family, addr = unix.AF_INET, &unix.SockaddrInet4{Port: int(port), Addr: ip.As4()}
	case ip.Is6():
		addr = &unix.SockaddrInet6{Port: int(port), Addr: ip.As16()}
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) && !ip.IsValid() { // no IPv6
		family, addr = unix.AF_INET, &unix.SockaddrInet4{Port: int(port)}
		fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		return -1, fmt.Errorf("open a socket: %w", err)
	}
	if kind == unix.SOCK_STREAM {
		// Connections that have ended hold a port for a minute, but nobody listens there.
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil && family == unix.AF_INET6 && !ip.IsValid() {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	}
	if err == nil {
		err = unix.Bind(fd, addr)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("bind to the port: %w", err)
	}
	return fd, nil
}
