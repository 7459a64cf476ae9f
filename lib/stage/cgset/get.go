package cgset

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/cgroup"
	"staves/lib/chain"
)

const getUsage = `Usage: %[1]s [-nv] [-r <name>] [-g <controllers>] [-a] <path> ...
   or: %[1]s [-nv] [-r <name>] -g <controllers>:<path> ...
Print parameter(s) of given group(s).
  -a, --all			Print info about all relevant controllers
  -g <controllers>		Controller which info should be displayed
  -g <controllers>:<path>	Control group which info should be displayed
  -h, --help			Display this help
  -m				Print how the cgroups are mounted: legacy (v1), unified (v2) or hybrid
  -n				Do not print headers
  -r, --variable  <name>	Define parameter to display: cgroup v1's names and v2's
  -v, --values-only		Print only values, not parameter names
`

// A get is what cgget(1) was asked for.
type get struct {
	name               string
	noHeaders, bare    bool
	all                bool
	keys               []string
	v1, v2, mappedOnly bool // cgxget: how the names are to be, and whether others are passed over
}

// readGet reads the words of cgget(1) and cgxget(1).
func readGet(name string) func([]string) (*chain.Act, error) {
	return func(words []string) (*chain.Act, error) {
		g := &get{name: name}
		fs := flagSet(name)
		fs.BoolVarP(&g.noHeaders, "no-headers", "n", false, "")
		fs.BoolVarP(&g.bare, "values-only", "v", false, "")
		fs.BoolVarP(&g.all, "all", "a", false, "")
		fs.StringArrayVarP(&g.keys, "variable", "r", nil, "")
		mode := fs.BoolP("mode", "m", false, "")
		specs := fs.StringArrayP("group", "g", nil, "")
		usage := fmt.Sprintf(getUsage, name)
		if name == "cgxget" {
			usage += "  -1, --v1; -2, --v2		Name parameters as in v1, in v2\n  -i, --ignore-unmappable	Pass over what cannot be converted\n"
			fs.BoolVarP(&g.v1, "v1", "1", false, "")
			fs.BoolVarP(&g.v2, "v2", "2", false, "")
			fs.BoolVarP(&g.mappedOnly, "ignore-unmappable", "i", false, "")
		}
		if act, err := parse(fs, words, usage); act != nil || err != nil {
			return act, err
		}
		if *mode {
			return &chain.Act{Do: printMode}, nil
		}
		for _, k := range g.keys {
			if c, rest, ok := strings.Cut(k, "."); !ok || c == "" || rest == "" || strings.Contains(k, "/") {
				return nil, &chain.Error{Status: statusBadName, Err: fmt.Errorf("error parsing parameter name '%s'", k)}
			}
		}
		paths := fs.Args()
		var controllers []string
		withPath := false
		for _, s := range *specs {
			if strings.Contains(s, ":") {
				withPath = true
			} else {
				controllers = append(controllers, strings.Split(s, ",")...)
			}
		}
		if !withPath && len(paths) == 0 || withPath && len(controllers) > 0 {
			return nil, wrong(name, "")
		}
		return &chain.Act{Do: func() (int, error) { return 0, g.do(*specs, controllers, paths) }}, nil
	}
}

func (g *get) do(specs, controllers, paths []string) error {
	trees, err := cgroup.Trees()
	if err != nil {
		return withStatus(statusNoController, err)
	}
	var out strings.Builder
	one := func(path string, controllers []string) error {
		clean, err := cgroup.CheckPath(path)
		if err != nil {
			return err
		}
		return g.group(&out, trees, path, clean, controllers)
	}
	for _, s := range specs {
		if !strings.Contains(s, ":") {
			continue
		}
		sp, err := parseSpec(s, trees)
		if err == nil {
			_, path, _ := strings.Cut(s, ":")
			err = one(path, sp.controllers)
		}
		if err != nil {
			return err
		}
	}
	for _, p := range paths {
		list := controllers
		if g.all || len(list) == 0 && len(g.keys) == 0 {
			list = nil
			for _, f := range cgroup.LookupAll(trees, strings.Trim(p, "/")) {
				list = append(list, f.Tree.Controllers...)
			}
		}
		if err := one(p, list); err != nil {
			return err
		}
	}
	return printOut(out.String())
}

