// Package nsrun is the stage that makes namespaces: it forks where the kernel wants a
// fork, leaves a waiter outside and an init inside a pid namespace, and goes on with
// the chain.
package nsrun

import (
	"errors"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/entry"
	"staves/lib/ns"
)

// Tool is what the registry knows of nsrun.
var Tool = &chain.Tool{
	Name:    "nsrun",
	Summary: "Run NEXT in new namespaces, or in those of other processes.",
	Guises:  guises,
	New:     func() chain.Stage { return &stage{} },
	Notes: `
With no options at all: -muipC --fork, with an init and --kill-child; -n unless netbr
comes before; -U -r unless root.

A namespace with a FILE (--net=FILE, --uts=FILE, ...) is kept there by a bind mount after
NEXT has ended, for --join net=FILE, until umount FILE.

A process stays outside as NEXT's parent whenever nsrun forks: it passes signals on
and ends as NEXT ends. In a pid namespace process 1 is an init, unless NEXT is one.
  nsrun -m -- sh                  a shell whose mounts nobody else sees, same pid
  nsrun -Urmp --mount-proc ps     as an ordinary user`,
}

// A stage is its parts: each with options of its own, its own errors, and its own steps.
type stage struct {
	kinds     kinds
	maps      maps
	join      join
	supervise supervise
	terminal  terminal
	reports   reports
	inside    inside
	become    become
	// exact: nothing is done that was not asked for. So it is under other programs' names.
	exact bool
	// noPidFork: a pid namespace is for children, if the program has any.
	noPidFork bool
}

// A part is one of the things that the stage does.
type part interface {
	// options declares the part's options.
	options(fs *pflag.FlagSet)
	// check finds what is wrong with them, before anything is changed.
	check(p *plan) error
}

func (s *stage) parts() []part {
	return []part{&s.kinds, &s.maps, &s.join, &s.supervise, &s.terminal, &s.reports, &s.inside, &s.become}
}

// A plan is what a stage's options come to, in its place in a chain.
type plan struct {
	*stage
	chain *chain.Chain
	link  *chain.Link
	bare  bool    // no options at all
	flags uintptr // the namespaces to make
	fork  entry.Fork

	steps    []chain.Step
	nextLife bool // they must be taken before the Go runtime starts

	helper   *entry.Helper // stays outside, where one is needed
	messages struct{ read, write entry.Reg }
	older    ns.Older // where the mount namespace is kept
}

func (s *stage) plan(c *chain.Chain, link *chain.Link) *plan {
	p := &plan{stage: s, chain: c, link: link, bare: !s.exact && link.Bare()}
	p.flags = s.kinds.flags(p) | s.maps.flags(p) | s.inside.flags()
	p.nextLife = s.supervise.forks(p) || p.makes(unix.CLONE_NEWUSER|unix.CLONE_NEWTIME) || s.join.any() || s.helped()
	return p
}

// helped tells whether there is something to do for a process that stays outside.
func (s *stage) helped() bool { return s.maps.outside() || s.kinds.kept() != nil }

// makes tells whether a namespace of a kind is made.
func (p *plan) makes(flag uintptr) bool { return p.flags&flag != 0 }

// given tells whether an option was given.
func (p *plan) given(option string) bool { return p.link.Flags.Changed(option) }

// raw adds a step of system calls.
func (p *plan) raw(call, why, man string, write func(b *entry.Builder)) {
	p.step(chain.Raw(call, why, man, write))
}

// step adds a step of system calls.
func (p *plan) step(s chain.Step) {
	s.NextLife = p.nextLife
	p.steps = append(p.steps, s)
}

func (s *stage) Options(fs *pflag.FlagSet) {
	for _, p := range s.parts() {
		p.options(fs)
	}
}

func (s *stage) Check(c *chain.Chain, link *chain.Link) error {
	p := s.plan(c, link)
	for _, part := range s.parts() {
		if err := part.check(p); err != nil {
			return err
		}
	}
	if err := s.join.look(p); err != nil {
		if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
			err = c.Denied(link, err)
		}
		if err != nil {
			return err
		}
	}
	s.join.tell(c, link)
	s.join.close()
	for flag, fact := range map[uintptr]chain.Fact{
		unix.CLONE_NEWUSER: chain.UserNS, unix.CLONE_NEWPID: chain.PidNS, unix.CLONE_NEWNET: chain.NetNS,
		unix.CLONE_NEWCGROUP: chain.CgroupNS,
	} {
		if p.makes(flag) || p.joins(flag) {
			c.Provide(fact, link)
		}
	}
	if p.makes(unix.CLONE_NEWNS) && s.inside.apart() {
		c.Provide(chain.MountNS, link)
		c.State.Mnt = true
	}
	return p.tellIDs()
}

