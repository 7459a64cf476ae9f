package mount

import (
	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// A Text is a file of this mount namespace that shows another text.
type Text struct {
	Target string // an absolute path; a symbolic link at its end is followed
	Text   string
}

// Place binds files with other texts over those that are there. They lie on a tmpfs that
// lasts as long as they do. The process must have a mount namespace of its own.
func Place(b *entry.Builder, texts []Text) {
	withScratch(b, "1M", func(scratch) entry.Reg {
		for i, t := range texts {
			name := string(rune('0' + i))
			fd := b.Get("write "+t.Target, unix.SYS_OPENAT, unix.AT_FDCWD, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644)
			b.Want("write "+t.Target, uintptr(len(t.Text)), unix.SYS_WRITE, fd, t.Text, len(t.Text))
			b.Close(fd)
			b.Do("bind "+t.Target, unix.SYS_MOUNT, name, t.Target, 0, unix.MS_BIND, 0)
		}
		return 0
	})
}