// group prints one group: the values that were asked for by name, then all of controllers.
func (g *get) group(out *strings.Builder, trees []*cgroup.Tree, shown, path string, controllers []string) error {
	if !g.noHeaders {
		fmt.Fprintf(out, "%s:\n", shown)
	}
	for _, key := range g.keys {
		controller, _, _ := strings.Cut(key, ".")
		f, err := cgroup.Lookup(trees, controller, path)
		var missing *cgroup.ControllerError
		if errors.As(err, &missing) {
			err = withStatus(statusOther, fmt.Errorf("cannot find controller '%s' in group '%s'", controller, shown))
		}
		var text string
		if err == nil {
			text, err = f.Read(key)
		}
		if err != nil && g.mappedOnly {
			continue
		} else if err != nil {
			var status *chain.Error
			if !errors.As(err, &status) {
				err = withStatus(statusOther, fmt.Errorf("variable file read failed: %s: %w", key, err))
			}
			return err
		}
		g.value(out, key, text)
	}
	found := len(g.keys) > 0 || len(controllers) == 0
	for _, c := range controllers {
		f, err := cgroup.Lookup(trees, c, path)
		if errors.Is(err, unix.ENOENT) {
			continue
		} else if err != nil {
			return withStatus(statusOther, fmt.Errorf("cannot find controller '%s' in group '%s'", c, shown))
		}
		found = true
		if err := g.controller(out, f, c); err != nil {
			return withStatus(statusOther, err)
		}
	}
	if !found || len(cgroup.LookupAll(trees, path)) == 0 {
		return withStatus(statusOther, fmt.Errorf("variable file read failed: group %s: %w", shown, unix.ENOENT))
	}
	if !g.noHeaders {
		out.WriteString("\n")
	}
	return nil
}

// controller prints all files of a controller's; of cgxget, with the names of the version
// that was asked for.
func (g *get) controller(out *strings.Builder, f cgroup.Found, controller string) error {
	keys, _, err := f.Keys(controller)
	if err != nil {
		return fmt.Errorf("variable file read failed: %w", err)
	}
	switch {
	case g.v1 && f.Tree.V2:
		keys = slices.DeleteFunc(cgroup.Version1(controller), func(k string) bool { _, err := f.Read(k); return err != nil })
	case g.v2 && !f.Tree.V2:
		keys = slices.DeleteFunc(cgroup.Version2(controller), func(k string) bool { _, err := f.Read(k); return err != nil })
	}
	for _, k := range keys {
		text, err := f.Read(k)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("variable file read failed: %s: %w", k, err)
		}
		g.value(out, k, text) // one that can only be written is shown without a value
	}
	return nil
}

// value prints a value; the lines after its first begin with a tab.
func (g *get) value(out *strings.Builder, key, text string) {
	if !g.bare {
		fmt.Fprintf(out, "%s: ", key)
	}
	out.WriteString(strings.ReplaceAll(text, "\n", "\n\t") + "\n")
}

// printMode prints what cgget -m does.
func printMode() (int, error) {
	trees, err := cgroup.Trees()
	if err != nil {
		return statusNoController, err
	}
	mode, v1 := "", slices.ContainsFunc(trees, func(t *cgroup.Tree) bool { return !t.V2 })
	switch v2 := slices.ContainsFunc(trees, func(t *cgroup.Tree) bool { return t.V2 }); {
	case v1 && v2:
		mode = "Hybrid mode (Legacy and Unified)."
	case v2:
		mode = "Unified Mode (Cgroup v2 only)."
	default:
		mode = "Legacy Mode (Cgroup v1 only)."
	}
	return 0, printOut(mode + "\n")
}
