package chain

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/diag"
	"staves/lib/probe"
)

// PathError says what failed on which path, with the errno kept.
func PathError(what, path string, err error) error {
	return fmt.Errorf("%s %s: %w", what, path, err)
}

// NeedAdmin finds, before anything is changed, that link may not mount: neither is the
// caller root, nor does the chain make a user namespace before.
func (c *Chain) NeedAdmin(link *Link) error {
	if c.Made(UserNS, link) || probe.Capable(unix.CAP_SYS_ADMIN) {
		return nil
	}
	err := fmt.Errorf("change mounts: %w", unix.EPERM)
	switch {
	case c.explain:
		return c.Denied(link, err)
	case unix.Geteuid() == 0:
		return err
	case c.Payload == nil:
		return diag.WithHint(err, "to mount it where others see it needs root; for one program a user namespace does:",
			"nsrun -U -r -m -- "+link.Tool.Name+" ... "+link.Operand+" -- PROGRAM")
	}
	return diag.WithHint(err, "this needs root; as an ordinary user put namespaces before it: nsrun -U -r -m -p -- "+link.Tool.Name+" ...")
}

// Denied returns err, which is for want of a privilege, unless the chain is only described:
// who reads about it needs none, and is told.
func (c *Chain) Denied(link *Link, err error) error {
	if !c.explain {
		return err
	}
	c.wants = append(c.wants, link.As+": "+err.Error())
	return nil
}

// apart is a hint for where word, the first after link's options, makes no sense: it may
// be the value of an option whose value is optional, and so wants a "=".
func (l *Link) apart(word string) (hint string) {
	l.Flags.Visit(func(f *pflag.Flag) {
		if name, _ := pflag.UnquoteUsage(f); f.NoOptDefVal != "" && name != "" && f.Value.String() == f.NoOptDefVal {
			hint = fmt.Sprintf("is it the value of --%s? Then write: --%[1]s=%s", f.Name, word)
		}
	})
	return hint
}

// CheckRoot verifies that what [State].Root names, if it comes from the environment, can be
// what an overlay has left: a mount, and not the one that is the root already.
func (c *Chain) CheckRoot(link *Link) error {
	if !c.Has(Root, link) || c.Made(Root, link) {
		return nil
	}
	var top, root unix.Statx_t
	const mask = unix.STATX_TYPE | unix.STATX_MNT_ID
	err := unix.Statx(unix.AT_FDCWD, "/", 0, mask, &top)
	if err == nil {
		err = unix.Statx(unix.AT_FDCWD, c.State.Root, 0, mask, &root)
	}
	switch {
	case err != nil:
	case root.Mode&unix.S_IFMT != unix.S_IFDIR:
		err = unix.ENOTDIR
	case root.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 || root.Mnt_id == top.Mnt_id:
		err = errors.New("no root that overlay left here")
	}
	if err == nil {
		return nil
	}
	return diag.WithHint(PathError("use "+rootVar, c.State.Root, err), "the variable is left over from another chain: unset "+rootVar)
}

// OperandError is the error for an operand that cannot be used: a bare word may have
// been meant as the program.
func OperandError(link *Link, err error) error {
	err = PathError("use", link.Operand, err)
	if hint := link.apart(link.Operand); hint != "" {
		return diag.WithHint(err, hint)
	}
	if errors.Is(err, unix.ENOENT) && !strings.Contains(link.Operand, "/") {
		return diag.WithHint(err, fmt.Sprintf("the first word is taken for %s's %s; to run a program of that name write: %s -- %s",
			link.Tool.Name, link.Tool.Operand, link.Tool.Name, link.Operand))
	}
	return err
}
