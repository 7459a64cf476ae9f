package pivot

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/probe"
)

// A mounted is what pivot_root(2) looks at in a directory's mount.
type mounted struct {
	id     uint64
	isRoot bool     // the directory is the mount's root
	above  []uint64 // the mounts that it lies in, the nearest first
	shared bool     // or its parent is
	at     string
}

func (m *mounted) in(o mounted) bool { return m.id == o.id || slices.Contains(m.above, o.id) }

// whyNot finds the cause for which pivot_root(2) says EBUSY, EINVAL or EPERM to these
// directories, and what to type: its manual has one errno for many causes.
func whyNot(newRoot, putOld string) []string {
	root, err1 := look("/")
	dir, err2 := look(newRoot)
	old, err3 := look(putOld)
	if err1 != nil || err2 != nil || err3 != nil {
		return nil
	}
	var fs unix.Statfs_t
	const ramfs = 0x858458f6
	switch {
	case !probe.Capable(unix.CAP_SYS_ADMIN):
		return []string{"this needs CAP_SYS_ADMIN in the user namespace of this mount namespace: nsrun -U -r -m -- ..."}
	case root.at == "":
		return []string{"the present root is a chroot, not a mount; this works where the chroot is of a mount point"}
	case len(root.above) > 0 && root.above[0] == root.id || unix.Statfs("/", &fs) == nil && fs.Type == ramfs:
		return []string{"the present root is an initramfs, which cannot be put away: switch_root, or pivot --move"}
	case dir.isRoot && dir.id == root.id:
		return []string{newRoot + " is the root already: NEW_ROOT is another mount, such as mount --bind DIR DIR makes"}
	case !dir.isRoot:
		return []string{
			fmt.Sprintf("%s is no mount point: mount --bind %[1]s %[1]s", newRoot),
			"or do both with: pivot " + newRoot,
		}
	case !old.in(dir):
		return []string{fmt.Sprintf("%s must lie in %s: after the change that is where the old root is seen", putOld, newRoot)}
	case root.shared || dir.shared || old.shared:
		return []string{
			"a mount that takes part is shared, as they all are with systemd: mount --make-rprivate / in a namespace of your own",
			"nsrun -m -- makes one that is private",
		}
	case probe.InitialUserNamespace():
		return nil
	}
	return []string{fmt.Sprintf("in a user namespace the mounts that were there before are locked: mount --rbind %s to a directory, and use that", newRoot)}
}

// noDirectory says which of the words is no directory.
func noDirectory(words ...string) (hints []string) {
	for _, word := range words {
		var st unix.Stat_t
		switch err := unix.Stat(word, &st); {
		case err != nil:
			hints = append(hints, fmt.Sprintf("%s: %v: make it before (mkdir)", word, err))
		case st.Mode&unix.S_IFMT != unix.S_IFDIR:
			hints = append(hints, word+" is no directory")
		}
	}
	return hints
}

// look finds the mount that path lies in.
func look(path string) (mounted, error) {
	var x unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, &x); err != nil {
		return mounted{}, err
	}
	m := mounted{id: x.Mnt_id, isRoot: x.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0}
	text, err := probe.ReadProc("/proc/thread-self/mountinfo")
	if err != nil {
		return m, err
	}
	shared, parents := map[uint64]bool{}, map[uint64]uint64{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 7 {
			continue
		}
		id, err1 := strconv.ParseUint(f[0], 10, 64)
		parent, err2 := strconv.ParseUint(f[1], 10, 64)
		if err1 != nil || err2 != nil {
			continue
		}
		for _, tag := range f[6:] {
			shared[id] = shared[id] || strings.HasPrefix(tag, "shared:")
		}
		parents[id] = parent
		if id == m.id {
			m.at = probe.Unescape(f[4])
		}
	}
	for id, ok := parents[m.id]; ok && len(m.above) < len(parents); id, ok = parents[id] {
		m.above = append(m.above, id)
	}
	m.shared = shared[m.id] || shared[parents[m.id]]
	return m, nil
}
