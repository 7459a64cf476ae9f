package nsrun

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/entry"
	"staves/lib/ns"
)

// supervise is about the processes around the payload: the waiter outside, the init
// inside a pid namespace.
type supervise struct {
	forked        bool
	init          bool
	noInit        bool
	killChild     string
	dieWithParent string
	detach        bool
	forward       bool
	// deaf: SIGINT and SIGTERM are passed on only where that is asked for, as unshare(1) does.
	deaf bool
}

func (v *supervise) options(fs *pflag.FlagSet) {
	fs.BoolVarP(&v.forked, "fork", "f", false, "fork; a waiter stays outside the namespaces")
	fs.BoolVar(&v.forward, "forward-signals", false, "pass signals on to NEXT, which a waiter does anyway; implies --fork")
	fs.BoolVar(&v.init, "init", false, "leave an init as process 1 of the pid namespace (the default)")
	fs.BoolVar(&v.noInit, "no-init", false, "let NEXT be process 1")
	fs.StringVar(&v.killChild, "kill-child", "", "send the child `SIGNAL` when the waiter dies, whatever ids it has by then; implies --fork")
	fs.Lookup("kill-child").NoOptDefVal = "KILL"
	fs.StringVar(&v.dieWithParent, "die-with-parent", "", "kill the child when the process that started this one ends; `PID` says which that is; implies --kill-child")
	fs.Lookup("die-with-parent").NoOptDefVal = anyParent
	fs.BoolVar(&v.detach, "detach", false, "leave no parent: end when NEXT has been executed; implies --new-session")
}

// anyParent stands for whoever is the parent, as the value of --die-with-parent.
const anyParent = "any"

func (v *supervise) check(p *plan) error {
	switch {
	case v.init && v.noInit:
		return errors.New("--init and --no-init exclude each other")
	case (v.init || v.noInit) && !p.makes(unix.CLONE_NEWPID):
		return errors.New("--init and --no-init are about a new pid namespace: add --pid")
	case p.given("kill-child") && v.killChild == "":
		return errors.New("--kill-child: the signal's name is empty")
	case v.detach && (v.killChild != "" || v.dieWithParent != ""):
		return errors.New("--detach leaves no waiter that could die: it excludes --kill-child and --die-with-parent")
	case v.detach && p.chain.Has(chain.Waiter, p.link):
		return diag.WithHint(errors.New("--detach: the group that cgset makes is removed when its child ends, which would be at once"),
			"have it stay: cgset --keep")
	}
	if p.given("die-with-parent") && v.dieWithParent != anyParent {
		if n, err := strconv.Atoi(v.dieWithParent); err != nil || n <= 0 {
			return fmt.Errorf("--die-with-parent: %q is no process id", v.dieWithParent)
		}
	}
	_, err := v.deathSignal(p)
	return err
}

// deathSignal is what the child gets when the waiter dies, 0 for none.
func (v *supervise) deathSignal(p *plan) (unix.Signal, error) {
	switch {
	case v.killChild != "":
		return chain.Signal(v.killChild)
	case p.bare || v.dieWithParent != "":
		return unix.SIGKILL, nil
	}
	return 0, nil
}

// forks tells whether a waiter stays outside.
func (v *supervise) forks(p *plan) bool {
	sig, _ := v.deathSignal(p) // check has seen the error
	return v.forked || v.forward || v.detach || sig != 0 || !p.noPidFork && (p.makes(unix.CLONE_NEWPID) || p.joins(unix.CLONE_NEWPID)) || p.terminal.session(p) || p.reports.any()
}

// inits tells whether an init stays inside.
func (v *supervise) inits(p *plan) bool {
	return !p.exact && p.makes(unix.CLONE_NEWPID) && !v.noInit && (v.init || !isInit(p.chain.Payload))
}

// fork leaves the waiter behind; the child starts in new namespaces.
func (v *supervise) fork(p *plan, flags uintptr) {
	f := &p.fork
	f.Flags, f.Init, f.Detach, f.Session = flags, v.inits(p), v.detach, p.terminal.session(p)
	f.Deathsig, _ = v.deathSignal(p)
	f.Deaf = v.deaf && !v.forward
	v.findParent(p)
	p.terminal.open(p)
	p.reports.open(p)
	call := "clone(" + ns.Names(flags) + ")"
	p.raw(call, "the child starts in the new namespaces, the parent waits outside", "clone(2)", func(b *entry.Builder) {
		b.Fork(call, *f)
	})
}

// findParent opens the process that is not to be outlived. Whatever it becomes
// afterwards, the descriptor stays its own; and a descriptor tells of the end of a
// process, where prctl(PR_SET_PDEATHSIG) tells of the end of a thread.
func (v *supervise) findParent(p *plan) {
	if v.dieWithParent == "" {
		return
	}
	p.step(chain.Step{
		Call: "pidfd_open(parent)", Why: "the child is killed when that process ends", Man: "pidfd_open(2)",
		Write: func(b *entry.Builder) error {
			parent := unix.Getppid()
			what := fmt.Sprintf("the parent, process %d, has ended", parent)
			switch want := v.dieWithParent; {
			case want != anyParent && want != strconv.Itoa(parent):
				return fmt.Errorf("--die-with-parent: process %s is not the parent any more", want)
			case parent == 0: // it is outside this pid namespace, where it cannot be named
				what = "the parent has ended"
				b.Do("prctl(PR_SET_PDEATHSIG)", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, int(unix.SIGKILL), 0, 0, 0)
			default:
				p.fork.Parent = b.Get(what, unix.SYS_PIDFD_OPEN, parent, 0)
			}
			b.Want(what, uintptr(parent), unix.SYS_GETPPID) // it has not ended in between
			return nil
		},
	})
}

// leaveInit leaves the init behind, if there is to be one. By now the child is where it
// belongs, and its supervisor is told so.
func (v *supervise) leaveInit(p *plan) {
	if v.hello(p) {
		p.raw("wait for the waiter", "it must know of the child before that goes on", "socketpair(2)", func(b *entry.Builder) {
			b.Hello("report")
			p.reports.close(b, p.fork.Reports)
		})
	}
	if p.fork.Init {
		p.raw("clone(0)", "process 1 must reap orphans, and ignores signals it has no handler for", "pid_namespaces(7)", func(b *entry.Builder) {
			b.Init("fork from init")
		})
	}
	p.terminal.take(p)
}

// hello tells whether the waiter has something to do before the child may go on.
func (v *supervise) hello(p *plan) bool {
	return p.fork.Deathsig != 0 && !p.fork.Init || p.terminal.pty || p.reports.any()
}

// Inits are programs that know how to be process 1.
var Inits = []string{"init", "systemd", "tini", "tini-static", "dumb-init", "catatonit", "s6-svscan", "runit", "openrc-init"}

// isInit tells whether a payload is one of them.
func isInit(payload []string) bool {
	return payload != nil && slices.Contains(Inits, filepath.Base(payload[0]))
}
