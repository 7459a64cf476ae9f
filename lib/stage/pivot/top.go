package pivot

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/entry"
	"staves/lib/mount"
	"staves/lib/ns"
)

// top is the directory that becomes the root.
type top struct {
	propagation      string
	idmap, bindIDMap []string
}

func (t *top) options(fs *pflag.FlagSet) {
	fs.StringVar(&t.propagation, "propagation", "private", "of mounts to and from the new root: `private|slave|shared`")
	fs.StringArrayVar(&t.idmap, "idmap", nil, "show files of ROOT whose owner on disk is DISK, or one after it, as SHOWN's: `DISK:SHOWN:COUNT`; may be repeated")
	fs.StringArrayVar(&t.bindIDMap, "bind-idmap", nil, "the same for the binds with the word idmap; without it they are shown as ROOT is: `DISK:SHOWN:COUNT`")
}

func (t *top) check(p *plan) error {
	if err := oneOf("propagation", t.propagation, "private", "slave", "shared"); err != nil {
		return err
	}
	if _, err := ids(t.idmap); err != nil {
		return fmt.Errorf("--idmap: %w", err)
	}
	if _, err := ids(t.bindIDMap); err != nil {
		return fmt.Errorf("--bind-idmap: %w", err)
	}
	switch {
	case (t.idmap != nil || t.bindIDMap != nil) && p.chain.InUserNS(p.link):
		return errors.New("--idmap: in a user namespace the kernel lets nobody map the ids of a mount")
	case t.idmap != nil && p.link.Operand == "":
		return errors.New("--idmap is about a ROOT: an overlay cannot show other owners")
	}
	if p.link.Operand == "" {
		return p.chain.CheckRoot(p.link)
	}
	var st unix.Stat_t
	if err := unix.Stat(p.link.Operand, &st); err != nil {
		return chain.OperandError(p.link, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return chain.OperandError(p.link, unix.ENOTDIR)
	}
	return nil
}

func (t *top) steps(p *plan) {
	if !p.chain.Has(chain.MountNS, p.link) {
		own := mount.OwnNamespace
		if t.propagation == "slave" {
			own = mount.SlaveNamespace
		}
		p.list = append(p.list, chain.OwnMounts(own))
	}
	t.mapped(p, t.idmap, &p.userNS)
	t.mapped(p, t.bindIDMap, &p.bindUserNS)
	p.do("open the new root, a directory bound over /", "pivot_root wants a mount, not a directory", "pivot_root(2)", func(b *entry.Builder) (err error) {
		p.root.FD, err = p.open(b)
		return err
	})
}

// mapped makes the user namespace whose map the ids of mounts are shown by.
func (t *top) mapped(p *plan, ranges []string, userNS *int) {
	if ranges == nil {
		return
	}
	p.do("clone(CLONE_NEWUSER)", "the map of a mount's ids is that of a user namespace", "mount_setattr(2)", func(*entry.Builder) error {
		m, err := ids(ranges)
		if err != nil {
			return err
		}
		if *userNS, err = ns.UserNamespace(m, m); err != nil {
			return err
		}
		return chain.KeepFD(*userNS)
	})
}

// ids reads the ranges of a map.
func ids(ranges []string) (ns.Map, error) {
	var m ns.Map
	for _, text := range ranges {
		if strings.Count(text, ":") != 2 {
			return nil, fmt.Errorf("%q is not DISK:SHOWN:COUNT", text)
		}
		r, err := ns.ParseRange(text)
		if err != nil {
			return nil, err
		}
		m = append(m, r)
	}
	return m, m.Check()
}

// open opens the tree that becomes the root: what overlay left as it is, anything else as
// a copy over "/"; over itself for a chroot, which has the old root around it.
func (p *plan) open(b *entry.Builder) (entry.Reg, error) {
	const what = "open the new root"
	c, link := p.chain, p.link
	if link.Operand == "" && c.State.Root != "" {
		fd := b.Get(what, unix.SYS_OPENAT, unix.AT_FDCWD, c.State.Root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		mount.SetAttr(b, what, fd, mount.NoDev, false)
		return fd, nil
	}
	var fd entry.Reg
	if link.Operand != "" {
		fd = mount.Clone(b, what+" "+link.Operand, unix.AT_FDCWD, link.Operand, true)
		if p.top.idmap != nil {
			mount.MapIDs(b, "map the ids of "+link.Operand, fd, p.userNS, false)
		}
	} else {
		view, err := mount.CopyOfRoot("50%", c.InUserNS(link))
		if err != nil {
			return 0, err
		}
		fd = view(b)
	}
	mount.SetAttr(b, what, fd, mount.NoDev, false)
	if p.leave.chroot && link.Operand != "" {
		mount.AttachPath(b, "bind the new root on itself", fd, link.Operand)
	} else {
		mount.AttachOverRoot(b, "attach the new root", fd)
	}
	return fd, nil
}
