package capdrop

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"staves/lib/caps"
	"staves/lib/chain"
)

// user are the options that say who the payload is.
type user struct {
	text   string
	groups string
	clear  bool
	keep   bool

	// ids are what --user is in numbers, list what --groups is, once that is known.
	ids  *caps.IDs
	list []uint32
}

func (u *user) options(fs *pflag.FlagSet) {
	fs.StringVar(&u.text, "user", "", "become user `U[:G]`, names or numbers")
	fs.StringVar(&u.groups, "groups", "", "let the supplementary groups be `LIST`, names or numbers")
	fs.BoolVar(&u.clear, "clear-groups", false, "have no supplementary groups")
	fs.BoolVar(&u.keep, "keep-groups", false, "keep them, whoever --user is")
}

// changes tells whether the ids are to change in any way.
func (u *user) changes(link *chain.Link) bool {
	return link.Flags.Changed("user") || link.Flags.Changed("groups") || u.clear
}

// check reads the options before any step is taken. Names are looked up now if they mean
// the same now as later.
func (u *user) check(c *chain.Chain, link *chain.Link) error {
	words := 0
	for _, given := range []bool{link.Flags.Changed("groups"), u.clear, u.keep} {
		if given {
			words++
		}
	}
	if words > 1 {
		return errors.New("--groups, --clear-groups and --keep-groups exclude each other")
	}
	if link.Flags.Changed("groups") && strings.Trim(u.groups, ",") == "" {
		return errors.New("--groups: the list is empty (write --clear-groups)")
	}
	if !c.Has(chain.Pivoted, link) {
		return u.lookUp(link)
	}
	_, err := u.parse(link)
	return err
}

// expected is what --user is, nil for no change; in a root still to come, only numbers
// are certain.
func (u *user) expected(c *chain.Chain, link *chain.Link) *caps.IDs {
	if !link.Flags.Changed("user") || u.ids != nil {
		return u.ids
	}
	user, _ := u.parse(link) // check has seen the error
	uid, ok := user.Number()
	if !ok {
		uid = caps.Overflow // somebody
	}
	return &caps.IDs{UID: uid, GID: uid}
}

func (u *user) parse(link *chain.Link) (caps.User, error) {
	if !link.Flags.Changed("user") {
		return caps.User{}, nil
	}
	user, err := caps.ParseUser(u.text)
	if err != nil {
		return user, fmt.Errorf("--user %q: %w", u.text, err)
	}
	return user, nil
}

// lookUp finds what the options are in numbers, in the root that the process is in now.
func (u *user) lookUp(link *chain.Link) error {
	if link.Flags.Changed("groups") && u.list == nil {
		list, err := lookUpGroups(u.groups)
		if err != nil {
			return fmt.Errorf("--groups: %w", err)
		}
		u.list = list
	}
	if u.ids != nil || !link.Flags.Changed("user") {
		return nil
	}
	user, err := u.parse(link)
	if err != nil {
		return err
	}
	ids, err := caps.Files.IDs(user)
	if err != nil {
		return fmt.Errorf("--user: %w", err)
	}
	u.ids = &ids
	return nil
}

// lookUpGroups reads groups with commas between, names or numbers.
func lookUpGroups(text string) ([]uint32, error) {
	list := []uint32{}
	for word := range strings.SplitSeq(text, ",") {
		if word == "" {
			return nil, errors.New("the name of a group is missing")
		}
		if n, err := strconv.ParseUint(word, 10, 32); err == nil && n < 1<<32-1 {
			list = append(list, uint32(n))
			continue
		}
		id, err := caps.Files.GroupID(word)
		if err != nil {
			return nil, err
		}
		list = append(list, id)
	}
	return list, nil
}

// become changes state s, which is the one now, to what the options say. A change of user
// without a word on groups leaves none of the caller's.
func (u *user) become(s *caps.State, ids *caps.IDs) error {
	now := *s
	target := caps.IDs{GID: now.GID[1], Groups: now.Groups}
	if ids != nil {
		s.UID = [3]uint32{ids.UID, ids.UID, ids.UID}
		s.GID = [3]uint32{ids.GID, ids.GID, ids.GID}
		target = *ids
	}
	switch {
	case u.keep:
		return nil
	case u.clear:
		target.Groups = nil
	case u.list != nil:
		target.Groups = u.list
	}
	var err error
	s.Groups, err = target.Reach(&now)
	return err
}

// mapped finds an id that cannot be had in this user namespace. What the process has
// already, it may have without a number there.
func (u *user) mapped(now, want *caps.State) error {
	wanted := *want
	if caps.SameGroups(want.Groups, now.Groups) {
		wanted.Groups = nil
	}
	return wanted.Mapped()
}
