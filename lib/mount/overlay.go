package mount

import (
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
	"staves/lib/probe"
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
	// fsconfig(2) takes up to 255 bytes of. Which it is cannot be tried out: before 6.5
	// the kernel takes any parameter, and says EINVAL at the end.
	if probe.KernelAtLeast(6, 8) {
		for _, l := range o.Lower {
			o.layer(b, fs, "lowerdir+", l)
		}
	} else {
		escape := strings.NewReplacer(`\`, `\\`, ":", `\:`)
		var all []string
		for _, l := range o.Lower {
			all = append(all, escape.Replace(l))
		}
		configure(b, o.what(), fs, Option{"lowerdir", strings.Join(all, ":")})
	}
	if o.Upper != "" {
		o.layer(b, fs, "upperdir", o.Upper)
		o.layer(b, fs, "workdir", o.Work)
	}
	if o.UserXattr {
		configure(b, o.what(), fs, Option{"userxattr", ""})
	}
	return fs
}

// maxValue is how long a value fsconfig(2) takes as a string.
const maxValue = 255

// layer names one directory of the overlay: by its path, or where that is too long by a
// descriptor, which overlayfs takes since Linux 6.13.
func (o Overlay) layer(b *entry.Builder, fs entry.Reg, key, path string) {
	if len(path) <= maxValue {
		configure(b, o.what(), fs, Option{key, path})
		return
	}
	dir := b.Get("open "+path, unix.SYS_OPENAT, unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	b.Do(o.what(), unix.SYS_FSCONFIG, fs, unix.FSCONFIG_SET_FD, key, 0, dir)
	b.Close(dir)
}
