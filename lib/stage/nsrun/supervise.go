package nsrun

import (
	"errors"
	"path/filepath"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/entry"
	"staves/lib/ns"
)

// supervise is about the processes around the payload: the waiter outside, the init
// inside a pid namespace.
type supervise struct {
	forked    bool
	init      bool
	noInit    bool
	killChild string
}

func (v *supervise) options(fs *pflag.FlagSet) {
	fs.BoolVarP(&v.forked, "fork", "f", false, "fork; a waiter stays outside the namespaces")
	fs.BoolVar(&v.init, "init", false, "leave an init as process 1 of the pid namespace (the default)")
	fs.BoolVar(&v.noInit, "no-init", false, "let NEXT be process 1")
	fs.StringVar(&v.killChild, "kill-child", "", "send the child `SIGNAL` when the waiter dies; implies --fork")
	fs.Lookup("kill-child").NoOptDefVal = "KILL"
}

func (v *supervise) check(p *plan) error {
	switch {
	case v.init && v.noInit:
		return errors.New("--init and --no-init exclude each other")
	case (v.init || v.noInit) && !p.makes(unix.CLONE_NEWPID):
		return errors.New("--init and --no-init are about a new pid namespace: add --pid")
	}
	_, err := v.deathSignal(p)
	return err
}

// deathSignal is what the child gets when the waiter dies, 0 for none.
func (v *supervise) deathSignal(p *plan) (unix.Signal, error) {
	if p.bare {
		return unix.SIGKILL, nil
	}
	if v.killChild == "" {
		return 0, nil
	}
	return chain.Signal(v.killChild)
}

// forks tells whether a waiter stays outside.
func (v *supervise) forks(p *plan) bool {
	sig, _ := v.deathSignal(p) // check has seen the error
	return v.forked || sig != 0 || p.makes(unix.CLONE_NEWPID)
}

// inits tells whether an init stays inside.
func (v *supervise) inits(p *plan) bool {
	return p.makes(unix.CLONE_NEWPID) && !v.noInit && (v.init || !isInit(p.chain.Payload))
}

// fork leaves the waiter behind; the child starts in new namespaces.
func (v *supervise) fork(p *plan, flags uintptr) {
	deathsig, _ := v.deathSignal(p)
	call := "clone(" + ns.Names(flags) + ")"
	p.raw(call, "the child starts in the new namespaces, the parent waits outside", "clone(2)", func(b *entry.Builder) {
		b.Fork(call, entry.Fork{Flags: flags, Deathsig: deathsig, Init: v.inits(p)})
	})
}

// leaveInit leaves the init behind, if there is to be one.
func (v *supervise) leaveInit(p *plan) {
	if !v.inits(p) {
		return
	}
	p.raw("fork", "process 1 must reap orphans, and ignores signals it has no handler for", "pid_namespaces(7)", func(b *entry.Builder) {
		b.Init("fork from init")
	})
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
