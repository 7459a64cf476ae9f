package chain

import (
	"slices"
)

// A Fact is something that a stage provides to those after it.
type Fact string

// The facts of a chain so far.
const (
	UserNS  Fact = "user namespace"
	MountNS Fact = "mount namespace"
	PidNS   Fact = "pid namespace"
	NetNS   Fact = "network namespace"
	Hosts   Fact = "hosts"  // a hosts(5) of the container's own
	Resolv  Fact = "resolv" // a resolv.conf(5), likewise
	// CgroupNS: /proc/self/cgroup and new mounts of cgroupfs begin at the process's group.
	CgroupNS Fact = "cgroup namespace"
	Root     Fact = "root" // a directory tree to pivot to
	Pivoted  Fact = "pivot"
	Devices  Fact = "devices" // a /dev with nodes
	// Waiter: a parent that cleans up when its child ends.
	Waiter Fact = "waiter"
	// MappedRoot: in the user namespace, the process is root.
	MappedRoot Fact = "mapped root"
)

const before = -1

// fact is something that the stage at a place provides.
type fact struct {
	what  Fact
	place int
}

// Provide records that link provides f.
func (c *Chain) Provide(f Fact, link *Link) {
	c.facts = append(c.facts, fact{f, c.place(link)})
	if f == MappedRoot {
		c.SetIDs(link, 0, 0)
	}
}

// last is the place of the last stage before a place that provides f.
func (c *Chain) last(f Fact, end int) (place int, ok bool) {
	for _, k := range c.facts {
		if k.what == f && k.place < end && (!ok || k.place > place) {
			place, ok = k.place, true
		}
	}
	return place, ok
}

// Has tells whether a stage before link, or what came before this process, provides f.
func (c *Chain) Has(f Fact, link *Link) bool {
	_, ok := c.last(f, c.place(link))
	return ok
}

// Made tells whether a stage of this chain before link provides f.
func (c *Chain) Made(f Fact, link *Link) bool {
	place, ok := c.last(f, c.place(link))
	return ok && place != before
}

// Provides tells whether link itself provides f.
func (c *Chain) Provides(f Fact, link *Link) bool {
	return slices.Contains(c.facts, fact{f, c.place(link)})
}

// Adjacent tells whether the stage of this chain right before link provides f.
func (c *Chain) Adjacent(f Fact, link *Link) bool {
	place, ok := c.last(f, c.place(link))
	return ok && place != before && place == c.place(link)-1
}

// Past tells whether the stage before link that provides f has taken its steps, in an
// earlier life of the process.
func (c *Chain) Past(f Fact, link *Link) bool {
	place, ok := c.last(f, c.place(link))
	return ok && place < c.first
}

// ids are what a stage makes of the process's effective ids.
type ids struct{ place, uid, gid int }

// SetIDs records that the stages after link go on with these effective ids.
func (c *Chain) SetIDs(link *Link, uid, gid int) {
	c.ids = append(c.ids, ids{c.place(link), uid, gid})
}

// Euid is the effective user id with which link's steps are taken.
func (c *Chain) Euid(link *Link) int { return c.idsAt(link).uid }

// Egid is the effective group id with which link's steps are taken.
func (c *Chain) Egid(link *Link) int { return c.idsAt(link).gid }

// idsAt are the ids after the last change before link.
func (c *Chain) idsAt(link *Link) ids {
	now := ids{before, c.State.Euid, c.State.Egid}
	for _, i := range c.ids {
		if i.place >= now.place && i.place < c.place(link) {
			now = i
		}
	}
	return now
}

// InUserNS tells whether link's steps are taken in a user namespace that is not the
// machine's own.
func (c *Chain) InUserNS(link *Link) bool {
	return c.Has(UserNS, link)
}

func (c *Chain) place(link *Link) int { return slices.Index(c.Links, link) }