// tellIDs tells the chain who the process is afterwards.
func (p *plan) tellIDs() error {
	user := p.makes(unix.CLONE_NEWUSER)
	euid, egid := p.chain.Euid(p.link), p.chain.Egid(p.link)
	if user {
		id, err := p.maps.read(p)
		if err != nil {
			return err
		}
		euid, egid = int(id.users.inside), int(id.groups.inside)
		if !p.joins(unix.CLONE_NEWNS) && p.kinds.kept() == nil && p.inside.root == "" {
			p.chain.SetMaps(p.link, chain.IDMaps{Users: ranges(id.users.m), Groups: ranges(id.groups.m)})
		}
	}
	uid, gid := p.become.ids(p)
	if uid != nil {
		euid = int(*uid)
	}
	if gid != nil {
		egid = int(*gid)
	}
	if (user || p.joins(unix.CLONE_NEWUSER)) && euid == 0 {
		p.chain.Provide(chain.MappedRoot, p.link)
	}
	p.chain.SetIDs(p.link, euid, egid)
	return nil
}

// ranges is a map as the chain knows it.
func ranges(m ns.Map) (all []chain.IDRange) {
	for _, r := range m {
		all = append(all, chain.IDRange(r))
	}
	return all
}

// Steps: to where another process is; the fork or the unshare; the maps, without which no
// id inside means anything; what is done inside; then, as it takes away the right to all
// of that, who the payload runs as; and last what stays when something fails: the files of
// namespaces, which a helper mounts that has every right still.
func (s *stage) Steps(c *chain.Chain, link *chain.Link) []chain.Step {
	p := s.plan(c, link)
	s.join.enter(p)
	s.park(p)
	s.maps.own(p)
	// The cgroup namespace takes the group that the process is in as its root, so it
	// comes after the fork, where cgset's step puts the child into its group; and
	// clone(2) has no bit for the time namespace.
	var late uintptr
	switch {
	case s.supervise.forks(p):
		late = p.flags & (unix.CLONE_NEWCGROUP | unix.CLONE_NEWTIME)
		s.supervise.fork(p, p.flags&^late)
	case p.flags != 0:
		p.raw("unshare("+ns.Names(p.flags)+")", "this process moves into the new namespaces", "unshare(2)", func(b *entry.Builder) {
			ns.Unshare(b, p.flags)
		})
	}
	s.maps.write(p)
	if late != 0 {
		p.raw("unshare("+ns.Names(late)+")", "its root is the group that the process is in now", "cgroup_namespaces(7)", func(b *entry.Builder) {
			ns.Unshare(b, late)
		})
	}
	s.kinds.renew(p)
	s.inside.shift(p)
	s.supervise.leaveInit(p)
	s.inside.settle(p)
	s.become.take(p)
	last := len(p.steps)
	s.kinds.keep(p)
	s.dismiss(p)
	s.reports.block(p)
	if s.kinds.kept() != nil { // nothing is kept for a program that is not there
		for i := range p.steps[last:] {
			p.steps[last+i].Final = true
		}
	}
	return p.steps
}

// park leaves a helper here, if one is needed.
func (s *stage) park(p *plan) {
	if !s.helped() {
		return
	}
	p.raw("clone(0)", "a helper with today's privileges and mounts stays outside, for maps and files of namespaces", "clone(2)", func(b *entry.Builder) {
		if s.maps.outside() {
			p.messages.read, p.messages.write = b.Messages("pipe")
		}
		if s.kinds.keepsMounts() {
			p.older = ns.WatchOlder(b)
		}
		p.helper = b.Park("clone(0)")
	})
}

// dismiss lets the helper end.
func (s *stage) dismiss(p *plan) {
	if !s.helped() {
		return
	}
	p.raw("wait4(helper)", "nothing but the payload is left behind", "wait4(2)", func(b *entry.Builder) {
		b.Dismiss(p.helper)
		if s.maps.outside() {
			b.Close(p.messages.read)
			b.Close(p.messages.write)
		}
	})
}
