package capdrop

import (
	"fmt"
	"io"
	"strings"

	"staves/lib/caps"
	"staves/lib/chain"
	"staves/lib/landlock"
)

// list is the act of an option that prints names, a line each, if one is given; it stands
// alone.
func (s *setpriv) list(program []string) (*chain.Act, error) {
	for _, option := range [...]string{"list-caps", "list-landlock-access", "list-landlock-rights"} {
		access, given := s.opts[option]
		if !given {
			continue
		}
		if len(s.opts) > 1 || len(s.lock.texts) > 0 || len(program) > 0 {
			return nil, fmt.Errorf("--%s stands alone", option)
		}
		names := capNames
		switch option {
		case "list-landlock-access":
			names = accessNames
		case "list-landlock-rights":
			kind, err := landlock.ParseKind(access)
			if err != nil {
				return nil, fmt.Errorf("--%s: %w", option, err)
			}
			names = func() ([]string, error) { return rightNames(kind) }
		}
		return report(func(out io.Writer) error {
			all, err := names()
			for _, name := range all {
				if _, err := fmt.Fprintln(out, name); err != nil {
					return err
				}
			}
			return err
		}), nil
	}
	return nil, nil
}

func capNames() ([]string, error) {
	var names []string
	for n := range caps.Last() + 1 {
		names = append(names, bareName(n))
	}
	return names, nil
}

// bareName is a capability's name for setpriv: without cap_, if it has one.
func bareName(n int) string {
	if name := caps.Name(n); caps.TextName(n) == name {
		return strings.TrimPrefix(name, "cap_")
	}
	return caps.Name(n)
}

// accessNames are the kinds of access that this kernel's Landlock knows.
func accessNames() ([]string, error) {
	abi, err := landlock.ABI()
	if err != nil {
		return nil, noLandlock(err)
	}
	var names []string
	for _, k := range landlock.Kinds(abi) {
		names = append(names, k.String())
	}
	return names, nil
}

// rightNames are the rights of a kind that this kernel's Landlock knows: none, where it
// does not know the kind.
func rightNames(kind landlock.Kind) ([]string, error) {
	abi, err := landlock.ABI()
	if err != nil {
		return nil, noLandlock(err)
	}
	return landlock.Known(kind, abi), nil
}
