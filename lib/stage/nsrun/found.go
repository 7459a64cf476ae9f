package nsrun

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/cgroup"
	"staves/lib/diag"
	"staves/lib/ns"
	"staves/lib/probe"
)

// found is what has been opened.
type found struct {
	open     []ns.Open
	root, wd int // descriptors, -1 for none
	groups   []int
	env      []string
	uid, gid uint32 // of the process, as they are called in its user namespace
}

// look opens everything, to see what there is; it is called by Check, before the options
// are combined, and again when the step's turn has come.
func (j *join) look(p *plan) error {
	if !j.any() {
		return nil
	}
	if j.targets == nil {
		for _, text := range j.texts {
			t, err := parseTarget(text)
			if err != nil {
				return fmt.Errorf("--join: %w", err)
			}
			j.targets = append(j.targets, t)
		}
	}
	j.found = found{root: -1, wd: -1}
	if err := j.open(p); err != nil {
		j.close()
		return err
	}
	return nil
}

// close lets go of what has been opened.
func (j *join) close() {
	if !j.any() {
		return // the zero value's descriptors are standard ones
	}
	for _, o := range j.found.open {
		_ = unix.Close(o.FD)
	}
	for _, fd := range append(j.found.groups, j.found.root, j.found.wd) {
		_ = unix.Close(fd)
	}
}

func (j *join) open(p *plan) error {
	for _, t := range j.targets {
		if t.pid != 0 {
			if err := j.openProcess(p, t); err != nil {
				return err
			}
			continue
		}
		fd, err := -1, error(nil)
		if t.id != 0 {
			fd, err = ns.OpenID(t.id, t.kind)
		} else {
			fd, err = ns.OpenFile(t.file, t.kind)
		}
		if err != nil {
			return err
		}
		if err := j.add(t.kind, fd); err != nil {
			return err
		}
	}
	if j.userParent {
		if err := j.openOwner(); err != nil {
			return err
		}
	}
	return j.openDirs(p)
}

// add takes a namespace into the list, in the place of another one of its kind.
func (j *join) add(kind *ns.Kind, fd int) error {
	var st, own unix.Stat_t
	if kind.Flag == unix.CLONE_NEWUSER && unix.Fstat(fd, &st) == nil && unix.Stat("/proc/self/ns/user", &own) == nil && st.Ino == own.Ino && st.Dev == own.Dev {
		_ = unix.Close(fd)
		return fmt.Errorf("setns(CLONE_NEWUSER): this process is in that user namespace already: %w", unix.EINVAL)
	}
	for i := range j.found.open {
		if o := &j.found.open[i]; o.Kind == kind {
			_ = unix.Close(o.FD)
			o.FD = fd
			return nil
		}
	}
	j.found.open = append(j.found.open, ns.Open{Kind: kind, FD: fd})
	return nil
}

// openOwner replaces the user namespace by the one that the first of the others is of.
func (j *join) openOwner() error {
	var of *ns.Open
	for i := range j.found.open {
		if o := &j.found.open[i]; of == nil || o.Kind.Flag == unix.CLONE_NEWUSER {
			of = o
		}
	}
	if of == nil {
		return errors.New("--user-parent: no namespace is joined that could belong to one")
	}
	fd, err := ns.Owner(of.FD)
	if err != nil {
		return fmt.Errorf("--user-parent: %w", err)
	}
	return j.add(&ns.Kinds[0], fd) // the first is the user namespace
}

func (j *join) openProcess(p *plan, t target) error {
	process, err := ns.OpenProcess(t.pid, t.inode)
	if err != nil {
		return err
	}
	defer process.Close()
	for i := range ns.Kinds {
		kind := &ns.Kinds[i]
		named := t.names(kind)
		if !t.all && !named {
			continue
		}
		fd, err := process.Namespace(kind, !named)
		if err != nil {
			return accessError(err)
		}
		if fd >= 0 {
			if err := j.add(kind, fd); err != nil {
				return err
			}
		}
	}
	if err := j.openRest(p, process); err != nil {
		return accessError(err)
	}
	if err := process.Alive(); err != nil {
		return err
	}
	if t.all && !t.some && len(j.found.open) == 0 {
		return fmt.Errorf("--join %d: the process has no namespace that this one has not", t.pid)
	}
	return nil
}

// openRest opens what else of the process is asked for.
func (j *join) openRest(p *plan, process *ns.Process) (err error) {
	f := &j.found
	if p.inside.root == follow {
		f.root, err = openDir(process.Path("root"))
	}
	if err == nil && p.inside.wd == follow {
		f.wd, err = openDir(process.Path("cwd"))
	}
	if err != nil {
		return err
	}
	if j.socket >= 0 {
		fd, err := process.SocketNet(j.socket)
		if err != nil {
			return err
		}
		net, _ := kindOf("net")
		if err := j.add(net, fd); err != nil {
			return err
		}
	}
	if j.env {
		text, err := probe.ReadProc(process.Path("environ"))
		if err != nil {
			return err
		}
		f.env = []string{}
		for e := range strings.SplitSeq(strings.TrimSuffix(text, "\x00"), "\x00") {
			f.env = append(f.env, e)
		}
	}
	if j.cgroup {
		dirs, err := cgroup.GroupsOf(process.PID)
		if err != nil {
			return err
		}
		for _, d := range dirs {
			fd, err := unix.Open(d+"/cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return fmt.Errorf("open %s/cgroup.procs: %w", d, err)
			}
			f.groups = append(f.groups, fd)
		}
	}
	return j.readIDs(process)
}

// openDirs opens the directories that are named, where the process is now.
func (j *join) openDirs(p *plan) (err error) {
	if root := p.inside.root; root != "" && root != follow {
		if j.found.root, err = openDir(root); err != nil {
			return err
		}
	}
	if wd := p.inside.wd; wd != "" && wd != follow {
		j.found.wd, err = openDir(wd)
	}
	return err
}

func openDir(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	return fd, nil
}

// readIDs finds out the process's ids, in the numbers of its user namespace: they are to be
// taken when that has been joined.
func (j *join) readIDs(process *ns.Process) error {
	text, err := probe.ReadProc(process.Path("status"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] != "Uid:" && f[0] != "Gid:" {
			continue
		}
		n, err := strconv.ParseUint(f[2], 10, 32) // the effective one
		if err != nil {
			return fmt.Errorf("read %s: %w", process.Path("status"), err)
		}
		to, file := &j.found.uid, ns.Users.File
		if f[0] == "Gid:" {
			to, file = &j.found.gid, ns.Groups.File
		}
		*to = uint32(n)
		if j.opened(unix.CLONE_NEWUSER) {
			m, err := ns.ReadMap(process.Path(file))
			if err != nil {
				return err
			}
			*to = overflow
			if in, ok := m.Inner(uint32(n)); ok {
				*to = in
			}
		}
	}
	return nil
}

// opened tells whether a namespace of a kind has been opened.
func (j *join) opened(flag uintptr) bool {
	for _, o := range j.found.open {
		if o.Kind.Flag == flag {
			return true
		}
	}
	return false
}

// accessError explains why another process's files cannot be opened.
func accessError(err error) error {
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return diag.WithHint(err, "the process has other ids, or capabilities that this one lacks, or lets nobody look (ptrace(2), access mode checking)",
			"compare: grep -E 'Uid|CapPrm' /proc/self/status with the same file of the process")
	}
	return err
}
