package bridge

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// Down removes a bridge and its rules. With force also one that has ports, and one
// that was not made here: containers on it lose their links. The caller's thread must
// be in the host's namespace.
func (h *Host) Down(name string, force bool) error {
	unlock, err := lock()
	if err != nil {
		return err
	}
	defer unlock()
	b, err := h.Find(name)
	if err != nil {
		return err
	}
	if !b.Ours && !force {
		return fmt.Errorf("bridge %s: %w", name, ErrForeign)
	}
	ports, wired, err := h.ports(b)
	// Links of namespaces that have just died are still being taken down.
	for start := time.Now(); err == nil && !force && ports > 0 && ports == len(wired) && h.leaves(start, names(wired)...); {
		entry.Pause(5 * time.Millisecond)
		ports, wired, err = h.ports(b)
	}
	if err != nil {
		return err
	}
	if ports > 0 && !force {
		return fmt.Errorf("bridge %s: %w, ports: %d", name, ErrInUse, ports)
	}
	if len(wired) > 0 {
		if err := h.cut(wired); err != nil {
			return fmt.Errorf("remove the links to bridge %s: %w", name, err)
		}
	}
	return h.removeBridge(b)
}

func names(links []link) (all []string) {
	for _, l := range links {
		all = append(all, l.name)
	}
	return all
}

// ports counts a bridge's ports, and returns those that are leases.
func (h *Host) ports(b *Bridge) (ports int, wired []link, err error) {
	links, err := h.links()
	for _, l := range links {
		if l.master != b.Index {
			continue
		}
		ports++
		if _, ok := LeaseAddr(l.name); ok {
			wired = append(wired, l)
		}
	}
	return ports, wired, err
}

// doomed is the group of links (ip link: group) that are about to be removed.
const doomed = 0x6e62646f

func intoGroup(index int) *nl.NetlinkRequest {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	return request(unix.RTM_SETLINK, 0, msg, number(unix.IFLA_GROUP, doomed))
}

// cut removes links, which would go on holding addresses that lead nowhere: all at
// once, since the kernel waits for an RCU grace period (20 ms) with each call.
func (h *Host) cut(wired []link) error {
	for _, l := range wired {
		if err := h.conn.do(intoGroup(l.index)); err != nil && !errors.Is(err, unix.ENODEV) {
			return err
		}
	}
	err := h.conn.do(request(unix.RTM_DELLINK, 0, nl.NewIfInfomsg(unix.AF_UNSPEC), number(unix.IFLA_GROUP, doomed)))
	if errors.Is(err, unix.ENODEV) { // gone by themselves
		return nil
	}
	return err
}

// removeBridge removes rules before the link: what a kill in between leaves is still a
// bridge, which a second call removes.
func (h *Host) removeBridge(b *Bridge) error {
	if err := h.forbid(b.Name, b.all()); err != nil {
		return err
	}
	if err := h.conn.do(delLink(b.Index)); err != nil {
		return fmt.Errorf("remove bridge %s: %w", b.Name, err)
	}
	return nil
}

// Undo removes l, and b if this Host's Ensure has made it, when something after that
// has failed; a bridge that is in use by now stays. The thread may have left the
// host's namespace: it comes back.
func (h *Host) Undo(b *Bridge, l Lease) error {
	if !b.Made {
		return nil // the link goes with the process
	}
	if err := unix.Setns(h.ns, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("return to the host's network namespace: %w", err)
	}
	if l.Host != "" {
		if near, err := h.link(l.Host); err == nil {
			_ = h.conn.do(delLink(near.index)) // if it stays, Down tells
		}
	}
	if err := h.Down(b.Name, false); !errors.Is(err, ErrInUse) {
		return err
	}
	return nil
}

// remove removes a bridge that was just made, and that no one can have used.
func (h *Host) remove(name string) {
	if b, err := h.Find(name); err == nil {
		_ = h.removeBridge(b) // the caller has an error to report already
	}
}
