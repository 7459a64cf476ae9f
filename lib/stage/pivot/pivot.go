// Package pivot is the stage that changes the root: it completes the new root with
// proc, sys and binds, makes it the root of the mount namespace, and leaves no way back
// to the old one.
package pivot

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/entry"
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
	for _, arg := range s.bindArgs {
		if _, err := findBind(arg); err != nil {
			return err
		}
	}
	if err := oneOf("proc", s.proc); err != nil {
		return err
	}
	if err := oneOf("sys", s.sys); err != nil {
		return err
	}
	for _, fd := range s.keepFD {
		// One that is closed on exec is not the caller's but the runtime's.
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
			return fmt.Errorf("--keep-fd %d: %w", fd, unix.EBADF)
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
	} else if err := c.CheckRoot(link); err != nil {
		return err
	}
	if err := c.NeedAdmin(link); err != nil {
		return err
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
func parseBind(arg string) (mount.Bind, error) {
	f := strings.Split(arg, ":")
	var d mount.Bind
	switch {
	case len(f) == 3 && (f[2] == "ro" || f[2] == "rw"):
		d.ReadOnly = f[2] == "ro"
	case len(f) == 3:
		return d, fmt.Errorf("--bind %s: %q is neither ro nor rw", arg, f[2])
	case len(f) != 2:
		return d, fmt.Errorf("--bind %s: write SRC:DST or SRC:DST:ro", arg)
	}
	d.Source, d.Target = f[0], path.Clean(f[1])
	if d.Source == "" || !strings.HasPrefix(d.Target, "/") || d.Target == "/" {
		return d, fmt.Errorf("--bind %s: SRC is a path on the host, DST an absolute path below the new root", arg)
	}
	return d, nil
}

// findBind reads the value of a --bind and looks at its source.
func findBind(arg string) (mount.Bind, error) {
	d, err := parseBind(arg)
	if err != nil {
		return d, err
	}
	var st unix.Stat_t
	if err := unix.Stat(d.Source, &st); err != nil {
		return d, chain.PathError("--bind: use", d.Source, err)
	}
	d.Dir = st.Mode&unix.S_IFMT == unix.S_IFDIR
	return d, nil
}

func (s *stage) Steps(c *chain.Chain, link *chain.Link) []chain.Step {
	var steps []chain.Step
	if !c.Has(chain.MountNS, link) {
		steps = append(steps, chain.OwnMounts(mount.OwnNamespace))
	}
	// In the next life, since descriptors of a running Go runtime must not be closed.
	do := func(call, why, man string, write func(b *entry.Builder) error) {
		steps = append(steps, chain.Step{Call: call, Why: why, Man: man, NextLife: true, Write: write})
	}
	root := &mount.Tree{}
	do("open the new root, a directory bound over /", "pivot_root wants a mount, not a directory", "pivot_root(2)", func(b *entry.Builder) (err error) {
		root.FD, err = s.newRoot(b, c, link)
		return err
	})
	if s.proc == "yes" || s.proc == "auto" && c.Has(chain.PidNS, link) {
		do("mount proc on /proc, parts of it masked or read-only", "programs expect it, but whole it tells about and changes the machine", "proc(5)", func(b *entry.Builder) error {
			mount.Proc(b, root)
			return nil
		})
	}
	if s.sys != "none" {
		do("mount sysfs on /sys, read-only", "programs look there for CPUs and devices", "sysfs(5)", func(b *entry.Builder) error {
			mount.Sys(b, root, s.sys == "auto")
			return nil
		})
	}
	for _, arg := range s.bindArgs {
		do("bind "+arg, "a directory of the host, for the program to use", "move_mount(2)", func(b *entry.Builder) error {
			d, err := findBind(arg)
			if err != nil {
				return err
			}
			d.Place(b, root, d.Copy(b))
			return nil
		})
	}
	if s.readOnly {
		do("make the root read-only", "what is mounted in it keeps its own state", "mount_setattr(2)", func(b *entry.Builder) error {
			mount.SetAttr(b, "make the root read-only", root.FD, mount.ReadOnly, false)
			return nil
		})
	}
	do(`pivot_root(".", "."), umount2(".", MNT_DETACH)`, "a chroot can be left; a mount namespace without the old root cannot", "pivot_root(2)", func(b *entry.Builder) error {
		mount.Pivot(b, root)
		return nil
	})
	steps[len(steps)-1].Left = func(st *chain.State) { st.Root, st.Net = "", "" }
	do("close_range(3, ~0)", "a descriptor of a directory outside is a door", "close_range(2)", func(b *entry.Builder) error {
		mount.CloseDoors(b, s.keepFD)
		return nil
	})
	do("chdir "+s.cwd, "the working directory must lie in the new root", "chdir(2)", func(b *entry.Builder) error {
		mount.Enter(b, s.cwd)
		return nil
	})
	return steps
}

// newRoot opens the tree that becomes the root: what overlay left as it is, anything
// else as a copy over "/".
func (s *stage) newRoot(b *entry.Builder, c *chain.Chain, link *chain.Link) (entry.Reg, error) {
	const what = "open the new root"
	if link.Operand == "" && c.State.Root != "" {
		fd := b.Get(what, unix.SYS_OPENAT, unix.AT_FDCWD, c.State.Root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		mount.SetAttr(b, what, fd, mount.NoDev, false)
		return fd, nil
	}
	var fd entry.Reg
	if link.Operand != "" {
		fd = mount.Clone(b, what+" "+link.Operand, unix.AT_FDCWD, link.Operand, true)
	} else {
		view, err := mount.CopyOfRoot("50%", c.InUserNS(link))
		if err != nil {
			return 0, err
		}
		fd = view(b)
	}
	mount.SetAttr(b, what, fd, mount.NoDev, false)
	mount.AttachOverRoot(b, "attach the new root", fd)
	return fd, nil
}
