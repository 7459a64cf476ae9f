package nsrun

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/cgroup"
	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/entry"
	"staves/lib/ns"
	"staves/lib/probe"
)

// join is what other processes have and this one is to have as well: namespaces, root,
// working directory, environment, groups.
type join struct {
	texts      []string
	targets    []target
	env        bool
	cgroup     bool
	socket     int
	userParent bool
	wdns       string

	found found
}

// target is the value of one --join.
type target struct {
	pid   int
	inode uint64   // of its pidfd, 0 for any
	kinds []string // of the process
	all   bool     // all that differ
	some  bool     // the process may turn out to have none that differs

	kind *ns.Kind // of a namespace by itself
	file string
	id   uint64
}

// found is what has been opened.
type found struct {
	open     []ns.Open
	root, wd int // descriptors, -1 for none
	groups   []int
	env      []string
	uid, gid uint32 // of the process, as they are called in its user namespace
}

func (j *join) options(fs *pflag.FlagSet) {
	fs.StringArrayVar(&j.texts, "join", nil, "join namespaces, `PID[:INODE][/NS,...]|NS=FILE|NS=:ID`: all of the process that differ, or those named (mnt,net,...); may be repeated")
	fs.BoolVar(&j.env, "env", false, "run NEXT with the environment of the joined process")
	fs.BoolVar(&j.cgroup, "join-cgroup", false, "enter the control groups of the joined process")
	fs.IntVar(&j.socket, "net-socket", -1, "join the network namespace of the joined process's socket, its descriptor `FD`")
	fs.BoolVar(&j.userParent, "user-parent", false, "join the user namespace that the first of the joined ones belongs to")
	fs.StringVar(&j.wdns, "wdns", "", "change the working directory to `DIR`, looked for in the joined namespaces")
}

func (j *join) any() bool { return len(j.texts) > 0 || len(j.targets) > 0 }

// process tells whether a process is joined, rather than namespaces by themselves.
func (j *join) process() bool {
	for _, t := range j.targets {
		if t.pid != 0 {
			return true
		}
	}
	for _, text := range j.texts {
		if text != "" && text[0] >= '0' && text[0] <= '9' {
			return true
		}
	}
	return false
}

