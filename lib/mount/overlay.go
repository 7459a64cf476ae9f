package mount

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
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
	Attr      int
}

// Mount makes the overlay, detached.
func (o Overlay) Mount() (int, error) {
	fd, err := o.mount(true)
	if errors.Is(err, errNoLowerPlus) {
		return o.mount(false)
	}
	return fd, err
}

// errNoLowerPlus: the kernel takes all layers in one string only (before Linux 6.8).
var errNoLowerPlus = errors.New("no lowerdir+")

func (o Overlay) mount(plus bool) (int, error) {
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, &Error{Op: "mount overlay", Err: err}
	}
	defer unix.Close(fd)
	set := func(key, value string) error {
		// fsconfig(2) takes strings of at most 255 bytes.
		if len(value) > 255 {
			return &Error{Op: "mount overlay: " + key, Err: unix.ENAMETOOLONG}
		}
		err := unix.FsconfigSetString(fd, key, value)
		if err != nil {
			return &Error{Op: fmt.Sprintf("mount overlay with %s=%s", key, value), Err: err, Detail: log(fd)}
		}
		return nil
	}
	if err := set("source", "overlay"); err != nil {
		return -1, err
	}
	if plus {
		for i, l := range o.Lower {
			if err := set("lowerdir+", l); err != nil {
				if i == 0 && errors.Is(err, unix.EINVAL) && strings.Contains(err.Error(), "Unknown") {
					return -1, errNoLowerPlus
				}
				return -1, err
			}
		}
	} else {
		escape := strings.NewReplacer(`\`, `\\`, ":", `\:`)
		var all []string
		for _, l := range o.Lower {
			all = append(all, escape.Replace(l))
		}
		if err := set("lowerdir", strings.Join(all, ":")); err != nil {
			return -1, err
		}
	}
	if o.Upper != "" {
		if err := set("upperdir", o.Upper); err != nil {
			return -1, err
		}
		if err := set("workdir", o.Work); err != nil {
			return -1, err
		}
	}
	if o.UserXattr {
		if err := unix.FsconfigSetFlag(fd, "userxattr"); err != nil {
			return -1, &Error{Op: "mount overlay with userxattr", Err: err, Detail: log(fd)}
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return -1, &Error{Op: "mount overlay of " + strings.Join(o.Lower, ":"), Err: err, Detail: log(fd)}
	}
	m, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, o.Attr)
	if err != nil {
		return -1, &Error{Op: "mount overlay", Err: err, Detail: log(fd)}
	}
	return m, nil
}
