// Package overlay is the stage that makes a copy-on-write view: of the present root,
// or of the directories it is given.
package overlay

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
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
Without --lower: a view of the present root, for a pivot later in the chain. Without
--upper: changes go to a tmpfs and are gone with the view. With TARGET the view is
mounted there; without, pivot takes it up (its path is in STAVES_ROOT).

With NEXT the mount is in a mount namespace of its own. Without NEXT,
'overlay --lower DIR TARGET' mounts here and returns, as mount(8) does.

The view of / shows other disks too, each as an overlay of its own, or read-only where
the kernel makes none; not what is mounted in /proc, /sys, /dev, /run and /tmp.

In a user namespace the kernel makes no overlay of / as a whole, so each directory in
/ gets one; files whose owner is not mapped stay read-only there, and directories with
other mounts beneath them are read-only.
  nsrun -mp -- overlay pivot -- sh
  overlay --lower layer2 --lower base --upper up --work work merged`,
}

type stage struct {
	lower       []string
	upper, work string
	tmpfs       string
}

func (s *stage) Options(fs *pflag.FlagSet) {
	fs.StringArrayVar(&s.lower, "lower", nil, "a read-only layer, `DIR`; repeated, the first is the topmost")
	fs.StringVar(&s.upper, "upper", "", "`DIR` that takes the changes")
	fs.StringVar(&s.work, "work", "", "empty `DIR` on the mount of --upper, for the kernel's use")
	fs.StringVar(&s.tmpfs, "tmpfs", "", "take changes in memory (the default), at most `SIZE`: 64M, 1G, 20%")
	fs.Lookup("tmpfs").NoOptDefVal = "50%"
}

// Returns: 'overlay TARGET' by itself mounts and returns.
func (s *stage) Returns(link *chain.Link) bool { return link.Operand != "" }

func (s *stage) Check(c *chain.Chain, link *chain.Link) error {
	switch {
	case s.upper != "" && s.tmpfs != "":
		return errors.New("--upper and --tmpfs exclude each other: changes go to one place")
	case (s.upper == "") != (s.work == ""):
		return diag.WithHint(errors.New("--upper and --work belong together"), "the kernel wants a second, empty directory on the same mount as --upper")
	case s.tmpfs != "":
		if err := mount.CheckSize(s.tmpfs, true); err != nil {
			return fmt.Errorf("--tmpfs: %w", err)
		}
	}
	named := append([]string{}, s.lower...)
	if s.upper != "" {
		named = append(named, s.upper, s.work)
	}
	if link.Operand != "" {
		named = append(named, link.Operand)
	}
	for _, dir := range named {
		if err := directory(dir); err != nil {
			if dir == link.Operand {
				return chain.OperandError(link, err)
			}
			return chain.PathError("use", dir, err)
		}
	}
	if err := s.overlap(); err != nil {
		return err
	}
	if err := c.NeedAdmin(link); err != nil {
		return err
	}
	if c.InUserNS(link) && (s.upper != "" && s.lower == nil || slices.ContainsFunc(s.lower, isRoot)) {
		return diag.WithHint(errors.New("in a user namespace the kernel makes no overlay of / as a whole"),
			"leave --lower and --upper out, for an overlay of each directory in /; or name other layers")
	}
	if c.Payload != nil {
		c.Provide(chain.MountNS, link)
	}
	c.Provide(chain.Root, link)
	return nil
}

func directory(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	return nil
}

// overlap finds what the kernel answers with a bare ELOOP or EINVAL.
func (s *stage) overlap() error {
	if s.upper == "" {
		return nil
	}
	if within(s.work, s.upper) || within(s.upper, s.work) {
		return fmt.Errorf("--work %s and --upper %s: one lies in the other", s.work, s.upper)
	}
	for _, l := range s.lower {
		if within(l, s.upper) {
			return fmt.Errorf("--lower %s lies in --upper %s: a layer cannot be beneath itself", l, s.upper)
		}
		if within(l, s.work) {
			return fmt.Errorf("--lower %s lies in --work %s, which is the kernel's alone", l, s.work)
		}
	}
	return nil
}

// isRoot tells whether path names "/".
func isRoot(path string) bool { return filepath.Clean(path) == "/" }

// within tells whether path is dir or lies in it, by name.
func within(path, dir string) bool {
	p, err1 := filepath.Abs(path)
	d, err2 := filepath.Abs(dir)
	if err1 != nil || err2 != nil {
		return false
	}
	rel, err := filepath.Rel(d, p)
	return err == nil && rel != ".." && (len(rel) < 3 || rel[:3] != "../")
}

func (s *stage) Steps(c *chain.Chain, link *chain.Link) []chain.Step {
	of := "the present root"
	if s.lower != nil {
		of = strings.Join(s.lower, ":")
	}
	step := chain.Step{
		Call: "mount an overlay of " + of,
		Why:  "the program may change anything; only a copy changes, and what is shared stays as it was",
		Man:  "Documentation/filesystems/overlayfs.rst",
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
	inUserNS := c.InUserNS(link)
	size := s.tmpfs
	if size == "" {
		size = "50%"
	}
	if s.lower == nil && s.upper == "" {
		return mount.CopyOfRoot(size, inUserNS)
	}
	var lower []string
	for _, l := range s.lower {
		lower = append(lower, absolute(l))
	}
	if lower == nil {
		lower = []string{"/"}
	}
	if s.upper != "" {
		o := mount.Overlay{Lower: lower, Upper: absolute(s.upper), Work: absolute(s.work), UserXattr: inUserNS}
		return o.Mount, nil
	}
	var top unix.Stat_t
	if err := unix.Stat(lower[0], &top); err != nil {
		return nil, chain.PathError("use", lower[0], err)
	}
	return func(b *entry.Builder) entry.Reg { return mount.OnTmpfs(b, lower, size, inUserNS, &top) }, nil
}

// absolute makes path independent of the working directory. Without one (it was removed)
// the path stays as it is, and its use fails with the kernel's word for that.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
