package cgset

import (
	"errors"
	"fmt"

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
		// Every hierarchy is tried, and each failure said: what is left is seen.
		var failed []error
		status := 0
		for _, sp := range specs {
			if err := deleteSpec(sp, trees, *deep); err != nil {
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
	found, err := sp.find(trees)
	if err != nil {
		return err
	}
	var first error
	for _, f := range found {
		if err := cgroup.RemoveEmpty(f.Dir, deep); err != nil && first == nil {
			first = err
		}
	}
	return first
}
