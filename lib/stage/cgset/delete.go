package cgset

import (
	"errors"
	"fmt"
	"slices"

	"staves/lib/cgroup"
	"staves/lib/chain"
	"staves/lib/diag"
)

const deleteUsage = `Usage: cgdelete [-h] [-r] [[-g] <controllers>:<path>] ...
Remove control group(s)
  -g <controllers>:<path>	Control group to be removed (-g is optional)
  -h, --help			Display this help
  -r, --recursive		Recursively remove all subgroups
`

// readDelete reads the words of cgdelete(1).
func readDelete(words []string) (*chain.Act, error) {
	fs := flagSet("cgdelete")
	groups := fs.StringArrayP("group", "g", nil, "")
	deep := fs.BoolP("recursive", "r", false, "")
	if act, err := parse(fs, words, deleteUsage); act != nil || err != nil {
		return act, err
	}
	all := append(*groups, fs.Args()...)
	if len(all) == 0 {
		return nil, wrong("cgdelete", "")
	}
	return &chain.Act{Do: func() (int, error) {
		trees, err := cgroup.Trees()
		if err != nil {
			return statusNoController, err
		}
		specs, err := parseSpecs(all, trees)
		if err != nil {
			return 0, err
		}
		// Every group is tried, and each failure said: what is left is seen. But one that
		// cannot be removed in one of its hierarchies stays in the others too.
		refused := map[string]error{}
		for _, sp := range specs {
			found, _ := sp.there(trees)
			for _, f := range found {
				if err := cgroup.CheckEmpty(f.Dir, *deep); err != nil && sp.path != "" && refused[sp.path] == nil {
					refused[sp.path] = err
				}
			}
		}
		var failed []error
		status := 0
		for _, sp := range specs {
			err := refused[sp.path]
			if err == nil {
				err = deleteSpec(sp, trees, *deep)
			}
			if err != nil {
				failed = append(failed, fmt.Errorf("cannot remove group '%s': %w", sp.path, err))
				status = max(status, statusOf(err, statusOther))
			}
		}
		if failed == nil {
			return 0, nil
		}
		err = errors.Join(failed...)
		var full *cgroup.PopulatedError
		if errors.As(err, &full) && full.Groups == nil {
			err = diag.WithHint(err, "nothing was set free of its limits: cgset --delete NAME --kill, or --migrate to move it to the group above")
		} else if full != nil {
			err = diag.WithHint(err, "cgdelete -r removes the groups in it as well")
		}
		return status, err
	}}, nil
}

func deleteSpec(sp spec, trees []*cgroup.Tree, deep bool) error {
	if sp.path == "" {
		return errors.New("the topmost group cannot be removed")
	}
	found, first := sp.there(trees)
	for _, f := range found {
		if err := cgroup.RemoveEmpty(f.Dir, deep); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// there returns the spec's groups that there are, and why others are not.
func (sp spec) there(trees []*cgroup.Tree) (found []cgroup.Found, first error) {
	controllers := sp.controllers
	if len(controllers) == 0 {
		controllers = []string{""}
	}
	for _, c := range controllers {
		one := spec{path: sp.path}
		if c != "" {
			one.controllers = []string{c}
		}
		f, err := one.find(trees)
		if err != nil && first == nil {
			first = err
		}
		for _, f := range f {
			if !slices.Contains(found, f) { // several controllers may share a hierarchy
				found = append(found, f)
			}
		}
	}
	return found, first
}
