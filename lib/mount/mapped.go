package mount

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// An IDMap shows what is on disk to a user namespace with other ids: see [MapIDs].
type IDMap struct {
	UserNS int // a descriptor of a user namespace with the same maps
	// Owner returns what is seen here of the owner of a file.
	Owner func(uid, gid uint32) (user, group uint32)
}

// MappedCopyOfRoot is [CopyOfRoot] for a user namespace that is made later, by root and with
// root's mounts: files that are root's on disk are those of the namespace's root. The
// overlays belong to the user namespace that the process is in, so "/" can be one as a
// whole.
//
// A disk whose file system cannot show other owners is read-only, and its files are
// nobody's; "/" has to.
func MappedCopyOfRoot(size string, ids IDMap) (func(b *entry.Builder) entry.Reg, error) {
	var top unix.Stat_t
	if err := unix.Stat("/", &top); err != nil {
		return nil, fmt.Errorf("stat /: %w", err)
	}
	disks, err := Disks()
	return func(b *entry.Builder) entry.Reg {
		return withScratch(b, size, func(s scratch) entry.Reg {
			view := s.mapped(Overlay{Lower: []string{"/"}}, ids, &top)
			if len(disks) == 0 {
				return view
			}
			b.Do("make a place for the new root", unix.SYS_MKDIRAT, unix.AT_FDCWD, "view", 0o700)
			AttachPath(b, "attach the new root to the tmpfs for changes", view, "view")
			for i, d := range disks {
				s.mappedDisk(view, d, "disk"+strconv.Itoa(i), ids)
			}
			fd := Clone(b, "take the new root out of the tmpfs", view, "", true)
			b.Close(view)
			return fd
		})
	}, err
}

// MappedOnTmpfs is [OnTmpfs] with layers that are seen by the map.
func MappedOnTmpfs(b *entry.Builder, o Overlay, size string, top *unix.Stat_t, ids IDMap) entry.Reg {
	return withScratch(b, size, func(s scratch) entry.Reg { return s.mapped(o, ids, top) })
}

// mapped makes a detached overlay of mapped copies of o's layers.
func (s scratch) mapped(o Overlay, ids IDMap, top *unix.Stat_t) entry.Reg {
	b := s.b
	o.Name = strings.TrimPrefix(o.what(), overlayOf)
	layers := make([]string, len(o.Lower))
	for i, l := range o.Lower {
		layers[i] = "layer" + strconv.Itoa(i)
		fd := Clone(b, "copy the mount of "+l, unix.AT_FDCWD, l, false)
		MapIDs(b, "map the ids of "+l, fd, ids.UserNS, false)
		s.layer(fd, layers[i])
	}
	o.Lower = layers
	o.Upper, o.Work = "root.up", "root.work"
	b.Do("make a directory for changes", unix.SYS_MKDIRAT, unix.AT_FDCWD, o.Work, 0o700)
	MakeUpper(b, o.Upper, ids.of(top))
	return o.Mount(b)
}

// layer attaches a mount to the scratch: overlayfs finds its layers by their paths.
func (s scratch) layer(fd entry.Reg, name string) {
	s.b.Do("make a place for a layer", unix.SYS_MKDIRAT, unix.AT_FDCWD, name, 0o700)
	AttachPath(s.b, "attach a layer to the tmpfs for changes", fd, name)
	s.b.Close(fd)
}

// mappedDisk puts an overlay of a disk into the view, or where that cannot be a read-only
// copy.
func (s scratch) mappedDisk(view entry.Reg, d Disk, as string, ids IDMap) {
	b, name := s.b, strings.TrimPrefix(d.Path, "/")
	if d.stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		s.readOnlyFile(view, name, ids)
		return
	}
	fd := Clone(b, "copy the mount of "+d.Path, unix.AT_FDCWD, d.Path, false)
	b.If("map the ids of "+d.Path, unix.EINVAL, func(r entry.Reg) {
		b.Forget(r)
		s.layer(fd, as+".lower")
		o := s.overlay(as, as+".lower", ids.of(&d.stat), false)
		o.Name = d.Path
		s.overlayOrCopy(o, view, name)
	}, func() {
		b.Do("close a descriptor", unix.SYS_CLOSE, fd)
		s.readOnlyCopy(view, name)
	}, unix.SYS_MOUNT_SETATTR, mapIDs(fd, ids.UserNS, false)...)
}

// readOnlyFile binds a file that is a mount of its own, with its ids mapped where that can
// be.
func (s scratch) readOnlyFile(view entry.Reg, name string, ids IDMap) {
	b, path := s.b, "/"+name
	fd := Clone(b, "bind "+path, unix.AT_FDCWD, path, false)
	b.Try("map the ids of "+path, unix.EINVAL, unix.SYS_MOUNT_SETATTR, mapIDs(fd, ids.UserNS, false)...)
	SetAttr(b, "bind "+path+" read-only", fd, ReadOnly|NoDev|NoSuid, false)
	s.place(fd, view, name)
}

// of is the owner of a directory as it is seen here.
func (m IDMap) of(st *unix.Stat_t) *unix.Stat_t {
	seen := *st
	seen.Uid, seen.Gid = m.Owner(st.Uid, st.Gid)
	return &seen
}

// A Parking is a place for a view, from before a user namespace is made until it is taken
// up in the mount namespace that belongs to it. That is not "/" ([AttachOverRoot]): the
// kernel makes no user namespace for a process whose root is under another mount.
type Parking struct{ Dir string }

// FindParking finds a directory that nothing needs between the two.
func FindParking() (Parking, error) {
	all := []string{"/mnt", "/media", "/srv", "/opt", "/tmp"}
	for _, dir := range all {
		var st unix.Stat_t
		if unix.Lstat(dir, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return Parking{dir}, nil
		}
	}
	return Parking{}, fmt.Errorf("find a directory to keep a mount at, one of %s: %w", strings.Join(all, " "), unix.ENOENT)
}

// Put parks the detached mount fd.
func (p Parking) Put(b *entry.Builder, fd entry.Reg) {
	PlainModes(b, func() {
		was := Clone(b, "copy the mount of "+p.Dir, unix.AT_FDCWD, p.Dir, true)
		tmpfs := New(b, "tmpfs", NoSuid|NoDev, Option{"mode", "755"}, Option{"size", "4k"})
		AttachPath(b, "attach a tmpfs to "+p.Dir, tmpfs, p.Dir)
		for _, m := range []struct {
			fd   entry.Reg
			name string
		}{{fd, "view"}, {was, "was"}} {
			b.Do("make "+p.Dir+"/"+m.name, unix.SYS_MKDIRAT, tmpfs, m.name, 0o755)
			b.Do("attach a mount to "+p.Dir+"/"+m.name, unix.SYS_MOVE_MOUNT, m.fd, "", tmpfs, m.name, unix.MOVE_MOUNT_F_EMPTY_PATH)
		}
		b.Close(was)
		b.Close(tmpfs)
	})
}

// Take makes a detached copy of what is parked, which is locked itself, and shows the
// directory as it was.
func (p Parking) Take(b *entry.Builder) entry.Reg {
	fd := Clone(b, "take the mount at "+p.Dir+"/view", unix.AT_FDCWD, p.Dir+"/view", true)
	was := Clone(b, "take the mount at "+p.Dir+"/was", unix.AT_FDCWD, p.Dir+"/was", true)
	AttachPath(b, "attach what was at "+p.Dir, was, p.Dir)
	b.Close(was)
	return fd
}
