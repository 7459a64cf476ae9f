package cgset

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/cgroup"
	"staves/lib/chain"
	"staves/lib/diag"
)

const setUsage = `Usage: %[1]s [-r <name=value>] <cgroup_path> ...
   or: %[1]s --copy-from <source_cgroup_path> <cgroup_path> ...
Set the parameters of given cgroup(s)
  -h, --help				Display this help
  -r, --rule, --variable <name=value>	Define parameter to set: cgroup v1's names and v2's
  -R					Set them in the groups in it as well
  --copy-from <source_cgroup_path>	Control group whose parameters will be copied
`

const xsetUsage = `  -1, --v1; -2, --v2			the parameters are named as in v1, v2: accepted, for it is seen
  -i, --ignore-unmappable		Pass over what cannot be converted
`

// readSet reads the words of cgset(1) and cgxset(1): libcgroup's.
func readSet(name string) func([]string) (*chain.Act, error) {
	return func(words []string) (*chain.Act, error) {
		fs := flagSet(name)
		pairs := fs.StringArrayP("rule", "r", nil, "")
		variables := fs.StringArray("variable", nil, "")
		deep := fs.BoolP("recursive", "R", false, "")
		source := fs.String("copy-from", "", "")
		usage, ignore := fmt.Sprintf(setUsage, name), false
		if name == "cgxset" {
			usage += xsetUsage
			fs.BoolVarP(&ignore, "ignore-unmappable", "i", false, "")
			fs.BoolP("v1", "1", false, "")
			fs.BoolP("v2", "2", false, "")
		}
		if act, err := parse(fs, words, usage); act != nil || err != nil {
			return act, err
		}
		all := append(*pairs, *variables...)
		groups := fs.Args()
		say := func(what string) (*chain.Act, error) {
			return nil, &chain.Error{Status: statusUsage, Err: errors.New(what)}
		}
		switch dash := fs.ArgsLenAtDash(); {
		case dash > 0:
			return nil, &chain.Error{Status: statusUsage, Err: diag.WithHint(
				fmt.Errorf("is %s a group, or a program to run?", groups[dash]),
				"for a program name the group as an option: cgset --name "+groups[0]+" --set ... -- "+strings.Join(groups[dash:], " "),
			)}
		case len(all) == 0 && *source == "" && len(groups) == 0:
			return say("Usage is " + name + " -r <name=value> <relative path to cgroup>")
		case len(all) > 0 && *source != "":
			return nil, wrong(name, "")
		case len(all) == 0 && *source == "":
			return say("no name-value pair was set")
		case len(groups) == 0:
			return say("no cgroup specified")
		}
		var limits []cgroup.Limit
		for _, kv := range all {
			key, value, ok := strings.Cut(kv, "=")
			if !ok || value == "" || strings.Contains(key, "/") {
				return say("wrong parameter of option -r: " + kv)
			}
			l, err := cgroup.Set(key, value)
			if err != nil && !ignore {
				return nil, withStatus(statusOther, err)
			} else if err == nil {
				l.May = ignore
				limits = append(limits, l)
			}
		}
		return &chain.Act{Do: func() (int, error) { return 0, set(name, groups, limits, *source, *deep) }}, nil
	}
}

func set(name string, groups []string, limits []cgroup.Limit, source string, deep bool) error {
	trees, err := cgroup.Trees()
	if err != nil {
		return withStatus(statusNoController, err)
	}
	for _, g := range groups {
		path, err := cgroup.CheckPath(g)
		if err != nil {
			return err
		}
		paths := []string{path}
		if deep {
			for _, f := range cgroup.LookupAll(trees, path) {
				below, err := f.Below()
				if err != nil {
					return err
				}
				for _, b := range below {
					paths = append(paths, strings.Trim(path+"/"+b, "/"))
				}
			}
		}
		for i, p := range paths {
			if source != "" {
				err = copyFrom(trees, source, p)
			} else {
				err = change(name, trees, p, limits)
			}
			if i > 0 && errors.Is(err, unix.ENOENT) {
				continue // the group is in another hierarchy
			}
			if err != nil {
				return withStatus(statusOf(err, statusNoValue), fmt.Errorf("cgroup modify error: %w", err))
			}
		}
	}
	return nil
}

// change sets limits in a group. What the kernel made another value of is said, but is no
// failure: libcgroup does not look, and scripts rely on that.
func change(name string, trees []*cgroup.Tree, path string, limits []cgroup.Limit) error {
	written, err := cgroup.Change(trees, path, limits)
	for _, w := range written {
		if w.Err != nil {
			diag.Print(os.Stderr, name, w.Err)
		}
	}
	return err
}

// copyFrom gives a group the values of another one: of all files that can be both read and
// written, where they differ.
func copyFrom(trees []*cgroup.Tree, source, path string) error {
	from, err := cgroup.CheckPath(source)
	if err != nil {
		return err
	}
	sources := cgroup.LookupAll(trees, from)
	if len(sources) == 0 {
		return fmt.Errorf("find group %s: %w", source, unix.ENOENT)
	}
	to := cgroup.LookupAll(trees, path)
	if len(to) == 0 {
		return fmt.Errorf("find group %s: %w", path, unix.ENOENT)
	}
	for _, t := range to {
		for _, f := range sources {
			if f.Tree != t.Tree {
				continue
			}
			if err := cgroup.Copy(f, t); err != nil {
				return err
			}
		}
	}
	return nil
}
