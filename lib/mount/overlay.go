package mount

import (
	"fmt"
	"slices"
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
	// Options are further parameters, as in the kernel's document.
	Options []Option
	// Name is what the layers are called in messages, "" for their paths.
	Name string
	// Failed, if there is one, writes what is to be done where the kernel refuses the overlay.
	Failed func(b *entry.Builder)
	// Attr are attributes of the mount.
	Attr int
	// Devices lets devices be opened on it; as a rule they belong on a mount that is made
	// for them.
	Devices bool
}

// MaxLayers is how many lower directories overlayfs takes.
const MaxLayers = 500

// onePage is what mount(2) takes of options, the rest of which it drops without a word.
const onePage = 4095

// oneByOne tells whether a lower directory is a parameter of its own: since Linux 6.8, and
// before all of them are one string. It cannot be tried out: before 6.5 the kernel takes
// any parameter, and says EINVAL at the end.
var oneByOne = func() bool { return probe.KernelAtLeast(6, 8) }

// Check finds layers that this kernel cannot be told of.
func (o Overlay) Check() error {
	if n := len(o.Lower); n > MaxLayers {
		return fmt.Errorf("%d lower layers: overlayfs takes %d at most", n, MaxLayers)
	}
	if n := len(o.page()); !oneByOne() && n > onePage {
		return fmt.Errorf("the paths of the layers take %d bytes: before Linux 6.8 the kernel takes %d for all of them", n, onePage)
	}
	return nil
}

// Mount makes the overlay, detached.
func (o Overlay) Mount(b *entry.Builder) entry.Reg {
	if !oneByOne() && len(o.lowerdir()) > maxValue {
		return o.mountOld(b)
	}
	fs := o.configure(b)
	o.fsconfig(b, o.what(), fs, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
	return finish(b, o.what(), fs, o.attr())
}

func (o Overlay) attr() int {
	if o.Devices {
		return o.Attr
	}
	return o.Attr | NoDev
}

// overlayOf begins what an overlay is called in messages.
const overlayOf = "mount overlay of "

func (o Overlay) what() string {
	const some = 4
	if o.Name != "" {
		return overlayOf + o.Name
	}
	if n := len(o.Lower); n > some+1 {
		return fmt.Sprintf(overlayOf+"%s and %d more", strings.Join(o.Lower[:some], ":"), n-some)
	}
	return overlayOf + strings.Join(o.Lower, ":")
}

// lowerdir is all lower directories as one string.
func (o Overlay) lowerdir() string {
	escape := strings.NewReplacer(`\`, `\\`, ":", `\:`)
	var all []string
	for _, l := range o.Lower {
		all = append(all, escape.Replace(l))
	}
	return strings.Join(all, ":")
}

// page is all parameters as mount(2) takes them.
func (o Overlay) page() string {
	comma := strings.NewReplacer(",", `\,`)
	all := []string{"lowerdir=" + comma.Replace(o.lowerdir())}
	if o.Upper != "" {
		escape := strings.NewReplacer(`\`, `\\`, ",", `\,`)
		all = append(all, "upperdir="+escape.Replace(o.Upper), "workdir="+escape.Replace(o.Work))
	}
	for _, opt := range o.parameters() {
		all = append(all, strings.TrimSuffix(opt.Key+"="+comma.Replace(opt.Value), "="))
	}
	return strings.Join(all, ",")
}

// mountOld makes the overlay by mount(2), which makes no detached mounts: it is mounted
// over "/", copied, and unmounted.
func (o Overlay) mountOld(b *entry.Builder) entry.Reg {
	flags := 0
	for attr, flag := range map[int]int{
		ReadOnly: unix.MS_RDONLY, NoSuid: unix.MS_NOSUID, NoDev: unix.MS_NODEV, NoExec: unix.MS_NOEXEC, NoSymFollow: unix.MS_NOSYMFOLLOW,
		NoATime: unix.MS_NOATIME, StrictATime: unix.MS_STRICTATIME, NoDirATime: unix.MS_NODIRATIME,
	} {
		if o.attr()&attr != 0 {
			flags |= flag
		}
	}
	b.Do(o.what(), unix.SYS_MOUNT, "overlay", "/", "overlay", flags, o.page())
	fd := Clone(b, o.what(), unix.AT_FDCWD, OverRoot, false)
	b.Do(o.what(), unix.SYS_UMOUNT2, OverRoot, unix.MNT_DETACH)
	return fd
}

// parameters are those beside the layers.
func (o Overlay) parameters() []Option {
	all := o.Options
	if o.UserXattr {
		all = append(slices.Clip(all), Option{"userxattr", ""})
	}
	return all
}

// configure makes the context, with all parameters.
func (o Overlay) configure(b *entry.Builder) entry.Reg {
	fs := open(b, "overlay")
	if oneByOne() {
		for _, l := range o.Lower {
			o.layer(b, fs, "lowerdir+", l)
		}
	} else {
		configure(b, o.what(), fs, Option{"lowerdir", o.lowerdir()})
	}
	if o.Upper != "" {
		// Unlike those of lower layers, these two have their backslashes undone.
		o.layer(b, fs, "upperdir", escaped(o.Upper))
		o.layer(b, fs, "workdir", escaped(o.Work))
	}
	for _, opt := range o.parameters() {
		what := "configure " + strings.TrimPrefix(o.what(), "mount ") + " with " + strings.TrimSuffix(opt.Key+"="+opt.Value, "=")
		if opt.Value == "" {
			o.fsconfig(b, what, fs, unix.FSCONFIG_SET_FLAG, opt.Key, 0, 0)
		} else {
			o.fsconfig(b, what, fs, unix.FSCONFIG_SET_STRING, opt.Key, opt.Value, 0)
		}
	}
	return fs
}

// fsconfig makes a call that the kernel may refuse.
func (o Overlay) fsconfig(b *entry.Builder, what string, args ...any) {
	if o.Failed == nil {
		b.Do(what, unix.SYS_FSCONFIG, args...)
		return
	}
	b.Undo(what, func() { o.Failed(b) }, unix.SYS_FSCONFIG, args...)
}

// escaped is a directory as upperdir and workdir want it.
func escaped(path string) string { return strings.ReplaceAll(path, `\`, `\\`) }

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
