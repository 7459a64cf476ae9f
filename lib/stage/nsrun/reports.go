package nsrun

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/entry"
)

// reports is about what a supervisor is told, and waits for.
type reports struct {
	pidFile                  string
	infoFD, statusFD, waitFD int
}

func (r *reports) options(fs *pflag.FlagSet) {
	fs.StringVar(&r.pidFile, "pidfile", "", "write the child's pid to `FILE`, and keep it locked (flock(1)) as long as the child lives; implies --fork")
	fs.IntVar(&r.infoFD, infoFD, -1, "write the child's pid and namespaces to descriptor `N`, as JSON, and close it; implies --fork")
	fs.IntVar(&r.statusFD, statusFD, -1, "write the same to descriptor `N`, and its exit code at the end; implies --fork")
	fs.IntVar(&r.waitFD, blockFD, -1, "execute NEXT only when there is something to read from descriptor `N`, or its end")
}

const (
	infoFD   = "info-fd"
	statusFD = "json-status-fd"
	blockFD  = "block-fd"
)

func (r *reports) check(p *plan) error {
	for name, fd := range map[string]int{infoFD: r.infoFD, statusFD: r.statusFD, blockFD: r.waitFD} {
		if !p.given(name) {
			continue
		}
		if fd < 0 || entry.Closed(min(fd, 2)) && fd <= 2 {
			return fmt.Errorf("--%s: %d is no descriptor", name, fd)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			return fmt.Errorf("--%s %d: %w", name, fd, err)
		}
		wrong, only := unix.O_RDONLY, "reading"
		if name == blockFD {
			wrong, only = unix.O_WRONLY, "writing"
		}
		if mode, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil && mode&unix.O_ACCMODE == wrong {
			return fmt.Errorf("--%s %d: the descriptor is open for %s only", name, fd, only)
		}
	}
	switch {
	case p.given("pidfile") && r.pidFile == "":
		return errors.New("--pidfile: the file's name is empty")
	case p.supervise.detach && p.given(statusFD):
		return errors.New("--detach leaves nobody to write an exit code: it excludes --json-status-fd")
	case p.supervise.detach && r.pidFile != "" && !p.supervise.inits(p):
		return errors.New("--detach leaves nobody to keep the lock on --pidfile, unless there is an init: add --pid")
	}
	return nil
}

// any tells whether there is something to report.
func (r *reports) any() bool { return r.pidFile != "" || r.infoFD >= 0 || r.statusFD >= 0 }

// open opens, or takes over, what is reported to.
func (r *reports) open(p *plan) {
	to := &p.fork.Reports
	if r.infoFD >= 0 || r.statusFD >= 0 {
		p.raw("fcntl(F_DUPFD_CLOEXEC)", "a supervisor's descriptors are not for the payload", "fcntl(2)", func(b *entry.Builder) {
			to.Info, to.Status = r.takeOver(b, r.infoFD), r.takeOver(b, r.statusFD)
			r.shut(b, r.infoFD)
			r.shut(b, r.statusFD)
		})
	}
	if r.pidFile != "" {
		p.step(chain.Step{
			Call: "open and flock " + r.pidFile, Why: "as long as it is locked, the child lives, and nobody starts another one", Man: "flock(2)",
			Write: func(b *entry.Builder) error {
				path, err := filepath.Abs(r.pidFile) // the waiter works from "/"
				if err != nil {
					return err
				}
				to.PidFile = r.lock(b)
				if !p.fork.Detach {
					p.fork.RemoveFile = path
				}
				return nil
			},
		})
	}
}

// takeOver makes a descriptor of the caller's one that no other program gets.
func (r *reports) takeOver(b *entry.Builder, fd int) entry.Reg {
	if fd < 0 {
		return 0
	}
	return b.Get(fmt.Sprintf("use descriptor %d", fd), unix.SYS_FCNTL, fd, unix.F_DUPFD_CLOEXEC, 3)
}

// shut closes a descriptor of the caller's that has been taken over; perhaps for two
// purposes. A standard one stays the payload's too.
func (r *reports) shut(b *entry.Builder, fd int) {
	if fd > 2 {
		b.Try("close a supervisor's descriptor", unix.EBADF, unix.SYS_CLOSE, fd)
	}
}

// lock opens and locks the pid file, which must still be the one of that name when it is
// locked: whoever held it before has removed it.
func (r *reports) lock(b *entry.Builder) entry.Reg {
	what := "lock " + r.pidFile
	fd := b.Get("open "+r.pidFile, unix.SYS_OPENAT, unix.AT_FDCWD, r.pidFile, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o644)
	b.Do(what, unix.SYS_FLOCK, fd, unix.LOCK_EX|unix.LOCK_NB)
	const inode = 32 // offset of stx_ino
	opened, named := &entry.Buffer{Size: 256}, &entry.Buffer{Size: 256}
	b.Do(what, unix.SYS_STATX, fd, "", unix.AT_EMPTY_PATH, unix.STATX_INO, opened)
	b.Do(what, unix.SYS_STATX, unix.AT_FDCWD, r.pidFile, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO, named)
	b.Check(what, entry.Field{Buffer: opened, Offset: inode}, entry.Field{Buffer: named, Offset: inode}, ^uintptr(0), unix.EAGAIN)
	return fd
}

// close closes what only the waiter writes to, in the child.
func (r *reports) close(b *entry.Builder, to entry.Reports) {
	for _, fd := range []entry.Reg{to.Info, to.Status} {
		if fd != 0 {
			b.Close(fd)
		}
	}
}

// block has the payload wait for the supervisor.
func (r *reports) block(p *plan) {
	if r.waitFD < 0 {
		return
	}
	what := fmt.Sprintf("read from descriptor %d", r.waitFD)
	p.raw("read(--"+blockFD+")", "the supervisor says when NEXT may begin", "read(2)", func(b *entry.Builder) {
		b.Do(what, unix.SYS_READ, r.waitFD, &entry.Buffer{Size: 8}, 1)
		r.shut(b, r.waitFD)
	})
}
