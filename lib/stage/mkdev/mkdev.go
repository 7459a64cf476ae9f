// Package mkdev is the stage that gives a root its own minimal /dev.
package mkdev

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/dev"
	"staves/lib/diag"
	"staves/lib/entry"
	"staves/lib/mount"
	"staves/lib/probe"
)

// Tool is what the registry knows of mkdev.
var Tool = &chain.Tool{
	Name:    "mkdev",
	Summary: "Put a minimal /dev on DIR.",
	Operand: "DIR",
	New:     func() chain.Stage { return &stage{} },
	Notes: `
Without DIR: dev in the root that overlay left; else /dev. A DIR with a slash in its
name is made where missing. The tree is a tmpfs with
null zero full random urandom tty, ptmx and a pts of its own, shm, and the links fd
stdin stdout stderr. Nodes are made with mknod; where that is not allowed, as in a user
namespace, the host's are bound, read-only, which forbids a chmod and no use.

With NEXT the mounts are in a mount namespace of their own. Without NEXT, 'mkdev DIR'
mounts them here and returns, as mount(8) does; 'umount -R DIR' takes them away.
  nsrun -mp -- overlay mkdev pivot -- sh`,
}

type stage struct {
	shmSize string
	noPts   bool
	console bool
	nodes   string
	devices []string
}

func (s *stage) Options(fs *pflag.FlagSet) {
	fs.StringVar(&s.shmSize, "shm-size", "64M", "size of shm: `SIZE` in bytes, or with K, M, G, T")
	fs.BoolVar(&s.noPts, "no-pts", false, "no pts, and no ptmx")
	fs.BoolVar(&s.console, "console", false, "let console be the terminal that a standard descriptor is")
	fs.StringArrayVar(&s.devices, "device", nil, "add a node like the host's PATH, as NAME, with permissions MODE: `PATH[:/dev/NAME][:MODE]`")
	fs.StringVar(&s.nodes, "nodes", "auto", "how nodes are made: `auto|mknod|bind`")
}

// Returns: 'mkdev DIR' by itself mounts and returns.
func (s *stage) Returns(link *chain.Link) bool { return link.Operand != "" }

func (s *stage) Check(c *chain.Chain, link *chain.Link) error {
	if err := mount.CheckSize(s.shmSize, false); err != nil {
		return fmt.Errorf("--shm-size: %w", err)
	}
	switch s.nodes {
	case "auto", "mknod", "bind":
	default:
		return fmt.Errorf("--nodes: %q is none of auto, mknod, bind", s.nodes)
	}
	if s.nodes == "mknod" && c.InUserNS(link) {
		return diag.WithHint(errors.New("--nodes=mknod: in a user namespace the kernel makes no device for anybody"), "--nodes=bind takes the host's")
	}
	if _, err := s.more(s.binds(c, link)); err != nil {
		return err
	}
	if link.Operand != "" {
		var st unix.Stat_t
		err := unix.Lstat(itself(link.Operand), &st)
		if errors.Is(err, unix.ENOENT) && strings.Contains(link.Operand, "/") {
			// It is made; what it is made in must be there.
			err = unix.Stat(filepath.Dir(itself(link.Operand)), &st)
		}
		if err != nil {
			return chain.OperandError(link, err)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			return fmt.Errorf("%s is a symbolic link, which could lead anywhere: %w", link.Operand, unix.ELOOP)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return chain.PathError("use", link.Operand, unix.ENOTDIR)
		}
	} else if err := c.CheckRoot(link); err != nil {
		return err
	}
	if c.Has(chain.Pivoted, link) && s.binds(c, link) && !c.Has(chain.Devices, link) {
		return diag.WithHint(errors.New("after pivot there are no device nodes to bind, and none can be made"), "put mkdev before pivot: ... mkdev pivot ROOT -- ...")
	}
	if err := c.NeedAdmin(link); err != nil {
		return err
	}
	c.Provide(chain.Devices, link)
	if c.Payload != nil {
		c.Provide(chain.MountNS, link)
	}
	return nil
}

func (s *stage) Steps(c *chain.Chain, link *chain.Link) []chain.Step {
	var steps []chain.Step
	if c.Payload != nil && !c.Has(chain.MountNS, link) {
		steps = append(steps, chain.OwnMounts(mount.OwnNamespace))
	}
	return append(steps, chain.Step{
		Call: "fsopen(tmpfs), fsconfig(), fsmount(), move_mount() of a minimal /dev",
		Why:  "the host's /dev holds every disk of the machine; a program needs a handful of harmless nodes",
		Man:  "mknod(2)",
		Write: func(b *entry.Builder) error {
			opt := dev.Options{ShmSize: s.shmSize, Bind: s.binds(c, link), NoPts: s.noPts, Console: s.console}
			var err error
			if opt.Nodes, err = s.more(opt.Bind); err != nil {
				return err
			}
			target := s.target(b, c, link)
			dev.Mount(b, target, opt)
			b.Close(target)
			return nil
		},
	})
}

// binds tells whether nodes are bound: the kernel lets only root of the machine make any,
// with CAP_MKNOD.
func (s *stage) binds(c *chain.Chain, link *chain.Link) bool {
	if s.nodes != "auto" {
		return s.nodes == "bind"
	}
	return c.InUserNS(link) || !probe.Capable(unix.CAP_MKNOD)
}

// target opens the directory that becomes /dev.
func (s *stage) target(b *entry.Builder, c *chain.Chain, link *chain.Link) entry.Reg {
	if link.Operand != "" {
		dir := itself(link.Operand)
		b.Try("make "+dir, unix.EEXIST, unix.SYS_MKDIRAT, unix.AT_FDCWD, dir, 0o755)
		return b.Get("open "+dir, unix.SYS_OPENAT, unix.AT_FDCWD, dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	root := c.State.Root
	if root == "" {
		root = "/"
	}
	tree := mount.OpenTree(b, root)
	tree.Name = "" // in errors, paths are those in the new root
	defer b.Close(tree.FD)
	return tree.RealDir(b, "dev")
}

// itself is path without the slashes and dots at its end, which make the kernel follow a
// symbolic link even where it is told not to (path_resolution(7)).
func itself(path string) string {
	for {
		shorter := strings.TrimSuffix(strings.TrimSuffix(path, "/."), "/")
		switch shorter {
		case path:
			return path
		case "":
			return "/"
		}
		path = shorter
	}
}
