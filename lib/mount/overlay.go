package mount

import (
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// An Overlay is a copy-on-write view: the layers under Lower, topmost first, read
// only, and Upper above them, which takes every change.
//
// Source: Documentation/filesystems/overlayfs.rst. Upper and Work must lie on one
// mount, in separate subtrees.
type Overlay struct {
	Lower       []string // absolute, or relative to the working directory
	Upper, Work string
	// UserXattr keeps the overlay's own marks in user.* attributes. In a user namespace
	// it is needed: without it, removing or renaming a directory of a lower layer fails
	// with EIO.
	UserXattr bool
}

// Mount makes the overlay, detached, and nodev: devices belong on a mount that is made
// for them.
func (o Overlay) Mount(b *entry.Builder) entry.Reg {
	fs := o.configure(b)
	create(b, o.what(), fs)
	return finish(b, o.what(), fs, NoDev)
}

func (o Overlay) what() string { return "mount overlay of " + strings.Join(o.Lower, ":") }

// configure makes the context, with all parameters.
func (o Overlay) configure(b *entry.Builder) entry.Reg {
	fs := open(b, "overlay")
	// One call a layer, since Linux 6.8; before, all of them in one string, which
	// fsconfig(2) takes up to 255 bytes of.
	o.layer(b, fs, "lowerdir+", o.Lower[0], func() {
		for _, l := range o.Lower[1:] {
			o.layer(b, fs, "lowerdir+", l, nil, nil)
		}
	}, func() {
		escape := strings.NewReplacer(`\`, `\\`, ":", `\:`)
		var all []string
		for _, l := range o.Lower {
			all = append(all, escape.Replace(l))
		}
		configure(b, o.what(), fs, Option{"lowerdir", strings.Join(all, ":")})
	})
	if o.Upper != "" {
		o.layer(b, fs, "upperdir", o.Upper, nil, nil)
		o.layer(b, fs, "workdir", o.Work, nil, nil)
	}
	if o.UserXattr {
		configure(b, o.what(), fs, Option{"userxattr", ""})
	}
	return fs
}

// maxValue is how long a value fsconfig(2) takes as a string.
const maxValue = 255

// layer names one directory of the overlay: by its path, or where that is too long by a
// descriptor, which overlayfs takes since Linux 6.13. With refused, EINVAL is no failure:
// taken or refused is then written for what comes after.
func (o Overlay) layer(b *entry.Builder, fs entry.Reg, key, path string, taken, refused func()) {
	args := []any{fs, unix.FSCONFIG_SET_STRING, key, path, 0}
	var dir entry.Reg
	if len(path) > maxValue {
		dir = b.Get("open "+path, unix.SYS_OPENAT, unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		args = []any{fs, unix.FSCONFIG_SET_FD, key, 0, dir}
	}
	if refused == nil {
		b.Do(o.what(), unix.SYS_FSCONFIG, args...)
	} else {
		b.If(o.what(), unix.EINVAL, func(r entry.Reg) {
			b.Forget(r)
			taken()
		}, refused, unix.SYS_FSCONFIG, args...)
	}
	if dir != 0 {
		b.Close(dir)
	}
}
