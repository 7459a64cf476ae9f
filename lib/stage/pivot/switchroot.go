package pivot

import (
	"os"

	"github.com/spf13/pflag"

	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/mount"
)

const switchRootHelp = `usage: switch_root NEWROOT INIT [ARG]...
Make NEWROOT, a mount, the root in place of an initramfs, with /dev, /proc, /sys and /run
moved along, remove what the initramfs holds, and become INIT.

Nothing is done unless NEWROOT is a mount and INIT is in it, and nothing is removed that
is not on the old root itself, and in memory (tmpfs, ramfs).

  -h, --help     print this and exit
  -V, --version  print the version and exit
`

// switchRoot is switch_root(8) of util-linux.
type switchRoot struct{ dir, init string }

func readSwitchRoot(words []string) (*chain.Act, error) {
	given, rest, err := chain.Getopt(words, askedFor, false)
	if err != nil {
		return nil, usageError("switch_root", err)
	}
	if act := answer("switch_root", switchRootHelp, given); act != nil {
		return act, nil
	}
	if len(rest) < 2 {
		return nil, usage("switch_root", "not enough arguments")
	}
	if rest[0] == "" || rest[1] == "" {
		return nil, usage("switch_root", "bad usage")
	}
	return &chain.Act{Stage: &switchRoot{rest[0], rest[1]}, Payload: rest[1:]}, nil
}

func (s *switchRoot) Options(*pflag.FlagSet) {}

func (s *switchRoot) Check(c *chain.Chain, link *chain.Link) error {
	c.Provide(chain.Pivoted, link)
	return mount.CheckSwitch(s.dir, s.init)
}

func (s *switchRoot) Steps(_ *chain.Chain, link *chain.Link) []chain.Step {
	return []chain.Step{{
		Call: "mount(MS_MOVE) to /, chroot", Why: "an initramfs cannot be put away, but be covered and emptied", Man: "switch_root(8)",
		Do: func(*chain.Run) error {
			left, err := mount.SwitchRoot(s.dir)
			if err != nil {
				return err
			}
			for _, e := range left {
				diag.Print(os.Stderr, link.As, e)
			}
			return nil
		},
	}}
}
