package capdrop

import (
	"fmt"

	"github.com/spf13/pflag"

	"staves/lib/caps"
	"staves/lib/chain"
)

// user is the option that says who the payload is.
type user struct {
	text string
	ids  *caps.IDs // what it is in numbers, once that is known
}

func (u *user) options(fs *pflag.FlagSet) {
	fs.StringVar(&u.text, "user", "", "become user `U[:G]`, names or numbers")
}

// check reads --user before any step is taken. Names are looked up now if they mean the
// same now as later.
func (u *user) check(c *chain.Chain, link *chain.Link) error {
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

// lookUp finds what --user is in numbers, in the root that the process is in now.
func (u *user) lookUp(link *chain.Link) error {
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
