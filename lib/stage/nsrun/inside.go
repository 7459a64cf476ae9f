package nsrun

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/entry"
	"staves/lib/ns"
)

// inside is what is set up in the new namespaces.
type inside struct {
	propagation string
	mountProc   string
	hostname    string
	lo          string
}

func (i *inside) options(fs *pflag.FlagSet) {
	fs.StringVar(&i.mountProc, "mount-proc", "", "mount a proc of the new pid namespace on `DIR`; implies --mount")
	fs.Lookup("mount-proc").NoOptDefVal = "/proc"
	fs.StringVar(&i.propagation, "propagation", "private", "of mounts to and from the new mount namespace: `private|slave|shared|unchanged`")
	fs.StringVar(&i.hostname, "hostname", "", "set the host name to `NAME`; implies --uts")
	fs.StringVar(&i.lo, "lo", "up", "leave lo `up|down` in the new network namespace")
}

func (i *inside) check(p *plan) error {
	switch {
	case p.given("propagation") && !p.makes(unix.CLONE_NEWNS):
		return errors.New("--propagation is about a new mount namespace: add --mount")
	case p.given("lo") && !p.makes(unix.CLONE_NEWNET):
		return errors.New("--lo is about a new network namespace: add --net")
	case i.lo != "up" && i.lo != "down":
		return fmt.Errorf("--lo is up or down, not %q", i.lo)
	case p.given("hostname") && (i.hostname == "" || len(i.hostname) > 64):
		return errors.New("--hostname: a host name has 1 to 64 bytes")
	case p.given("mount-proc") && i.mountProc == "":
		return errors.New("--mount-proc: the directory's name is empty")
	}
	switch ns.Propagation(i.propagation) {
	case ns.Private, ns.Slave, ns.Shared, ns.Unchanged:
		return nil
	}
	return fmt.Errorf("--propagation: %q is none of private, slave, shared, unchanged", i.propagation)
}

// flags are the namespaces that the options imply.
func (i *inside) flags() (f uintptr) {
	if i.mountProc != "" {
		f |= unix.CLONE_NEWNS
	}
	if i.hostname != "" {
		f |= unix.CLONE_NEWUTS
	}
	return f
}

// apart tells whether mounts made inside do not appear outside: where they do, a later
// stage that mounts for itself makes another namespace.
func (i *inside) apart() bool {
	p := ns.Propagation(i.propagation)
	return p == ns.Private || p == ns.Slave
}

func (i *inside) settle(p *plan) {
	if p.makes(unix.CLONE_NEWNS) {
		p.raw("mount(MS_REC|MS_PRIVATE) on /", "mounts made here must not appear outside", "mount_namespaces(7)", func(b *entry.Builder) {
			ns.SetPropagation(b, ns.Propagation(i.propagation))
		})
	}
	if i.hostname != "" {
		p.raw("sethostname", "the uts namespace has its own host name", "sethostname(2)", func(b *entry.Builder) { ns.SetHostname(b, i.hostname) })
	}
	if p.makes(unix.CLONE_NEWNET) && i.lo == "up" {
		p.raw("bring up lo", "a new network namespace has lo, but down", "netdevice(7)", ns.LoopbackUp)
	}
	if i.mountProc != "" {
		p.raw("mount proc", "/proc shows the pid namespace that it was mounted in", "proc(5)", func(b *entry.Builder) { ns.MountProc(b, i.mountProc) })
	}
}
