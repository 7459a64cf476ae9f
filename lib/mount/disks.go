package mount

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
	"staves/lib/probe"
)

// A Disk is a file system of the machine's storage that is mounted below "/", or a file
// of one that is bound there.
type Disk struct {
	Path string
	stat unix.Stat_t
}

// Disks lists what of the machine's storage is mounted below "/" and in view, what lies
// nearer to "/" first. An overlay of "/" shows none of it: lookups in a layer do not cross
// mount points. What is mounted below proc, sys, dev, run and tmp is none of a
// container's business. Without /proc the list is empty.
func Disks() ([]Disk, error) {
	text, err := probe.ReadProc("/proc/self/mountinfo")
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Disk
	for line := range strings.Lines(text) {
		id, path, fstype := mountLine(line)
		if !onDisk[fstype] || path == "/" || private(path) {
			continue
		}
		var x unix.Statx_t
		d := Disk{Path: path}
		// Another mount may lie on this one, or on what leads to it.
		if unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_MNT_ID, &x) == nil && x.Mnt_id == id &&
			unix.Stat(path, &d.stat) == nil {
			all = append(all, d)
		}
	}
	return all, nil
}

// onDisk are the file systems that keep files; others show the kernel's state, or another
// view of the same files (overlay), or belong to programs that run (tmpfs, fuse).
var onDisk = map[string]bool{
	"bcachefs": true, "btrfs": true, "erofs": true, "exfat": true, "ext2": true, "ext3": true, "ext4": true, "f2fs": true,
	"iso9660": true, "jfs": true, "nfs": true, "nfs4": true, "ntfs3": true, "squashfs": true, "udf": true, "vfat": true,
	"xfs": true, "zfs": true,
}

func private(path string) bool {
	for _, dir := range []string{"/proc", "/sys", "/dev", "/run", "/tmp"} {
		if path == dir || strings.HasPrefix(path, dir+"/") {
			return true
		}
	}
	return false
}

// mountLine reads a line of mountinfo (proc_pid_mountinfo(5)): the mount's id, where it
// is mounted, and its file system's type, which is "" for a line that is none.
func mountLine(line string) (id uint64, path, fstype string) {
	before, after, _ := strings.Cut(line, " - ")
	f := strings.Fields(before)
	fstype, _, _ = strings.Cut(after, " ")
	if len(f) < 5 {
		return 0, "", ""
	}
	id, err := strconv.ParseUint(f[0], 10, 64)
	if err != nil {
		return 0, "", ""
	}
	return id, probe.Unescape(f[4]), fstype
}

// rootWithDisks makes a detached copy-on-write view of "/" with the disks in it: an
// overlay of each on an overlay of "/". A file, and a file system that is no layer for
// overlayfs (vfat), is bound read-only.
func rootWithDisks(b *entry.Builder, size string, top *unix.Stat_t, disks []Disk) entry.Reg {
	return withScratch(b, size, func(s scratch) entry.Reg {
		o := s.overlay("root", "/", top, false)
		view := o.Mount(b)
		// A mount can be attached only to one that is attached itself.
		b.Do("make a place for the new root", unix.SYS_MKDIRAT, unix.AT_FDCWD, "view", 0o700)
		AttachPath(b, "attach the new root to the tmpfs for changes", view, "view")
		for i, d := range disks {
			name := strings.TrimPrefix(d.Path, "/")
			if d.stat.Mode&unix.S_IFMT != unix.S_IFDIR {
				s.readOnlyCopy(view, name)
				continue
			}
			o := s.overlay("disk"+strconv.Itoa(i), d.Path, &d.stat, false)
			s.overlayOrCopy(o, view, name)
		}
		fd := Clone(b, "take the new root out of the tmpfs", view, "", true)
		b.Close(view)
		return fd
	})
}
