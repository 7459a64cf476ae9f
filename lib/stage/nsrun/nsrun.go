// Package nsrun is the stage that makes namespaces: it forks where the kernel wants a
// fork, leaves a waiter outside and an init inside a pid namespace, and goes on with
// the chain.
package nsrun

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/entry"
	"staves/lib/ns"
)

// Tool is what the registry knows of nsrun.
var Tool = &chain.Tool{
	Name:    "nsrun",
	Summary: "Run NEXT in new namespaces.",
	New:     func() chain.Stage { return &stage{} },
	Notes: `
With no options at all: -muipC --fork, with an init and --kill-child; -n unless netbr
comes before; -U -r unless root.

A process stays outside as NEXT's parent whenever nsrun forks: it passes signals on
and ends as NEXT ends. In a pid namespace process 1 is an init, unless NEXT is one.
  nsrun -m -- sh                  a shell whose mounts nobody else sees, same pid
  nsrun -Urmp --mount-proc ps     as an ordinary user`,
}

type stage struct {
	kinds       [8]bool // one for each of ns.Kinds
	fork        bool
	mapRoot     bool
	mountProc   string
	propagation string
	hostname    string
	init        bool
	noInit      bool
	killChild   string
	lo          string
}

func (s *stage) Options(fs *pflag.FlagSet) {
	for i, k := range ns.Kinds {
		fs.BoolVarP(&s.kinds[i], k.Long, k.Short, false, k.Usage)
	}
	fs.BoolVarP(&s.fork, "fork", "f", false, "fork; a waiter stays outside the namespaces")
	fs.BoolVarP(&s.mapRoot, "map-root-user", "r", false, "map root in the user namespace to the present user; implies --user")
	fs.StringVar(&s.mountProc, "mount-proc", "", "mount a proc of the new pid namespace on `DIR`; implies --mount")
	fs.Lookup("mount-proc").NoOptDefVal = "/proc"
	fs.StringVar(&s.propagation, "propagation", "private", "of mounts to and from the new mount namespace: `private|slave|shared|unchanged`")
	fs.StringVar(&s.hostname, "hostname", "", "set the host name to `NAME`; implies --uts")
	fs.BoolVar(&s.init, "init", false, "leave an init as process 1 of the pid namespace (the default)")
	fs.BoolVar(&s.noInit, "no-init", false, "let NEXT be process 1")
	fs.StringVar(&s.killChild, "kill-child", "", "send the child `SIGNAL` when the waiter dies; implies --fork")
	fs.Lookup("kill-child").NoOptDefVal = "KILL"
	fs.StringVar(&s.lo, "lo", "up", "leave lo `up|down` in the new network namespace")
}

func (s *stage) Check(c *chain.Chain, link *chain.Link) error {
	changed := link.Flags.Changed
	flags := s.flags(c, link)
	switch {
	case s.init && s.noInit:
		return errors.New("--init and --no-init exclude each other")
	case (s.init || s.noInit) && flags&unix.CLONE_NEWPID == 0:
		return errors.New("--init and --no-init are about a new pid namespace: add --pid")
	case changed("propagation") && flags&unix.CLONE_NEWNS == 0:
		return errors.New("--propagation is about a new mount namespace: add --mount")
	case changed("lo") && flags&unix.CLONE_NEWNET == 0:
		return errors.New("--lo is about a new network namespace: add --net")
	case s.lo != "up" && s.lo != "down":
		return fmt.Errorf("--lo is up or down, not %q", s.lo)
	case changed("hostname") && (s.hostname == "" || len(s.hostname) > 64):
		return errors.New("--hostname: a host name has 1 to 64 bytes")
	case changed("mount-proc") && s.mountProc == "":
		return errors.New("--mount-proc: the directory's name is empty")
	}
	switch ns.Propagation(s.propagation) {
	case ns.Private, ns.Slave, ns.Shared, ns.Unchanged:
	default:
		return fmt.Errorf("--propagation: %q is none of private, slave, shared, unchanged", s.propagation)
	}
	if _, err := s.deathSignal(link); err != nil {
		return err
	}
	// Where its mounts appear outside, a later stage that mounts for itself makes another.
	p := ns.Propagation(s.propagation)
	apart := flags&unix.CLONE_NEWNS != 0 && (p == ns.Private || p == ns.Slave)
	for flag, fact := range map[uintptr]chain.Fact{
		unix.CLONE_NEWUSER: chain.UserNS, unix.CLONE_NEWPID: chain.PidNS, unix.CLONE_NEWNET: chain.NetNS,
	} {
		if flags&flag != 0 {
			c.Provide(fact, link)
		}
	}
	if s.maps(c, link) {
		c.Provide(chain.MappedRoot, link)
	}
	if apart {
		c.Provide(chain.MountNS, link)
		c.State.Mnt = true
	}
	return nil
}

