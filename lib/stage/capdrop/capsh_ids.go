package capdrop

import (
	"fmt"
	"strconv"
	"strings"

	"staves/lib/caps"
	"staves/lib/diag"
	"staves/lib/entry"
)

// capshNumber reads a number as strtoul(3) does, all of it: 0x is hexadecimal, 0 octal.
func capshNumber(what, text string) (uint32, error) {
	base, digits := 10, text
	if rest, ok := strings.CutPrefix(strings.ToLower(text), "0x"); ok {
		base, digits = 16, rest
	} else if rest, ok := strings.CutPrefix(text, "0"); ok && rest != "" {
		base, digits = 8, rest
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil {
		return 0, fmt.Errorf("--%s: %q is no number", what, text)
	}
	return uint32(n), nil
}

func (c *capsh) uid(text string) error {
	id, err := capshNumber("uid", text)
	if err != nil {
		return err
	}
	return call(func(b *entry.Builder) { caps.SetUID(b, id) })
}

func (c *capsh) gid(text string) error {
	id, err := capshNumber("gid", text)
	if err != nil {
		return err
	}
	err = call(func(b *entry.Builder) { caps.SetGID(b, id) })
	if now, readErr := caps.Of(0); err != nil && readErr == nil && !now.Effective.Has(caps.SETGID) {
		return diag.WithHint(err, "cap_setgid is not effective (any more): put --gid before --uid, or use --user")
	}
	return err
}

func (c *capsh) capUID(text string) error {
	id, err := capshNumber("cap-uid", text)
	if err != nil {
		return err
	}
	return c.become(id)
}

// become changes the user; the permitted set stays as it is, and nothing is effective
// after it.
func (c *capsh) become(uid uint32) error {
	now, err := caps.Read()
	if err != nil {
		return err
	}
	keep := now.Securebits&caps.KeepCapsLocked == 0
	return call(func(b *entry.Builder) {
		caps.SetThread(b, now.Permitted, now.Effective|1<<caps.SETUID, now.Inheritable)
		if keep {
			caps.SetKeepCaps(b, 1)
		}
		caps.SetUID(b, uid)
		if keep {
			caps.SetKeepCaps(b, 0)
			caps.SetThread(b, now.Permitted, 0, now.Inheritable)
		}
	})
}

func (c *capsh) groups(text string) error {
	var groups []uint32
	for word := range strings.SplitSeq(text, ",") {
		var id uint32
		var err error
		switch {
		case word == "":
			continue
		case '0' <= word[0] && word[0] <= '9':
			id, err = capshNumber("groups", word)
		default:
			id, err = caps.Files.GroupID(word)
		}
		if err != nil {
			return err
		}
		groups = append(groups, id)
	}
	return call(func(b *entry.Builder) { caps.SetGroups(b, groups) })
}

// user becomes a user of /etc/passwd, in all but the capabilities.
func (c *capsh) user(name string) error {
	account, err := caps.Files.Account(name)
	if err != nil {
		return err
	}
	groups, err := caps.Files.GroupsOf(name, account.GID)
	if err != nil {
		return err
	}
	now, err := caps.Of(0)
	if err != nil {
		return err
	}
	err = call(func(b *entry.Builder) {
		caps.SetThread(b, now.Permitted, now.Effective|1<<caps.SETGID, now.Inheritable)
		caps.SetGID(b, account.GID)
		caps.SetGroups(b, groups)
		caps.SetThread(b, now.Permitted, 0, now.Inheritable)
	})
	if err == nil {
		err = c.become(account.UID)
	}
	if err == nil && !c.noenv {
		c.setenv("HOME", account.Home)
		c.setenv("USER", name)
	}
	return err
}

// setenv changes a variable for what is run.
func (c *capsh) setenv(name, value string) {
	env := []string{}
	for _, e := range c.env {
		if !strings.HasPrefix(e, name+"=") {
			env = append(env, e)
		}
	}
	c.env = append(env, name+"="+value)
}

func (c *capsh) setNoEnv(string) error { c.noenv = true; return nil }

func (c *capsh) chroot(dir string) error {
	return c.with(caps.SYS_CHROOT, func(b *entry.Builder) { caps.Chroot(b, dir) })
}
