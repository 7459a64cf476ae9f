// Package pivot is the stage that changes the root: it completes the new root with
// proc, sys and binds, makes it the root of the mount namespace, and leaves no way back
// to the old one.
package pivot

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/mount"
)

// Tool is what the registry knows of pivot.
var Tool = &chain.Tool{
	Name:    "pivot",
	Summary: "Make ROOT the root directory; the old root is gone.",
	Operand: "ROOT",
	New:     func() chain.Stage { return &stage{} },
	Notes: `
Without ROOT: the root that overlay left; if none did, a copy-on-write view of the
present root, as overlay makes it.

/proc is mounted if the pid namespace is not the machine's own (whose /proc leads back
out), sysfs read-only on /sys; what in them tells about or changes the machine is
masked or read-only. The root is nodev: devices come from mkdev. Afterwards no
descriptor above 2 is open but those of --keep-fd, and the working directory is / or
that of --cwd.
  pivot ./root                    a shell in ./root
  nsrun -mp -- overlay mkdev pivot --bind ~/src:/src:ro -- sh`,
}

type stage struct {
	bindArgs []string
	readOnly bool
	cwd      string
	keepFD   []int
	proc     string
	sys      string

	binds  []bind
	proper *mount.Parts
}

type bind struct {
	src, dst string
	readOnly bool
}

func (s *stage) Options(fs *pflag.FlagSet) {
	fs.StringArrayVar(&s.bindArgs, "bind", nil, "show the host's SRC at DST, with all that is mounted beneath: `SRC:DST[:ro]`")
	fs.BoolVar(&s.readOnly, "ro", false, "make the root read-only")
	fs.StringVar(&s.cwd, "cwd", "/", "working directory in the new root: `DIR`")
	fs.IntSliceVar(&s.keepFD, "keep-fd", nil, "leave descriptor `N` open; repeated or N,N")
	fs.StringVar(&s.proc, "proc", "auto", "`auto|yes|none`: mount proc on /proc")
	fs.Lookup("proc").NoOptDefVal = "yes"
	fs.StringVar(&s.sys, "sys", "auto", "`auto|yes|none`: mount sysfs on /sys")
	fs.Lookup("sys").NoOptDefVal = "yes"
}

func (s *stage) Check(c *chain.Chain, link *chain.Link) error {
	for _, b := range s.bindArgs {
		one, err := parseBind(b)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Stat(one.src, &st); err != nil {
			return chain.PathError("--bind: use", one.src, err)
		}
	}
	if err := oneOf("proc", s.proc); err != nil {
		return err
	}
	if err := oneOf("sys", s.sys); err != nil {
		return err
	}
	for _, fd := range s.keepFD {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			return fmt.Errorf("--keep-fd %d: %w", fd, err)
		}
	}
	if !strings.HasPrefix(s.cwd, "/") {
		return fmt.Errorf("--cwd %s: the path begins at the new root: write /%s", s.cwd, strings.TrimPrefix(s.cwd, "./"))
	}
	if link.Operand != "" {
		var st unix.Stat_t
		if err := unix.Stat(link.Operand, &st); err != nil {
			return chain.OperandError(link, err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return chain.OperandError(link, unix.ENOTDIR)
		}
	}
	c.Provide(chain.MountNS, link)
	c.Provide(chain.Pivoted, link)
	return nil
}

func oneOf(name, value string) error {
	if slices.Contains([]string{"auto", "yes", "none"}, value) {
		return nil
	}
	return fmt.Errorf("--%s: %q is none of auto, yes, none", name, value)
}

// parseBind reads SRC:DST[:ro|rw].
func parseBind(arg string) (bind, error) {
	f := strings.Split(arg, ":")
	var b bind
	switch {
	case len(f) == 3 && (f[2] == "ro" || f[2] == "rw"):
		b.readOnly = f[2] == "ro"
	case len(f) == 3:
		return b, fmt.Errorf("--bind %s: %q is neither ro nor rw", arg, f[2])
	case len(f) != 2:
		return b, fmt.Errorf("--bind %s: write SRC:DST or SRC:DST:ro", arg)
	}
	b.src, b.dst = f[0], f[1]
	if b.src == "" || !strings.HasPrefix(b.dst, "/") || strings.Trim(b.dst, "/.") == "" {
		return b, fmt.Errorf("--bind %s: SRC is a path on the host, DST an absolute path below the new root", arg)
	}
	return b, nil
}

