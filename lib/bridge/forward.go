package bridge

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// forward makes the host a router, for IPv6 where it has a way out of that kind
// (ip_forward and forwarding in the kernel's ip-sysctl).
func (h *Host) forward(s Spec) error {
	if err := h.setSysctl("net/ipv4/ip_forward", "1"); err != nil {
		return err
	}
	six := false
	for _, p := range s.Addrs {
		six = six || p.Addr().Is6()
	}
	if !six {
		return nil
	}
	_, uplink, err := h.networks(unix.AF_INET6)
	if err != nil || uplink == 0 {
		return err
	}
	if readSysctl(forwarding6) == "1" {
		return nil
	}
	// A router takes no advice from other routers, by which the host may have learned its
	// own way out; 2 is to take it all the same.
	all, err := filepath.Glob(procSys + "net/ipv6/conf/*/accept_ra")
	if err != nil {
		return err
	}
	for _, f := range all {
		name := strings.TrimPrefix(f, procSys)
		if readSysctl(name) == "1" {
			if err := h.setSysctl(name, "2"); err != nil {
				return err
			}
		}
	}
	return h.setSysctl(forwarding6, "1")
}

const (
	procSys     = "/proc/sys/"
	forwarding6 = "net/ipv6/conf/all/forwarding"
)

// localhostSysctl is what lets packets to 127.0.0.1 leave through a bridge.
func localhostSysctl(bridge string) string { return "net/ipv4/conf/" + bridge + "/route_localnet" }

// Localhost lets what the host sends to a port published on its 127.0.0.1 reach b. The
// calling thread must be in the host's namespace.
func (h *Host) Localhost(b *Bridge) error { return h.setSysctl(localhostSysctl(b.Name), "1") }

// readSysctl returns a setting of the calling thread's network namespace, "" where there
// is none.
func readSysctl(name string) string {
	fd, err := unix.Open(procSys+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer func() { _ = unix.Close(fd) }()
	var b [32]byte
	n, _ := unix.Read(fd, b[:])
	return strings.TrimSpace(string(b[:max(n, 0)]))
}

// setSysctl writes a setting, but only where it differs: /proc/sys may be read-only, with
// all that is needed in force.
func (h *Host) setSysctl(name, value string) error {
	if readSysctl(name) == value {
		return nil
	}
	if h.conn.tell != nil {
		h.conn.tell(writing(name, value))
	}
	w, err := unix.Open(procSys+name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(w, []byte(value))
		_ = unix.Close(w)
	}
	if err != nil {
		return fmt.Errorf("write %s%s: %w", procSys, name, err)
	}
	return nil
}

// writing is what is told of a setting that is written.
func writing(name, value string) string {
	return fmt.Sprintf("write(%s%s, %q, %d)", procSys, name, value, len(value))
}

// legacyTables tells whether rules of the old iptables are loaded, which nothing here can
// read.
func legacyTables() bool {
	b, err := os.ReadFile("/proc/self/net/ip_tables_names")
	return err == nil && strings.Contains(string(b), "filter")
}
