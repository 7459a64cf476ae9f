package pivot

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/entry"
	"staves/lib/mount"
	"staves/lib/ns"
)

// leave is the way from the old root to the new one.
type leave struct {
	readOnly     bool
	cwd          string
	keepFD       []int
	move, chroot bool
	putOld       string
}

func (l *leave) options(fs *pflag.FlagSet) {
	fs.BoolVar(&l.readOnly, "ro", false, "make the root read-only")
	fs.StringVar(&l.cwd, "cwd", "/", "working directory in the new root: `DIR`")
	fs.IntSliceVar(&l.keepFD, "keep-fd", nil, "leave descriptor `N` open; repeated or N,N")
	fs.BoolVar(&l.move, "move", false, "where the old root is an initramfs, which pivot_root(2) cannot put away: put the new one over it")
	fs.StringVar(&l.putOld, "put-old", "", "to look at: do not unmount the old root, leave it at `DIR` in the new one")
	fs.BoolVar(&l.chroot, "chroot", false, "to look at: chroot(2) in place of pivot_root(2), which root can leave again")
}

func (l *leave) check(p *plan) error {
	for _, fd := range l.keepFD {
		// One that is closed on exec is not the caller's but the runtime's.
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
			return fmt.Errorf("--keep-fd %d: %w", fd, unix.EBADF)
		}
	}
	if !strings.HasPrefix(l.cwd, "/") {
		return fmt.Errorf("--cwd %s: the path begins at the new root: write /%s", l.cwd, strings.TrimPrefix(l.cwd, "./"))
	}
	switch given := p.link.Flags.Changed; {
	case l.move && l.chroot, l.move && given("put-old"), l.chroot && given("put-old"):
		return errors.New("--move, --put-old and --chroot exclude each other: they are three ways to do one step")
	case given("put-old") && (!strings.HasPrefix(l.putOld, "/") || strings.Trim(l.putOld, "/") == ""):
		return fmt.Errorf("--put-old: the old root's place is an absolute path below the new root, not %q", l.putOld)
	case l.move && p.chain.InUserNS(p.link):
		return diag.WithHint(errors.New("--move: in a user namespace the mounts beneath the new root are locked, and would stay"),
			"without --move the old root is put away whole")
	}
	return nil
}

func (l *leave) steps(p *plan) {
	if l.readOnly {
		p.do("make the root read-only", "what is mounted in it keeps its own state", "mount_setattr(2)", func(b *entry.Builder) error {
			mount.SetAttr(b, "make the root read-only", p.root.FD, mount.ReadOnly, false)
			return nil
		})
	}
	l.enter(p)
	p.list[len(p.list)-1].Left = func(st *chain.State) { st.Root, st.Net = "", "" }
	p.do("close_range(3, ~0)", "a descriptor of a directory outside is a door", "close_range(2)", func(b *entry.Builder) error {
		mount.CloseDoors(b, l.keepFD)
		return nil
	})
	p.do("keyctl(KEYCTL_JOIN_SESSION_KEYRING)", "the caller's keys are not the program's", "session-keyring(7)", func(b *entry.Builder) error {
		mount.LeaveKeyring(b)
		return nil
	})
	p.do("chdir "+l.cwd, "the working directory must lie in the new root", "chdir(2)", func(b *entry.Builder) error {
		mount.Enter(b, l.cwd)
		return nil
	})
}

// enter makes the tree the root.
func (l *leave) enter(p *plan) {
	switch {
	case l.chroot:
		p.do(`chroot(".")`, "the cheap way, for programs that are not root: this changes where / is, and no more", "chroot(2)", func(b *entry.Builder) error {
			mount.Chroot(b, p.root)
			return nil
		})
	case l.putOld != "":
		p.do(`pivot_root(".", "`+l.putOld+`")`, "the old root is still there, for whoever wants to look at it", "pivot_root(2)", func(b *entry.Builder) error {
			mount.PivotTo(b, p.root, l.putOld)
			return nil
		})
	case l.move:
		p.do(`umount2(MNT_DETACH) of all else, chroot(".")`, "an initramfs cannot be put away, but what is mounted on it can", "switch_root(8)", func(b *entry.Builder) error {
			return mount.Move(b, p.root)
		})
	default:
		p.do(`pivot_root(".", "."), umount2(".", MNT_DETACH)`, "a chroot can be left; a mount namespace without the old root cannot", "pivot_root(2)", func(b *entry.Builder) error {
			mount.Pivot(b, p.root)
			return nil
		})
	}
	if p.top.propagation == "private" {
		return
	}
	p.do("make the new root "+p.top.propagation, "mounts that are made later are seen on both sides, or on one", "mount_namespaces(7)", func(b *entry.Builder) error {
		ns.SetPropagation(b, ns.Propagation(p.top.propagation))
		return nil
	})
}
