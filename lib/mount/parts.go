package mount

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A Source is a directory or file of the host that a new root shall show.
type Source struct {
	Path     string
	ReadOnly bool
}

// Parts are what the host lends a new root: copied, as detached mounts, while the host
// is in view.
type Parts struct {
	sources []Source
	fds     []int
	null    int // O_PATH descriptor of a verified /dev/null, -1 for none
}

// OpenParts copies the sources, with all that is mounted beneath them. They are nosuid
// and nodev, and read-only throughout where asked: a bind that leaves the mounts
// beneath it writable is what nobody means by read-only.
func OpenParts(sources []Source) (*Parts, error) {
	p := &Parts{sources: sources, null: -1}
	for _, s := range sources {
		fd, err := Clone(unix.AT_FDCWD, s.Path, true)
		if err != nil {
			return nil, err
		}
		p.fds = append(p.fds, fd)
		attr := uint64(NoSuid | NoDev)
		if s.ReadOnly {
			attr |= ReadOnly
		}
		if err := SetAttr(fd, attr, true); err != nil {
			return nil, fmt.Errorf("bind %s: %w", s.Path, err)
		}
	}
	fd, err := unix.Open("/dev/null", unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return p, nil // then files are masked otherwise: see cover
	}
	var st unix.Stat_t
	// What masks a file must be the null device, not what somebody calls so.
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3) {
		_ = unix.Close(fd)
		return p, nil
	}
	p.null = fd
	return p, nil
}

// AttachSource puts source i at path in the tree, making the mount point if missing.
func (p *Parts) AttachSource(root *Tree, i int, path string) error {
	defer unix.Umask(unix.Umask(0))
	var st unix.Stat_t
	if err := unix.Fstat(p.fds[i], &st); err != nil {
		return fmt.Errorf("stat %s: %w", p.sources[i].Path, err)
	}
	at, err := root.make(path, st.Mode&unix.S_IFMT == unix.S_IFDIR)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	err = Attach(p.fds[i], at, p.sources[i].Path+" to "+path)
	_ = unix.Close(p.fds[i])
	return err
}

// What of proc and sysfs a program in a container has no business with. Masked: it
// tells about the machine or its secrets. Read-only: it changes the machine.
// The list is that of the container engines (OCI runtime defaults, and Docker's).
var (
	procMasked   = []string{"acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list", "timer_stats"}
	procReadOnly = []string{"bus", "fs", "irq", "sys", "sysrq-trigger"}
	sysMasked    = []string{"devices/virtual/powercap", "firmware"}
)

// Proc mounts a new proc on proc in the tree, with the usual parts of it masked and
// read-only. It shows the pid namespace of the caller; in a user namespace the kernel
// wants that to be one of its own (EPERM otherwise).
func (p *Parts) Proc(root *Tree) error {
	fd, err := New("proc", NoSuid|NoDev|NoExec)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := attachReal(fd, root, "proc"); err != nil {
		return err
	}
	t := &Tree{FD: fd, Name: "/proc"}
	for _, name := range procReadOnly {
		if err := readOnly(t, name); err != nil {
			return err
		}
	}
	for _, name := range procMasked {
		if err := p.mask(t, name); err != nil {
			return err
		}
	}
	return nil
}

// Sys mounts sysfs, read-only, on sys in the tree. The kernel lets a user namespace
// mount it only with a network namespace of its own; otherwise the present /sys is
// bound, read-only throughout, unless own says that it must be a new one.
func (p *Parts) Sys(root *Tree, own bool) error {
	fd, err := New("sysfs", NoSuid|NoDev|NoExec|ReadOnly)
	if errors.Is(err, unix.EPERM) && !own {
		if fd, err = Clone(unix.AT_FDCWD, "/sys", true); err == nil {
			err = SetAttr(fd, NoSuid|NoDev|NoExec|ReadOnly, true)
		}
		if errors.Is(err, unix.ENOENT) {
			return nil // no /sys here to show
		}
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := attachReal(fd, root, "sys"); err != nil {
		return err
	}
	t := &Tree{FD: fd, Name: "/sys"}
	for _, name := range sysMasked {
		if err := p.mask(t, name); err != nil {
			return err
		}
	}
	return nil
}

// attachReal attaches fd to a directory of the tree that no symbolic link leads to:
// a tree whose proc is a link would have programs read, and us write, somewhere else.
func attachReal(fd int, root *Tree, name string) error {
	at, err := root.OpenReal(name, unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) {
		at, err = root.Dir(name)
	}
	if err != nil {
		return err
	}
	defer unix.Close(at)
	return Attach(fd, at, "/"+name)
}

// readOnly covers name with a read-only copy of itself. What is not there is left out.
func readOnly(t *Tree, name string) error {
	fd, err := Clone(t.FD, name, true)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := SetAttr(fd, ReadOnly, true); err != nil {
		return fmt.Errorf("%s/%s: %w", t.Name, name, err)
	}
	return cover(fd, t, name)
}

func cover(fd int, t *Tree, name string) error {
	at, err := t.OpenReal(name, unix.O_PATH)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	return Attach(fd, at, t.Name+"/"+name)
}

// mask covers name: a directory with an empty one, a file with the null device. What
// is not there is left out.
func (p *Parts) mask(t *Tree, name string) error {
	at, err := t.OpenReal(name, unix.O_PATH)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return fmt.Errorf("stat %s/%s: %w", t.Name, name, err)
	}
	var fd int
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		fd, err = New("tmpfs", ReadOnly|NoSuid|NoDev|NoExec, Option{"size", "4k"}, Option{"nr_inodes", "2"}, Option{"mode", "555"})
	case p.null >= 0:
		// Read-only forbids no write to a device, but a chmod, which would reach the host.
		if fd, err = Clone(p.null, "", false); err == nil {
			err = SetAttr(fd, ReadOnly|NoSuid|NoExec, false)
		}
	default:
		return fmt.Errorf("mask %s/%s: no /dev/null to cover it with: %w", t.Name, name, unix.ENODEV)
	}
	if err != nil {
		return fmt.Errorf("mask %s/%s: %w", t.Name, name, err)
	}
	defer unix.Close(fd)
	return Attach(fd, at, t.Name+"/"+name)
}
