package nsrun

import (
	"errors"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/entry"
	"staves/lib/ns"
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
	}
	return nil
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
	what := ns.Names(names)
	if names == 0 {
		what = "..." // the process may not be looked at, see look
	}
	p.step(chain.Step{
		Call: "setns(" + what + ")", Why: "this process moves to where the other one is", Man: "setns(2)",
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
	if j.makesRoot(p) {
		// The caller's groups are none of the user namespace's, which may deny setgroups(2).
		dropGroups(b, true)
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
