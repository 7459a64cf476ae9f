// Package capdrop is the stage that gives up privileges: capabilities, user and
// groups, and the means to get them back. It is the last of a full container, since
// most other stages need what it takes away.
package capdrop

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"staves/lib/caps"
	"staves/lib/chain"
)

// Tool is what the registry knows of capdrop.
var Tool = &chain.Tool{
	Name:    "capdrop",
	Summary: "Run NEXT with fewer privileges.",
	New:     func() chain.Stage { return &stage{} },
	Notes: `
A LIST has commas between capabilities, in any spelling (cap_net_raw, NET_RAW, 13),
or is 'all' or 'none'. What is left is the preset, without what --drop names, with
what --keep names; no set is ever larger than that, the bounding set included. A
preset is cut down to what the process holds; a capability that --keep names and
the process does not hold is an error.

The preset is docker; with --keep and no --preset it is none. no_new_privs is set,
whatever the other options, unless --allow-new-privs.

Root (user 0) has what is left. Another user has what --keep names, as ambient
capabilities, which programs need not know of; the preset only bounds what a setuid
program could get, as in Docker.

--user looks names up in the root that NEXT runs in. A named user gets the group of
its line in /etc/passwd and the groups that list it in /etc/group; a number gets the
group of its line, or else the same number, and no further groups; with a group
written (U:G) there is that group alone. HOME and the like stay as they are. Where a
user namespace denies setgroups(2), groups from outside it stay: nothing can drop
them.
  capdrop -- sh                                root with Docker's capabilities
  capdrop --keep net_raw --user 1000 -- ping ::1
  capdrop --preset all --drop sys_admin,sys_module -- sh`,
}

type stage struct {
	keep, drop    list
	preset        string
	user          string
	noNewPrivs    bool
	allowNewPrivs bool
	ids           *caps.IDs // what --user is in numbers, once that is known
}

func (s *stage) Options(fs *pflag.FlagSet) {
	fs.Var(&s.keep, "keep", "keep the capabilities in `LIST`")
	fs.Var(&s.drop, "drop", "drop those in `LIST`")
	fs.StringVar(&s.preset, "preset", "docker", "begin with `NAME`: "+caps.Presets)
	fs.StringVar(&s.user, "user", "", "become user `U[:G]`, names or numbers")
	fs.BoolVar(&s.noNewPrivs, "no-new-privs", true, "let no later program gain privileges")
	fs.BoolVar(&s.allowNewPrivs, "allow-new-privs", false, "let setuid programs and file capabilities work")
}

// list is a list of capabilities as an option's value; given again, it grows.
type list struct {
	caps.List
	text string
}

func (l *list) String() string { return l.text }
func (l *list) Type() string   { return "LIST" }

func (l *list) Set(text string) error {
	more, err := caps.ParseList(text)
	if err != nil {
		return err
	}
	l.Named |= more.Named
	l.All = l.All || more.All
	l.text = text
	return nil
}

// dropped tells a later capdrop that what it will hold is less than what is held now.
const dropped chain.Fact = "privileges dropped"

func (s *stage) Check(c *chain.Chain, link *chain.Link) error {
	changed := link.Flags.Changed
	both := s.keep.Named & s.drop.Named
	switch _, ok := caps.Preset(s.preset); {
	case !ok:
		return fmt.Errorf("--preset: %q is none of %s", s.preset, caps.Presets)
	case changed("no-new-privs") && s.noNewPrivs && s.allowNewPrivs:
		return errors.New("--no-new-privs and --allow-new-privs exclude each other")
	case both != 0:
		return fmt.Errorf("%s: both in --keep and in --drop", both)
	case s.keep.All && s.drop.All:
		return errors.New("all: both in --keep and in --drop")
	}
	now, err := caps.Read()
	if err != nil {
		return err
	}
	if unknown := (s.keep.Named | s.drop.Named) &^ now.Supported(); unknown != 0 {
		return fmt.Errorf("%s: this kernel's last capability is %s", unknown, caps.Name(now.Last))
	}
	ids, err := s.expectIDs(c, link)
	if err != nil {
		return err
	}
	if ids != nil {
		c.SetIDs(link, int(ids.UID), int(ids.GID))
	}
	if !c.Made(chain.UserNS, link) && !c.Has(dropped, link) {
		// What is held now is what the first step will see: errors come up here.
		if _, err := s.decide(link, &now, ids); err != nil {
			return err
		}
	}
	c.Provide(dropped, link)
	return nil
}

// expectIDs reads --user before any step is taken. Names are looked up now if they
// mean the same now as later; in a root still to come, only numbers are certain.
func (s *stage) expectIDs(c *chain.Chain, link *chain.Link) (*caps.IDs, error) {
	if !c.Has(chain.Pivoted, link) {
		err := s.lookUp(link)
		return s.ids, err
	}
	if !link.Flags.Changed("user") {
		return nil, nil
	}
	user, err := caps.ParseUser(s.user)
	if err != nil {
		return nil, s.userError(err)
	}
	uid, ok := user.Number()
	if !ok {
		uid = caps.Overflow // somebody
	}
	return &caps.IDs{UID: uid, GID: uid}, nil
}

// lookUp finds what --user is in numbers, in the root that the process is in now.
func (s *stage) lookUp(link *chain.Link) error {
	if s.ids != nil || !link.Flags.Changed("user") {
		return nil
	}
	user, err := caps.ParseUser(s.user)
	if err != nil {
		return s.userError(err)
	}
	ids, err := caps.Files.IDs(user)
	if err != nil {
		return fmt.Errorf("--user: %w", err)
	}
	s.ids = &ids
	return nil
}

func (s *stage) userError(err error) error { return fmt.Errorf("--user %q: %w", s.user, err) }
