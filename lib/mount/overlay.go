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
	b.If(o.what(), unix.EINVAL, func(r entry.Reg) {
		b.Forget(r)
		for _, l := range o.Lower[1:] {
			configure(b, o.what(), fs, Option{"lowerdir+", l})
		}
	}, func() {
		escape := strings.NewReplacer(`\`, `\\`, ":", `\:`)
		var all []string
		for _, l := range o.Lower {
			all = append(all, escape.Replace(l))
		}
		configure(b, o.what(), fs, Option{"lowerdir", strings.Join(all, ":")})
	}, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_SET_STRING, "lowerdir+", o.Lower[0], 0)
	if o.Upper != "" {
		configure(b, o.what(), fs, Option{"upperdir", o.Upper})
		configure(b, o.what(), fs, Option{"workdir", o.Work})
	}
	if o.UserXattr {
		configure(b, o.what(), fs, Option{"userxattr", ""})
	}
	return fs
}
