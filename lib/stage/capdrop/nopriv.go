package capdrop

import (
	"errors"

	"github.com/spf13/pflag"

	"staves/lib/caps"
	"staves/lib/chain"
	"staves/lib/entry"
)

// noPriv are the options about no_new_privs.
type noPriv struct{ set, allow bool }

func (n *noPriv) options(fs *pflag.FlagSet) {
	fs.BoolVar(&n.set, "no-new-privs", true, "let no later program gain privileges")
	fs.BoolVar(&n.allow, "allow-new-privs", false, "let setuid programs and file capabilities work")
}

func (n *noPriv) check(_ *chain.Chain, link *chain.Link) error {
	if link.Flags.Changed("no-new-privs") && n.set && n.allow {
		return errors.New("--no-new-privs and --allow-new-privs exclude each other")
	}
	return nil
}

// on tells whether no_new_privs is to be set.
func (n *noPriv) on() bool { return n.set && !n.allow }

func (n *noPriv) step(p *plan) chain.Step {
	return p.step("prctl(PR_SET_NO_NEW_PRIVS, 1)", "setuid bits and file capabilities do nothing from now on", "prctl(2)",
		func(b *entry.Builder) error {
			caps.NoNewPrivs(b)
			return nil
		})
}
