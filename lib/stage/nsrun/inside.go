package nsrun

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/entry"
	"staves/lib/ns"
)

// inside is what is set up in the new namespaces.
type inside struct {
	propagation string
	mountProc   string
	mountBinfmt string
	loadInterp  string
	hostname    string
	lo          string
	boottime    int64
	monotonic   int64
	root, wd    string
}

const binfmtDir = "/proc/sys/fs/binfmt_misc"

func (i *inside) options(fs *pflag.FlagSet) {
	fs.StringVar(&i.mountProc, "mount-proc", "", "mount a proc of the new pid namespace on `DIR`; implies --mount")
	fs.Lookup("mount-proc").NoOptDefVal = "/proc"
	fs.StringVar(&i.mountBinfmt, "mount-binfmt", "", "mount a binfmt_misc of the new user namespace on `DIR`; implies --user --mount, and --mount-proc for the default")
	fs.Lookup("mount-binfmt").NoOptDefVal = binfmtDir
	fs.StringVarP(&i.loadInterp, "load-interp", "l", "", "register an interpreter, `:NAME:TYPE:OFFSET:MAGIC:MASK:INTERPRETER:FLAGS`; implies --mount-binfmt")
	fs.StringVar(&i.propagation, "propagation", "private", "of mounts to and from the new mount namespace: `private|slave|shared|unchanged`")
	fs.StringVarP(&i.root, "root", "R", "", "change the root to `DIR` (chroot(2)); follow: to that of the joined process")
	fs.StringVarP(&i.wd, "wd", "w", "", "change the working directory to `DIR`; follow: to that of the joined process")
	fs.StringVar(&i.hostname, "hostname", "", "set the host name to `NAME`; implies --uts")
	fs.StringVar(&i.lo, "lo", "up", "leave lo `up|down` in the new network namespace")
	fs.Int64Var(&i.monotonic, "monotonic", 0, "shift the monotonic clock of the new time namespace by `SECONDS`")
	fs.Int64Var(&i.boottime, "boottime", 0, "shift the boot clock of the new time namespace by `SECONDS`")
}

func (i *inside) check(p *plan) error {
	switch {
	case p.given("propagation") && !p.makes(unix.CLONE_NEWNS):
		return errors.New("--propagation is about a new mount namespace: add --mount")
	case p.given("lo") && !p.makes(unix.CLONE_NEWNET):
		return errors.New("--lo is about a new network namespace: add --net")
	case (i.monotonic != 0 || i.boottime != 0) && !p.makes(unix.CLONE_NEWTIME):
		return errors.New("--monotonic and --boottime are about a new time namespace: add --time")
	case i.lo != "up" && i.lo != "down":
		return fmt.Errorf("--lo is up or down, not %q", i.lo)
	case p.given("hostname") && (i.hostname == "" || len(i.hostname) > 64):
		return errors.New("--hostname: a host name has 1 to 64 bytes")
	case (i.root == follow || i.wd == follow) && !p.join.process():
		return errors.New("--root follow and --wd follow are about a joined process: add --join PID")
	}
	for name, value := range map[string]string{
		"mount-proc": i.mountProc, "mount-binfmt": i.mountBinfmt, "root": i.root, "wd": i.wd,
	} {
		if p.given(name) && value == "" {
			return fmt.Errorf("--%s: the directory's name is empty", name)
		}
	}
	if p.given("load-interp") && !strings.HasPrefix(i.loadInterp, ":") {
		return errors.New("--load-interp: the definition begins with a colon: see binfmt_misc in the kernel's documentation")
	}
	switch ns.Propagation(i.propagation) {
	case ns.Private, ns.Slave, ns.Shared, ns.Unchanged:
		return nil
	}
	return fmt.Errorf("--propagation: %q is none of private, slave, shared, unchanged", i.propagation)
}

