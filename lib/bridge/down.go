package bridge

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
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
	links, err := h.links()
	if err != nil {
		return err
	}
	ports := 0
	for _, l := range links {
		if l.master != b.Index {
			continue
		}
		if ports++; !force {
			continue
		}
		// The link of a container would go on holding an address that leads nowhere.
		if _, ok := LeaseAddr(l.name); ok {
			if err := h.conn.do(delLink(l.index)); err != nil && !errors.Is(err, unix.ENODEV) {
				return fmt.Errorf("remove link %s: %w", l.name, err)
			}
		}
	}
	if ports > 0 && !force {
		return fmt.Errorf("bridge %s: %w, ports: %d", name, ErrInUse, ports)
	}
	return h.removeBridge(b)
}

// removeBridge removes rules before the link: what a kill in between leaves is still a
// bridge, which a second call removes.
func (h *Host) removeBridge(b *Bridge) error {
	if err := forbid(b.Name, b.Addrs); err != nil {
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
