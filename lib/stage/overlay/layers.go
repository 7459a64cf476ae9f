package overlay

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/mount"
)

func directory(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	return nil
}

// exist finds directories that are not there, or are none.
func (s *stage) exist(link *chain.Link) error {
	named := slices.Clone(s.lower)
	if s.changes() && s.state == "" {
		named = append(named, s.upper, s.work)
	}
	for _, dir := range named {
		if err := directory(dir); err != nil {
			return chain.PathError("use", dir, err)
		}
	}
	if s.state != "" {
		if err := s.stateFits(); err != nil {
			return err
		}
	}
	if link.Operand != "" {
		if err := directory(link.Operand); err != nil {
			return chain.OperandError(link, err)
		}
	}
	return nil
}

// overlap finds what the kernel answers with a bare ELOOP or EINVAL.
func (s *stage) overlap() error {
	r := newResolver()
	var lower, given []string
	for _, l := range s.lower {
		if path, err := r.real(l); err == nil { // else the kernel says it
			lower, given = append(lower, path), append(given, l)
		}
	}
	if i, j, ok := nested(lower); ok {
		if lower[i] == lower[j] {
			return fmt.Errorf("--lower %s is given twice", given[j])
		}
		return fmt.Errorf("--lower %s and --lower %s: one lies in the other", given[i], given[j])
	}
	if !s.changes() {
		return nil
	}
	upper, err := r.real(s.upper)
	if err != nil {
		return chain.PathError("use", s.upper, cause(err))
	}
	work, err := r.real(s.work)
	if err != nil {
		return chain.PathError("use", s.work, cause(err))
	}
	if within(work, upper) || within(upper, work) {
		return fmt.Errorf("--work %s and --upper %s: one lies in the other", s.work, s.upper)
	}
	for i, l := range lower {
		if within(l, upper) {
			return fmt.Errorf("--lower %s lies in --upper %s: a layer cannot be beneath itself", given[i], s.upper)
		}
		if within(l, work) {
			return fmt.Errorf("--lower %s lies in --work %s, which is the kernel's alone", given[i], s.work)
		}
	}
	return nil
}

// fits finds, where changes go to a directory, what the kernel refuses with EINVAL and
// explains in its log, which users may not read.
func (s *stage) fits() error {
	if !s.changes() {
		return nil
	}
	upper, work := s.upper, s.work
	if s.state != "" && directory(upper) != nil {
		upper, work = s.state, s.state // not made yet
		if directory(s.state) != nil {
			upper = filepath.Dir(s.state)
			work = upper
		}
	}
	var u, w unix.Statx_t
	for path, st := range map[string]*unix.Statx_t{upper: &u, work: &w} {
		if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, st); err != nil {
			return fmt.Errorf("stat %s: %w", path, err)
		}
	}
	if u.Mnt_id != w.Mnt_id && upper != work {
		return diag.WithHint(fmt.Errorf("--upper %s and --work %s are on different mounts", upper, work), "the kernel moves files from one to the other: make both in one directory, or give one --state DIR")
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(upper, &fs); err != nil {
		return fmt.Errorf("statfs %s: %w", upper, err)
	}
	switch {
	case fs.Flags&unix.ST_RDONLY != 0:
		return fmt.Errorf("take changes in %s: %w", upper, unix.EROFS)
	case fs.Type == unix.OVERLAYFS_SUPER_MAGIC:
		return diag.WithHint(fmt.Errorf("%s lies on an overlay itself, as everything in a container does", upper), "take changes in memory (--tmpfs), or on a volume that is no overlay")
	case fs.Type == unix.MSDOS_SUPER_MAGIC, fs.Type == unix.NFS_SUPER_MAGIC:
		return fmt.Errorf("%s lies on a file system that keeps no attributes for overlayfs (NFS, FAT)", upper)
	}
	// What the kernel leaves where an overlay was volatile, and wants removed by somebody
	// who knows that what was written last may be missing (overlayfs.rst).
	left := s.work + "/work/incompat/volatile"
	if directory(left) == nil {
		what := "rm -r " + left
		if s.state != "" {
			what += ", or begin anew: overlay --clean " + s.state
		}
		return diag.WithHint(fmt.Errorf("%s was used with --volatile: after a crash it may be incomplete", upper), "if the machine has not crashed since, use it again: "+what)
	}
	return nil
}

// unlocked finds layers of which the kernel makes no overlay in a user namespace: the
// mounts beneath them are locked, and it shows nobody what they hide.
func (s *stage) unlocked() error {
	points, err := mount.Points()
	if err != nil {
		return nil // without /proc the kernel says it
	}
	r := newResolver()
	for _, l := range s.lower {
		path, err := r.real(l)
		if err != nil {
			return chain.PathError("use", l, cause(err))
		}
		var beneath []string
		for _, p := range points {
			if p != path && within(p, path) {
				beneath = append(beneath, p)
			}
		}
		if len(beneath) == 0 {
			continue
		}
		list := strings.Join(beneath[:min(3, len(beneath))], ", ")
		if n := len(beneath) - 3; n > 0 {
			list += fmt.Sprintf(" and %d more", n)
		}
		return diag.WithHint(fmt.Errorf("--lower %s has other mounts beneath it: in a user namespace the kernel makes no overlay of that", l),
			"they are "+list, "name directories beside them as layers, or run it as root without -U")
	}
	return nil
}
