package mount

import (
	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// A Bind shows a directory or file of the host in a new root.
type Bind struct {
	Source string
	Dir    bool // Source is a directory
	Target string
	// Attr are attributes of what is bound, of all of it: a bind that leaves the mounts
	// beneath it writable is what nobody means by read-only.
	Attr uint64
	// Alone leaves out what is mounted beneath the source.
	Alone bool
	// Mapped has the owners shown by the map of UserNS: see [MapIDs].
	Mapped bool
	UserNS int
}

// Copy makes a detached copy of the source with its attributes.
func (d Bind) Copy(b *entry.Builder) entry.Reg {
	what := "bind " + d.Source
	if d.Alone {
		what = "bind alone " + d.Source
	}
	fd := Clone(b, what, unix.AT_FDCWD, d.Source, !d.Alone)
	if d.Mapped {
		MapIDs(b, "map the ids of "+d.Source, fd, d.UserNS, !d.Alone)
	}
	if d.Attr != 0 {
		SetAttr(b, what, fd, d.Attr, !d.Alone)
	}
	return fd
}

// Place attaches the copy at the target in the tree, making the mount point if missing.
func (d Bind) Place(b *entry.Builder, root *Tree, fd entry.Reg) {
	at := root.Mountpoint(b, d.Target, d.Dir)
	Attach(b, "bind "+d.Source+" on "+d.Target, fd, at)
	b.Close(at)
	b.Close(fd)
}

// A Tmpfs is an empty directory in memory for a new root (tmpfs(5)).
type Tmpfs struct {
	Target string
	Attr   int
	Opts   []Option
	// Like has the tmpfs take mode and owner of the directory that it covers.
	Like bool
}

// Place mounts it in the tree, making the mount point if missing.
func (t Tmpfs) Place(b *entry.Builder, root *Tree) {
	at := root.Mountpoint(b, t.Target, true)
	fd := New(b, "tmpfs", t.Attr&^ReadOnly, t.Opts...)
	what := "mount tmpfs on " + t.Target
	if t.Like {
		const uid, gid, mode = 20, 24, 28 // stx_uid, stx_gid; stx_mode, and nothing after it
		st := &entry.Buffer{Size: 256}
		word := func(offset int) entry.Load { return entry.Load{Field: entry.Field{Buffer: st, Offset: offset}} }
		b.Do(what, unix.SYS_STATX, at, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, st)
		// An owner that is not mapped in this user namespace cannot be given.
		b.Try(what, entry.AnyError, unix.SYS_FCHOWNAT, fd, ".", word(uid), word(gid), 0)
		b.Do(what, unix.SYS_FCHMODAT, fd, ".", word(mode))
	}
	if t.Attr&ReadOnly != 0 {
		SetAttr(b, what, fd, ReadOnly, false)
	}
	Attach(b, what, fd, at)
	b.Close(at)
	b.Close(fd)
}