func (j *join) check(p *plan) error {
	switch {
	case (j.env || j.cgroup || j.socket >= 0) && !j.process():
		return errors.New("--env, --join-cgroup and --net-socket are about a joined process: add --join PID")
	case j.userParent && !j.any(), j.wdns != "" && !j.any():
		return errors.New("--user-parent and --wdns are about joined namespaces: add --join")
	case p.given("net-socket") && j.socket < 0:
		return errors.New("--net-socket: a descriptor is 0 or more")
	case j.wdns != "" && p.inside.wd != "":
		return errors.New("--wd and --wdns exclude each other")
	case !j.any():
		return nil
	}
	return nil
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

// parseTarget reads PID[:INODE][/NS,...], NS=FILE or NS=:ID.
func parseTarget(text string) (t target, err error) {
	if name, file, ok := strings.Cut(text, "="); ok {
		if t.kind, err = kindOf(name); err != nil {
			return t, err
		}
		if id, ok := strings.CutPrefix(file, ":"); ok {
			t.id, err = strconv.ParseUint(id, 10, 64)
			if err != nil || t.id == 0 {
				return t, fmt.Errorf("%q is no id of a namespace; a file of that name is ./%s", file, file)
			}
		} else if t.file = file; file == "" {
			return t, fmt.Errorf("%q: the file's name is empty", text)
		}
		return t, nil
	}
	pid, names, some := strings.Cut(text, "/")
	if t.pid, t.inode, err = parsePID(pid); err != nil {
		return t, diag.WithHint(err, "it is --join PID[:INODE][/NS,...], or --join NS=FILE")
	}
	if !some {
		t.all = true
		return t, nil
	}
	for _, name := range strings.Split(names, ",") {
		k, err := kindOf(name)
		if err != nil {
			return t, err
		}
		t.kinds = append(t.kinds, k.Long)
	}
	return t, nil
}

// parsePID reads PID or PID:INODE.
func parsePID(text string) (pid int, inode uint64, err error) {
	number, serial, hasInode := strings.Cut(text, ":")
	if pid, err = strconv.Atoi(number); err != nil || pid <= 0 {
		return 0, 0, fmt.Errorf("%q is no process id", number)
	}
	if hasInode {
		if inode, err = strconv.ParseUint(serial, 10, 64); err != nil || inode == 0 {
			return 0, 0, fmt.Errorf("%q is no inode number of a process", serial)
		}
	}
	return pid, inode, nil
}

// kindOf finds the kind of namespace of a name: that of the option, of the kernel's file,
// or of its constant.
func kindOf(name string) (*ns.Kind, error) {
	var names []string
	for i := range ns.Kinds {
		k := &ns.Kinds[i]
		if name == k.Long || name == k.Own() {
			return k, nil
		}
		names = append(names, k.Own())
	}
	return nil, fmt.Errorf("%q is no namespace: there are %s", name, strings.Join(names, ", "))
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

func (t *target) names(kind *ns.Kind) bool {
	for _, k := range t.kinds {
		if k == kind.Long {
			return true
		}
	}
	return false
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

// joined is the fact that a stage joins a kind of namespace.
func joined(kind *ns.Kind) chain.Fact { return chain.Fact("joined " + kind.Long) }

// tell tells the chain what is joined, for the lives in which it cannot be looked up.
func (j *join) tell(c *chain.Chain, link *chain.Link) {
	for _, o := range j.found.open {
		c.Provide(joined(o.Kind), link)
	}
}

// joins tells whether a namespace of a kind is joined.
func (p *plan) joins(flag uintptr) bool {
	for i := range ns.Kinds {
		if k := &ns.Kinds[i]; k.Flag == flag && p.chain.Provides(joined(k), p.link) {
			return true
		}
	}
	return false
}

// makesRoot tells whether the process becomes root, as is the rule in a user namespace
// that is joined: only so does it keep the capabilities that it has there.
func (j *join) makesRoot(p *plan) bool {
	return p.joins(unix.CLONE_NEWUSER) && !p.become.preserve
}

// enter takes the steps of the join.
func (j *join) enter(p *plan) {
	if !j.any() {
		return
	}
	var names uintptr
	for _, k := range ns.Kinds {
		if p.joins(k.Flag) {
			names |= k.Flag
		}
	}
	p.step(chain.Step{
		Call: "setns(" + ns.Names(names) + ")", Why: "this process moves to where the other one is", Man: "setns(2)",
		Write: func(b *entry.Builder) error {
			if err := j.look(p); err != nil {
				return err
			}
			j.write(p, b)
			return nil
		},
		Left: func(s *chain.State) {
			if j.env {
				s.Env = j.found.env
			}
		},
	})
}

func (j *join) write(p *plan, b *entry.Builder) {
	f := &j.found
	for _, o := range f.open {
		keep(o.FD)
	}
	for _, fd := range append(f.groups, f.root, f.wd) {
		if fd >= 0 {
			keep(fd)
		}
	}
	for _, fd := range f.groups {
		b.Do("enter the control group of the joined process", unix.SYS_WRITE, fd, "0", 1)
		b.Do("enter the control group of the joined process", unix.SYS_CLOSE, fd)
	}
	ns.Join(b, f.open)
	if f.root >= 0 {
		const what = "change the root to that of --root"
		here := b.Get("open the working directory", unix.SYS_OPENAT, unix.AT_FDCWD, ".", unix.O_PATH|unix.O_CLOEXEC, 0)
		b.Do(what, unix.SYS_FCHDIR, f.root)
		b.Do(what, unix.SYS_CHROOT, ".")
		b.Do(what, unix.SYS_CLOSE, f.root)
		if f.wd < 0 && j.wdns == "" && p.exact {
			b.Do(what, unix.SYS_FCHDIR, here)
		}
		b.Close(here)
	}
	if f.wd >= 0 {
		const what = "change the working directory to that of --wd"
		b.Do(what, unix.SYS_FCHDIR, f.wd)
		b.Do(what, unix.SYS_CLOSE, f.wd)
	}
	if j.wdns != "" {
		b.Do("chdir to "+j.wdns, unix.SYS_CHDIR, j.wdns)
	}
}

// keep has a descriptor that was opened here reach the program that uses it.
func keep(fd int) { _ = chain.KeepFD(fd) } // it fails for what is no descriptor

// accessError explains why another process's files cannot be opened.
func accessError(err error) error {
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return diag.WithHint(err, "the process has other ids, or capabilities that this one lacks, or lets nobody look (ptrace(2), access mode checking)",
			"compare: grep -E 'Uid|CapPrm' /proc/self/status with the same file of the process")
	}
	return err
}
