package mount

import (
	"fmt"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// scratch is a tmpfs to keep upper and work directories in. The kernel takes an upper
// directory only from a mount that is attached in this namespace (before Linux 6.15),
// so it lies over "/" while overlays are made of it; they hold on to it afterwards.
type scratch struct {
	b *entry.Builder
}

// withScratch writes f's calls so that they have a scratch as their working directory,
// and takes the scratch away after them.
func withScratch(b *entry.Builder, size string, f func(s scratch) entry.Reg) entry.Reg {
	var fd entry.Reg
	PlainModes(b, func() {
		cwd := b.Get("open the working directory", unix.SYS_OPENAT, unix.AT_FDCWD, ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		tmpfs := New(b, "tmpfs", NoSuid|NoDev, Option{"mode", "755"}, Option{"size", size})
		AttachOverRoot(b, "attach a tmpfs for changes", tmpfs)
		b.Do("chdir to the tmpfs for changes", unix.SYS_FCHDIR, tmpfs)
		b.Close(tmpfs)
		fd = f(scratch{b})
		b.Do("unmount the tmpfs for changes", unix.SYS_UMOUNT2, ".", unix.MNT_DETACH)
		b.Do("return to the working directory", unix.SYS_FCHDIR, cwd)
		b.Close(cwd)
	})
	return fd
}

// CopyOfRoot looks at "/" and returns what makes a detached copy-on-write view of it,
// with changes on a tmpfs of at most size: one overlay, one more for each of [Disks], or
// [SplitRoot] in a user namespace.
func CopyOfRoot(size string, inUserNS bool) (func(b *entry.Builder) entry.Reg, error) {
	if inUserNS {
		entries, err := ListRoot()
		return func(b *entry.Builder) entry.Reg { return SplitRoot(b, size, entries) }, err
	}
	var top unix.Stat_t
	if err := unix.Stat("/", &top); err != nil {
		return nil, fmt.Errorf("stat /: %w", err)
	}
	disks, err := Disks()
	return func(b *entry.Builder) entry.Reg {
		if len(disks) > 0 {
			return rootWithDisks(b, size, &top, disks)
		}
		return OnTmpfs(b, Overlay{Lower: []string{"/"}}, size, &top)
	}, err
}

// OnTmpfs makes a detached overlay as o says, of absolute paths, whose changes go to a
// tmpfs of at most size (tmpfs(5)); the tmpfs lives as long as the overlay does. The
// process must have a mount namespace of its own. top is the topmost layer.
func OnTmpfs(b *entry.Builder, o Overlay, size string, top *unix.Stat_t) entry.Reg {
	return withScratch(b, size, func(s scratch) entry.Reg {
		o.Upper, o.Work = "root.up", "root.work"
		s.b.Do("make a directory for changes", unix.SYS_MKDIRAT, unix.AT_FDCWD, o.Work, 0o700)
		MakeUpper(b, o.Upper, top)
		return o.Mount(s.b)
	})
}

// MakeUpper makes an upper directory, unless it is there. It takes mode and owner of the
// topmost layer, since the kernel shows them as those of the whole.
//
// An owner that is not mapped in this user namespace cannot be given; the caller's then
// serves. Nor does mkdir(2) take the bits for other ids; chmod(2) does.
func MakeUpper(b *entry.Builder, path string, top *unix.Stat_t) {
	b.If("make "+path, unix.EEXIST, func(r entry.Reg) {
		b.Forget(r)
		if top.Uid != 0 || top.Gid != 0 {
			b.Try("chown "+path, entry.AnyError, unix.SYS_FCHOWNAT, unix.AT_FDCWD, path, int(top.Uid), int(top.Gid), 0)
		}
		if top.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
			b.Do("chmod "+path, unix.SYS_FCHMODAT, unix.AT_FDCWD, path, int(top.Mode&0o7777))
		}
	}, nil, unix.SYS_MKDIRAT, unix.AT_FDCWD, path, int(top.Mode&0o7777))
}

// overlay describes an overlay of path whose changes go to directories of the scratch
// called name.up, like top, and name.work.
func (s scratch) overlay(name, path string, top *unix.Stat_t, userXattr bool) Overlay {
	o := Overlay{Lower: []string{path}, Upper: name + ".up", Work: name + ".work", UserXattr: userXattr}
	s.b.Do("make a directory for changes", unix.SYS_MKDIRAT, unix.AT_FDCWD, o.Work, 0o700)
	MakeUpper(s.b, o.Upper, top)
	return o
}
