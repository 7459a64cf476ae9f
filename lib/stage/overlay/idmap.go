package overlay

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/entry"
	"staves/lib/mount"
	"staves/lib/ns"
	"staves/lib/probe"
)

// With --idmap the view is made outside, by root, before the user namespace that it is for:
// the mounts of its layers show each file as belonging to whom it belongs to inside. It
// waits in a mount namespace, is copied into that of the user namespace, which locks its
// attributes, and is taken from there.

// mapped is what the steps for it leave for one another.
type mapped struct {
	users, groups ns.Map
	userNS        int
}

// checkMapped finds where that cannot be done, or would not be what was meant.
func (s *stage) checkMapped(c *chain.Chain, link *chain.Link) error {
	m, maker, known := c.Maps(link)
	switch {
	case s.changes():
		return diag.WithHint(errors.New("--idmap: changes are taken in memory only, not by --state or --upper"),
			"on disk they would belong to the ids of the user namespace outside, and be no layer for another")
	case !c.InUserNS(link):
		return diag.WithHint(errors.New("--idmap is for a user namespace, and this chain makes none"),
			"put one before it: nsrun -mp -S 0 -G 0 --map-users 0:100000:65536 --map-groups 0:100000:65536 -- overlay --idmap ...")
	case !probe.InitialUserNamespace():
		return diag.WithHint(errors.New("--idmap: in a user namespace the kernel lets nobody map the ids of a mount"),
			"nsrun and overlay are to be stages of one chain, by their bare names, which root of the machine starts; in a user namespace leave --idmap out")
	case !probe.Capable(unix.CAP_SYS_ADMIN) && !c.Explains():
		return diag.WithHint(fmt.Errorf("--idmap: map the ids of a mount: %w", unix.EPERM), "only root of the machine may; as an ordinary user leave --idmap out")
	case !known:
		return errors.New("--idmap: the nsrun that makes the user namespace must not join a mount namespace, keep a namespace, or change the root")
	case len(m.Users) == 0 || len(m.Groups) == 0:
		return diag.WithHint(errors.New("--idmap: the user namespace maps no users, or no groups"),
			"nsrun -U -S 0 -G 0 --map-users 0:100000:65536 --map-groups 0:100000:65536")
	}
	for _, l := range c.Links[:slices.Index(c.Links, link)] {
		switch l.Tool.Name {
		case "cgset", "netbr", "mkdev":
		default:
			if l != maker { // the steps ahead are taken before the first stage that forks
				return diag.WithHint(fmt.Errorf("--idmap: the view of / is made first of all, and %s changes what it would be of", l.As),
					"put overlay right after the one nsrun that makes the user namespace")
			}
		}
	}
	return nil
}

// isMapped tells whether the view is made outside.
func (s *stage) isMapped(c *chain.Chain, link *chain.Link) bool {
	return s.idmap && c.Made(chain.UserNS, link)
}

// Ahead are the steps that make the view where root has all that it takes.
func (s *stage) Ahead(c *chain.Chain, link *chain.Link) []chain.Step {
	if !s.isMapped(c, link) {
		return nil
	}
	own := chain.OwnMounts(mount.SlaveNamespace)
	own.NextLife, own.Left = true, nil // it is not the one that the program will be in
	return []chain.Step{{
		Call: "clone(CLONE_NEWUSER)", Why: "the map of a mount's ids is that of a user namespace: one with the maps of that to come", Man: "mount_setattr(2)",
		Do: func(*chain.Run) error {
			m, _, _ := c.Maps(link)
			s.mapped.users, s.mapped.groups = idMap(m.Users), idMap(m.Groups)
			var err error
			if s.mapped.userNS, err = ns.UserNamespace(s.mapped.users, s.mapped.groups); err != nil {
				return err
			}
			return chain.KeepFD(s.mapped.userNS)
		},
	}, own, {
		Call: "fsopen(overlay), fsconfig(), fsmount(), move_mount() of " + s.of(), Man: "Documentation/filesystems/overlayfs.rst", NextLife: true,
		Why: "each file is shown as belonging to whom it belongs to inside; the user namespace gets a copy of the mount, whose attributes it cannot change",
		Write: func(b *entry.Builder) error {
			view, err := s.mappedView()
			if err != nil {
				return err
			}
			park, err := mount.FindParking()
			if err != nil {
				return diag.WithHint(err, "make one: mkdir /mnt")
			}
			fd := view(b)
			park.Put(b, fd)
			b.Close(fd)
			b.Do("close a descriptor", unix.SYS_CLOSE, s.mapped.userNS)
			return nil
		},
	}}
}

// mappedView looks at what the overlay will be of, and returns what makes it.
func (s *stage) mappedView() (func(b *entry.Builder) entry.Reg, error) {
	if err := s.read(); err != nil {
		return nil, err
	}
	ids := mount.IDMap{UserNS: s.mapped.userNS, Owner: s.mapped.owner}
	if s.lower == nil {
		return mount.MappedCopyOfRoot(s.size(), ids)
	}
	o := s.overlay(false)
	var top unix.Stat_t
	if err := unix.Stat(o.Lower[0], &top); err != nil {
		return nil, chain.PathError("use", o.Lower[0], err)
	}
	return func(b *entry.Builder) entry.Reg { return mount.MappedOnTmpfs(b, o, s.size(), &top, ids) }, nil
}

// owner returns whose a file is seen to be out here.
func (m *mapped) owner(uid, gid uint32) (user, group uint32) {
	user, group = nobody, nobody
	if id, ok := m.users.Outer(uid); ok {
		user = id
	}
	if id, ok := m.groups.Outer(gid); ok {
		group = id
	}
	return user, group
}

// nobody is who an id without a map is seen as (/proc/sys/kernel/overflowuid).
const nobody = 65534

func idMap(ranges []chain.IDRange) ns.Map {
	var m ns.Map
	for _, r := range ranges {
		m = append(m, ns.Range(r))
	}
	return m
}

// of names what the overlay is of.
func (s *stage) of() string {
	if s.lower == nil {
		return "the present root"
	}
	return strings.Join(s.lower, ":")
}

// size is the most that changes in memory may take.
func (s *stage) size() string {
	if s.tmpfs == "" {
		return "50%"
	}
	return s.tmpfs
}
