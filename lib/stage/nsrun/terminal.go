package nsrun

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/entry"
)

// terminal is about the payload's session and its terminal.
type terminal struct {
	newSession bool
	pty        bool
	slave      entry.Reg
}

func (t *terminal) options(fs *pflag.FlagSet) {
	fs.BoolVar(&t.newSession, "new-session", false, "run NEXT in a session of its own, which has no terminal to type into (TIOCSTI); implies --fork")
	fs.BoolVar(&t.pty, "pty", false, "give NEXT a terminal of its own, whose input and output the waiter copies; implies --new-session")
}

func (t *terminal) check(p *plan) error {
	if t.pty && p.supervise.detach {
		return errors.New("--detach leaves nobody to copy what --pty wants copied")
	}
	return nil
}

// session tells whether the payload gets a session of its own.
func (t *terminal) session(p *plan) bool {
	return t.newSession || t.pty || p.supervise.detach
}

// open makes the pseudo-terminal.
func (t *terminal) open(p *plan) {
	if !t.pty {
		return
	}
	p.raw("open(/dev/ptmx)", "the payload's own terminal: the waiter copies between it and this one", "pty(7)", func(b *entry.Builder) {
		const what = "open /dev/ptmx"
		p.fork.Terminal = b.Get(what, unix.SYS_OPENAT, unix.AT_FDCWD, "/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		b.Do(what, unix.SYS_IOCTL, p.fork.Terminal, unix.TIOCSPTLCK, &entry.Buffer{Size: 4}) // unlocked: 0
		t.slave = b.Get(what, unix.SYS_IOCTL, p.fork.Terminal, unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	})
}

// take begins the session, and makes the new terminal its terminal.
func (t *terminal) take(p *plan) {
	if !t.session(p) {
		if p.fork.Init && isShell(p.chain.Payload) {
			t.lead(p)
		}
		return
	}
	p.raw("setsid", "a session of its own has no terminal, or one of its own", "setsid(2)", func(b *entry.Builder) {
		b.Do("setsid", unix.SYS_SETSID)
	})
	if !t.pty {
		return
	}
	p.raw("ioctl(TIOCSCTTY)", "its keys reach those in this session", "ioctl_tty(2)", func(b *entry.Builder) {
		const what = "take the new terminal"
		b.Do(what, unix.SYS_IOCTL, t.slave, unix.TIOCSCTTY, 0)
		for fd := range 3 {
			b.Do(what, unix.SYS_DUP3, t.slave, fd, 0)
		}
		b.Close(t.slave)
		b.Close(p.fork.Terminal)
	})
}

// isShell tells whether a payload is an interactive shell of those that want help: see
// [entry.Shells].
func isShell(payload []string) bool {
	if len(payload) == 0 {
		return false
	}
	for _, option := range payload[1:] {
		if !strings.HasPrefix(option, "-") || strings.Contains(option, "c") {
			return false
		}
	}
	name := strings.TrimPrefix(filepath.Base(payload[0]), "-") // a login shell has it
	return name != "" && strings.Contains("\x00"+entry.Shells, "\x00"+name+"\x00")
}

// lead makes the payload's process a group of its own, in the terminal's foreground, as an
// interactive shell does by itself. But first that asks which group is there, and that of the
// caller has no number in the pid namespace.
func (t *terminal) lead(p *plan) {
	const call = "setpgid, ioctl(TIOCSPGRP)"
	p.step(chain.Step{
		Call: call, Why: "a shell on a terminal wants to know the group in the foreground, and the caller's has no number here", Man: "tcsetpgrp(3)",
		Write: func(b *entry.Builder) error {
			now, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
			if _, terminal := unix.IoctlGetTermios(2, unix.TCGETS); err != nil || terminal != nil || now != unix.Getpgrp() {
				return nil
			}
			const block, set = 0, 2 // SIG_BLOCK, SIG_SETMASK
			ttou, mask, group := uint64(1)<<(unix.SIGTTOU-1), &entry.Buffer{Size: 8}, &entry.Buffer{Size: 8}
			b.Do(call, unix.SYS_RT_SIGPROCMASK, block, entry.Struct(&ttou), mask, 8)
			b.Do(call, unix.SYS_SETPGID, 0, 0)
			pid := b.Get(call, unix.SYS_GETPID)
			b.Store(entry.Field{Buffer: group}, pid)
			b.Forget(pid)
			b.Try(call, entry.AnyError, unix.SYS_IOCTL, 0, unix.TIOCSPGRP, group)
			b.Do(call, unix.SYS_RT_SIGPROCMASK, set, mask, 0, 8)
			return nil
		},
	})
}
