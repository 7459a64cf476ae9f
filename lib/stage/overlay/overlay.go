// Package overlay is the stage that makes a copy-on-write view: of the present root,
// or of the directories it is given.
package overlay

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/entry"
	"staves/lib/mount"
)

// Tool is what the registry knows of overlay.
var Tool = &chain.Tool{
	Name:    "overlay",
	Summary: "Make a copy-on-write view of directories, or of the present root.",
	Operand: "TARGET",
	New:     func() chain.Stage { return &stage{} },
	Notes: `
Without --lower: a view of the present root, for a pivot later in the chain. Changes go
to a tmpfs and are gone with the view, or with --state to a directory, of which --diff
tells what changed and --commit makes an OCI layer. With TARGET the view is mounted
there; without, pivot takes it up (its path is in STAVES_ROOT).

While an overlay is mounted the kernel lets no other one have its upper directory
(index=on; --opt index=off lifts that). With -o lowerdir=... all is as mount(8) does it.

With NEXT the mount is in a mount namespace of its own. Without NEXT,
'overlay --lower DIR TARGET' mounts here and returns, as mount(8) does.

The view of / shows other disks too, each as an overlay of its own, or read-only where
the kernel makes none; not what is mounted in /proc, /sys, /dev, /run and /tmp.
A state beneath / is in that view too, where its upper and work cannot be entered (ELOOP).

In a user namespace the kernel makes no overlay of / as a whole, so each directory in
/ gets one; files whose owner is not mapped stay read-only there, and directories with
other mounts beneath them are read-only. Where root makes the user namespace, --idmap
lifts both: the view is made before, and root's files are those of root inside.
  nsrun -mp -- overlay pivot -- sh
  nsrun -mp -S 0 -G 0 --map-users 0:100000:65536 --map-groups 0:100000:65536 -- overlay --idmap -- pivot -- sh
  overlay --lower layer2 --lower base --upper up --work work merged
  overlay --lower base --state changes -- pivot -- sh; overlay --diff changes`,
	Usage: []string{
		"overlay --diff STATE [--json]",
		"overlay --commit STATE -o LAYER.tar",
		"overlay --apply LAYER.tar DIR",
		"overlay --clean STATE",
	},
}

// Returns: 'overlay TARGET' by itself mounts and returns.
func (s *stage) Returns(link *chain.Link) bool { return link.Operand != "" }

func (s *stage) Check(c *chain.Chain, link *chain.Link) error {
	for _, name := range []string{"state", "upper", "work", "tmpfs"} {
		if f := link.Flags.Lookup(name); f.Changed && f.Value.String() == "" {
			return diag.WithHint(fmt.Errorf("--%s is empty", name), "is a variable without a value? To do without --"+name+" leave it out")
		}
	}
	if err := s.read(); err != nil {
		return err
	}
	if err := s.exist(link); err != nil {
		return err
	}
	if s.idmap {
		if err := s.checkMapped(c, link); err != nil {
			return err
		}
	}
	inUserNS := s.inUserNS(c, link)
	for _, check := range []func() error{
		s.overlap, s.fits,
		func() error { return s.contradictions(inUserNS) },
		s.overlay(inUserNS).Check,
		func() error { return c.NeedAdmin(link) },
	} {
		if err := check(); err != nil {
			return err
		}
	}
	if inUserNS && (s.changes() && s.lower == nil || slices.ContainsFunc(s.lower, isRoot)) {
		return diag.WithHint(errors.New("in a user namespace the kernel makes no overlay of / as a whole"),
			"leave --lower, --upper and --state out, for an overlay of each directory in /; or name other layers")
	}
	if c.Made(chain.UserNS, link) && !s.idmap {
		if err := s.unlocked(); err != nil {
			return err
		}
	}
	if c.Payload != nil {
		c.Provide(chain.MountNS, link)
	}
	c.Provide(chain.Root, link)
	return nil
}

func (s *stage) Steps(c *chain.Chain, link *chain.Link) []chain.Step {
	step := chain.Step{
		Call: "fsopen(overlay), fsconfig(), fsmount(), move_mount() of " + s.of(),
		Why:  "the program may change anything; only a copy changes, and what is shared stays as it was",
		Man:  "Documentation/filesystems/overlayfs.rst",
	}
	if s.isMapped(c, link) {
		step.Call, step.Man = "open_tree(the overlay)", "open_tree(2)"
		step.Why = "the overlay that was made outside: " + step.Why
	}
	if c.Payload == nil {
		step.Do = func(*chain.Run) error {
			view, err := s.view(c, link)
			if err != nil {
				return err
			}
			return mount.Here(link.Operand, view)
		}
		return []chain.Step{step}
	}
	step.Write = func(b *entry.Builder) error {
		view, err := s.view(c, link)
		if err != nil {
			return err
		}
		fd := view(b)
		if link.Operand == "" {
			mount.AttachOverRoot(b, "attach the overlay", fd)
		} else {
			mount.AttachPath(b, "attach the overlay to "+link.Operand, fd, link.Operand)
		}
		b.Close(fd)
		return nil
	}
	step.Left = func(st *chain.State) {
		st.Root = mount.OverRoot
		if link.Operand != "" {
			st.Root = absolute(link.Operand)
		}
	}
	if c.Has(chain.MountNS, link) {
		return []chain.Step{step}
	}
	return []chain.Step{chain.OwnMounts(mount.OwnNamespace), step}
}

// view looks at what the overlay will be of, and returns what makes it, detached.
func (s *stage) view(c *chain.Chain, link *chain.Link) (func(b *entry.Builder) entry.Reg, error) {
	if err := s.read(); err != nil {
		return nil, err
	}
	if s.isMapped(c, link) {
		park, err := mount.FindParking()
		return park.Take, err
	}
	inUserNS, size := s.inUserNS(c, link), s.size()
	if s.lower == nil && !s.changes() {
		return mount.CopyOfRoot(size, inUserNS)
	}
	o := s.overlay(inUserNS)
	if s.plain && s.tmpfs == "" || s.changes() && s.state == "" {
		return o.Mount, nil
	}
	var top unix.Stat_t
	if err := unix.Stat(o.Lower[0], &top); err != nil {
		return nil, chain.PathError("use", o.Lower[0], err)
	}
	if s.state == "" {
		return func(b *entry.Builder) entry.Reg { return mount.OnTmpfs(b, o, size, &top) }, nil
	}
	if errors.Is(directory(s.state), unix.ENOENT) {
		o.Failed = s.unmake
	}
	return func(b *entry.Builder) entry.Reg {
		s.prepare(b, c.Euid(link), &top)
		return o.Mount(b)
	}, nil
}

// inUserNS tells whether the overlay belongs to a user namespace that is not the machine's.
func (s *stage) inUserNS(c *chain.Chain, link *chain.Link) bool { return c.InUserNS(link) && !s.idmap }
