package pivot

import (
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/entry"
	"staves/lib/mount"
)

// top is the directory that becomes the root.
type top struct {
	propagation string
}

func (t *top) options(fs *pflag.FlagSet) {
	fs.StringVar(&t.propagation, "propagation", "private", "of mounts to and from the new root: `private|slave|shared`")
}

func (t *top) check(p *plan) error {
	if err := oneOf("propagation", t.propagation, "private", "slave", "shared"); err != nil {
		return err
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
	p.do("open the new root, a directory bound over /", "pivot_root wants a mount, not a directory", "pivot_root(2)", func(b *entry.Builder) (err error) {
		p.root.FD, err = p.open(b)
		return err
	})
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