// flags are the namespaces to make.
func (s *stage) flags(c *chain.Chain, link *chain.Link) uintptr {
	var f uintptr
	for i, k := range ns.Kinds {
		if s.kinds[i] {
			f |= k.Flag
		}
	}
	if link.Bare() {
		f = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWPID | unix.CLONE_NEWCGROUP
		if !c.Has(chain.NetNS, link) {
			f |= unix.CLONE_NEWNET
		}
	}
	if s.maps(c, link) {
		f |= unix.CLONE_NEWUSER
	}
	if s.mountProc != "" {
		f |= unix.CLONE_NEWNS
	}
	if s.hostname != "" {
		f |= unix.CLONE_NEWUTS
	}
	return f
}

// maps tells whether root is mapped: if so asked, or if an ordinary user asked for nothing.
func (s *stage) maps(c *chain.Chain, link *chain.Link) bool {
	return s.mapRoot || link.Bare() && c.Euid(link) != 0
}

func (s *stage) deathSignal(link *chain.Link) (unix.Signal, error) {
	if link.Bare() {
		return unix.SIGKILL, nil
	}
	if s.killChild == "" {
		return 0, nil
	}
	return chain.Signal(s.killChild)
}

func (s *stage) Steps(c *chain.Chain, link *chain.Link) []chain.Step {
	flags := s.flags(c, link)
	deathsig, _ := s.deathSignal(link) // Check has seen the error
	pid := flags&unix.CLONE_NEWPID != 0
	init := pid && !s.noInit && (s.init || !isInit(c.Payload))
	fork := pid || s.fork || deathsig != 0
	nextLife := fork || flags&unix.CLONE_NEWUSER != 0
	var steps []chain.Step
	raw := func(call, why, man string, write func(b *entry.Builder)) {
		s := chain.Raw(call, why, man, write)
		s.NextLife = nextLife
		steps = append(steps, s)
	}
	mapRoot := func() {
		if s.maps(c, link) {
			raw("write /proc/self/uid_map", "without a map no id inside means anything outside", "user_namespaces(7)", func(b *entry.Builder) {
				ns.MapRoot(b, c.Euid(link), c.Egid(link))
			})
		}
	}

	if fork {
		// The cgroup namespace takes the group that the process is in as its root, so it
		// comes after the fork, where cgset's step puts the child into its group; and
		// clone(2) has no bit for the time namespace.
		late := flags & (unix.CLONE_NEWCGROUP | unix.CLONE_NEWTIME)
		early := flags &^ late
		call := "clone(" + ns.Names(early) + ")"
		raw(call, "the child starts in the new namespaces, the parent waits outside", "clone(2)", func(b *entry.Builder) {
			b.Fork(call, entry.Fork{Flags: early, Deathsig: deathsig, InitFollows: init})
		})
		mapRoot()
		if late != 0 {
			raw("unshare("+ns.Names(late)+")", "its root is the group that the process is in now", "cgroup_namespaces(7)", func(b *entry.Builder) {
				ns.Unshare(b, late)
			})
		}
	} else if flags != 0 {
		raw("unshare("+ns.Names(flags)+")", "this process moves into the new namespaces", "unshare(2)", func(b *entry.Builder) {
			ns.Unshare(b, flags)
		})
		mapRoot()
	}
	if init {
		raw("fork", "process 1 must reap orphans, and ignores signals it has no handler for", "pid_namespaces(7)", func(b *entry.Builder) {
			b.Init("fork from init")
		})
	}
	if flags&unix.CLONE_NEWNS != 0 {
		raw("mount(MS_REC|MS_PRIVATE) on /", "mounts made here must not appear outside", "mount_namespaces(7)", func(b *entry.Builder) {
			ns.SetPropagation(b, ns.Propagation(s.propagation))
		})
	}
	if s.hostname != "" {
		raw("sethostname", "the uts namespace has its own host name", "sethostname(2)", func(b *entry.Builder) { ns.SetHostname(b, s.hostname) })
	}
	if flags&unix.CLONE_NEWNET != 0 && s.lo == "up" {
		raw("bring up lo", "a new network namespace has lo, but down", "netdevice(7)", ns.LoopbackUp)
	}
	if s.mountProc != "" {
		raw("mount proc", "/proc shows the pid namespace that it was mounted in", "proc(5)", func(b *entry.Builder) { ns.MountProc(b, s.mountProc) })
	}
	return steps
}

// isInit tells whether a payload is a program that knows how to be process 1.
func isInit(payload []string) bool {
	if payload == nil {
		return false
	}
	switch filepath.Base(payload[0]) {
	case "init", "systemd", "tini", "tini-static", "dumb-init", "catatonit", "s6-svscan", "runit", "openrc-init":
		return true
	}
	return false
}