// flags are the namespaces that the options imply.
func (i *inside) flags() (f uintptr) {
	if i.loadInterp != "" && i.mountBinfmt == "" {
		i.mountBinfmt = binfmtDir
	}
	if i.mountBinfmt == binfmtDir && i.mountProc == "" {
		i.mountProc = "/proc"
	}
	if i.mountProc != "" {
		f |= unix.CLONE_NEWNS
	}
	if i.mountBinfmt != "" {
		f |= unix.CLONE_NEWNS | unix.CLONE_NEWUSER
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

// shift enters a new time namespace, when the clocks are set: once a process is in it they
// stay as they are.
func (i *inside) shift(p *plan) {
	if !p.makes(unix.CLONE_NEWTIME) {
		return
	}
	if i.boottime != 0 || i.monotonic != 0 {
		i.setClocks(p)
	}
	p.raw("setns(CLONE_NEWTIME)", "unshare has made it for children; not every kernel moves the program itself on its execve", "time_namespaces(7)", ns.EnterTime)
}

func (i *inside) setClocks(p *plan) {
	p.raw("write /proc/self/timens_offsets", "no clock can be shifted once a process is in the namespace", "time_namespaces(7)", func(b *entry.Builder) {
		if i.boottime != 0 {
			ns.SetClock(b, ns.BootTime, i.boottime)
		}
		if i.monotonic != 0 {
			ns.SetClock(b, ns.Monotonic, i.monotonic)
		}
	})
}

// fixed tells whether the interpreter is opened when it is registered, and so must be
// looked for in the old root.
func (i *inside) fixed() bool {
	return i.root != "" && strings.Contains(i.loadInterp[strings.LastIndex(i.loadInterp, ":")+1:], "F")
}

func (i *inside) settle(p *plan) {
	if p.makes(unix.CLONE_NEWNS) {
		p.raw("mount(MS_REC|MS_PRIVATE) on /", "mounts made here must not appear outside", "mount_namespaces(7)", func(b *entry.Builder) {
			ns.SetPropagation(b, ns.Propagation(i.propagation))
		})
	}
	if i.hostname != "" {
		p.raw("sethostname("+i.hostname+")", "the uts namespace has its own host name", "sethostname(2)", func(b *entry.Builder) { ns.SetHostname(b, i.hostname) })
	}
	if p.makes(unix.CLONE_NEWNET) && i.lo == "up" {
		p.raw("ioctl(SIOCSIFFLAGS) on lo", "a new network namespace has lo, but down", "netdevice(7)", ns.LoopbackUp)
	}
	if i.fixed() {
		p.raw("mount binfmt_misc, write register", "the interpreter is one of the old root", "mount(2)", func(b *entry.Builder) {
			ns.MountBinfmt(b, binfmtDir)
			ns.LoadInterpreter(b, binfmtDir, i.loadInterp)
		})
	}
	i.change(p)
	if i.mountProc != "" {
		p.raw("mount proc", "/proc shows the pid namespace that it was mounted in", "proc(5)", func(b *entry.Builder) {
			if i.root == "" && ns.Propagation(i.propagation) != ns.Private {
				ns.OwnMount(b, i.mountProc)
			}
			ns.MountProc(b, i.mountProc)
		})
	}
	if i.mountBinfmt != "" {
		p.raw("mount binfmt_misc", "a user namespace has interpreters of its own (Linux 6.7)", "mount(2)", func(b *entry.Builder) {
			ns.MountBinfmt(b, i.mountBinfmt)
			if i.loadInterp != "" && !i.fixed() {
				ns.LoadInterpreter(b, i.mountBinfmt, i.loadInterp)
			}
		})
	}
}

// change changes root and working directory. With a join they are opened before, and
// changed there.
func (i *inside) change(p *plan) {
	if p.join.any() {
		return
	}
	if i.root != "" {
		p.raw("chroot("+i.root+")", "paths are looked for there; to leave the old root for good is pivot's business", "chroot(2)", func(b *entry.Builder) {
			b.Do("chroot to "+i.root, unix.SYS_CHROOT, i.root)
		})
	}
	if i.root != "" || i.wd != "" {
		wd := i.wd
		if wd == "" {
			wd = "/"
		}
		p.raw("chdir("+wd+")", "of the new root, if there is one", "chdir(2)", func(b *entry.Builder) {
			b.Do("chdir to "+wd, unix.SYS_CHDIR, wd)
		})
	}
}