// Prepare copies what is bound into the new root while the host is in view.
func (s *stage) Prepare(*chain.Run) error {
	s.binds = s.binds[:0]
	var sources []mount.Source
	for _, arg := range s.bindArgs {
		b, err := parseBind(arg)
		if err != nil {
			return err
		}
		s.binds = append(s.binds, b)
		sources = append(sources, mount.Source{Path: b.src, ReadOnly: b.readOnly})
	}
	var err error
	s.proper, err = mount.OpenParts(sources)
	return err
}

func (s *stage) Steps(c *chain.Chain, link *chain.Link) []chain.Step {
	var steps []chain.Step
	if !c.Has(chain.MountNS, link) {
		steps = append(steps, chain.OwnMounts(mount.PrivateNamespace))
	}
	var root *mount.Tree
	do := func(call, why, man string, f func(r *chain.Run) error) {
		steps = append(steps, chain.Step{Call: call, Why: why, Man: man, Do: f})
	}
	do("open the new root, a directory bound over /", "pivot_root wants a mount, not a directory", "pivot_root(2)", func(r *chain.Run) error {
		var err error
		root, err = s.newRoot(r, link)
		return err
	})
	do("mount proc and sysfs in the new root", "programs expect them, but whole they tell about and change the machine", "proc(5)", func(*chain.Run) error {
		return s.system(root)
	})
	for i, arg := range s.bindArgs {
		do("bind "+arg, "a directory of the host, for the program to use", "move_mount(2)", func(*chain.Run) error {
			b := s.binds[i]
			return s.proper.AttachSource(root, i, b.dst)
		})
	}
	if s.readOnly {
		do("make the root read-only", "what is mounted in it keeps its own state", "mount_setattr(2)", func(*chain.Run) error {
			return mount.SetAttr(root.FD, mount.ReadOnly, false)
		})
	}
	do(`pivot_root(".", "."), umount2(".", MNT_DETACH)`, "a chroot can be left; a mount namespace without the old root cannot", "pivot_root(2)", func(r *chain.Run) error {
		r.State.Root, r.State.Net = "", ""
		return mount.Pivot(root)
	})
	do("close_range(3, ~0)", "a descriptor of a directory outside is a door", "close_range(2)", func(*chain.Run) error {
		return mount.CloseDoors(s.keepFD)
	})
	do("chdir "+s.cwd, "the working directory must lie in the new root", "chdir(2)", func(*chain.Run) error {
		return mount.Enter(s.cwd)
	})
	return steps
}

// newRoot opens the tree that becomes the root: what overlay left as it is, anything
// else as a copy over "/".
func (s *stage) newRoot(r *chain.Run, link *chain.Link) (*mount.Tree, error) {
	if link.Operand == "" && r.State.Root != "" {
		root, err := mount.OpenTree(r.State.Root)
		if err != nil {
			return nil, err
		}
		root.Name = ""
		return root, mount.SetAttr(root.FD, mount.NoDev, false)
	}
	var fd int
	var err error
	switch {
	case link.Operand != "":
		fd, err = mount.Clone(unix.AT_FDCWD, link.Operand, true)
	case mount.InitialUserNamespace():
		fd, err = mount.OnTmpfs([]string{"/"}, "50%", false)
	default:
		fd, err = mount.SplitRoot("50%")
	}
	if err != nil {
		return nil, err
	}
	if err := mount.SetAttr(fd, mount.NoDev, false); err != nil {
		return nil, err
	}
	return &mount.Tree{FD: fd}, mount.AttachOverRoot(fd, "the new root")
}

func (s *stage) system(root *mount.Tree) error {
	if s.proc == "yes" || s.proc == "auto" && !mount.InitialPidNamespace() {
		err := s.proper.Proc(root)
		if err != nil && !(s.proc == "auto" && errors.Is(err, unix.EPERM)) {
			return err
		}
	}
	if s.sys != "none" {
		return s.proper.Sys(root, s.sys == "yes")
	}
	return nil
}
