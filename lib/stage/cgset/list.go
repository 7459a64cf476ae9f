package cgset

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/cgroup"
	"staves/lib/chain"
)

const listUsage = `Usage: lscgroup [-h] [[-g] <controllers>:<path>] [...]
List all cgroups
  -g <controllers>:<path>	Control group to be displayed (-g is optional)
  -h, --help			Display this help
`

// readList reads the words of lscgroup(1).
func readList(words []string) (*chain.Act, error) {
	fs := flagSet("lscgroup")
	groups := fs.StringArrayP("group", "g", nil, "")
	if act, err := parse(fs, words, listUsage); act != nil || err != nil {
		return act, err
	}
	all := append(*groups, fs.Args()...)
	return &chain.Act{Do: func() (int, error) {
		trees, err := cgroup.Trees()
		if err != nil {
			return statusNoController, err
		}
		var out strings.Builder
		if len(all) == 0 {
			for _, t := range trees {
				if !t.V2 && len(t.Controllers) == 0 {
					continue // a hierarchy of v1 with a name alone, as systemd's
				}
				if err := listTree(&out, cgroup.Found{Tree: t, Dir: t.Dir}, ""); err != nil {
					return statusFail, err
				}
			}
			return 0, printOut(out.String())
		}
		specs, err := parseSpecs(all, trees)
		if err != nil {
			return 0, err
		}
		for _, sp := range specs {
			found, err := sp.find(trees)
			if err != nil && statusOf(err, 0) == 0 {
				continue // libcgroup lists nothing, and is content
			} else if err != nil {
				return statusFail, fmt.Errorf("cannot find group: %w", err)
			}
			for _, f := range found {
				if err := listTree(&out, f, sp.path); err != nil {
					return statusFail, err
				}
			}
		}
		return 0, printOut(out.String())
	}}, nil
}

// listTree prints a group and those in it, one a line: CONTROLLERS:/PATH. The one that was
// asked for has a slash behind it.
func listTree(out *strings.Builder, f cgroup.Found, path string) error {
	below, err := f.Below()
	if err != nil {
		return err
	}
	list := strings.Join(f.Tree.Controllers, ",")
	top := "/"
	if path != "" {
		top = "/" + path + "/"
	}
	fmt.Fprintf(out, "%s:%s\n", list, top)
	for _, b := range below {
		fmt.Fprintf(out, "%s:%s%s\n", list, top, b)
	}
	return nil
}

const subsystemsUsage = `Usage: lssubsys [-i] [-m] [-M] [controller] [...]
   or: lssubsys [-a] [-i] [-m] [-M]
List information about given controller(s) If no controller is set list information about all mounted controllers.
  -a, --all			Display information about all controllers (including not mounted ones)
  -h, --help			Display this help
  -i, --hierarchies		Display information about hierarchies
  -m, --mount-points		Display mount points
  -M, --all-mount-points	Display all mount points
`

// readSubsystems reads the words of lssubsys(1).
func readSubsystems(words []string) (*chain.Act, error) {
	fs := flagSet("lssubsys")
	all := fs.BoolP("all", "a", false, "")
	numbers := fs.BoolP("hierarchies", "i", false, "")
	mounts := fs.BoolP("mount-points", "m", false, "")
	allMounts := fs.BoolP("all-mount-points", "M", false, "")
	if act, err := parse(fs, words, subsystemsUsage); act != nil || err != nil {
		return act, err
	}
	wanted := fs.Args()
	return &chain.Act{Do: func() (int, error) {
		trees, err := cgroup.Trees()
		if err != nil {
			return statusNoController, err
		}
		kernel, err := kernelControllers()
		if err != nil {
			return statusFail, err
		}
		var out strings.Builder
		if *all {
			for _, k := range kernel {
				if !slices.ContainsFunc(trees, func(t *cgroup.Tree) bool { return slices.Contains(t.Controllers, k.name) }) {
					out.WriteString(k.name + "\n")
				}
			}
		}
		for _, t := range trees {
			printTree(&out, t, kernel, wanted, *numbers, *mounts || *allMounts)
		}
		return 0, printOut(out.String())
	}}, nil
}

// printTree prints a hierarchy's controllers: v1's together, v2's each by itself.
func printTree(out *strings.Builder, t *cgroup.Tree, kernel []kernelController, wanted []string, numbers, mounts bool) {
	lines := [][]string{t.Controllers}
	if t.V2 {
		lines = nil
		for _, c := range t.Controllers {
			lines = append(lines, []string{c})
		}
	}
	for _, controllers := range lines {
		named := slices.ContainsFunc(controllers, func(c string) bool { return slices.Contains(wanted, c) })
		if len(controllers) == 0 || len(wanted) > 0 && !named {
			continue
		}
		out.WriteString(strings.Join(controllers, ","))
		switch {
		case mounts:
			out.WriteString(" " + t.Dir)
		case numbers:
			out.WriteString(" " + strconv.Itoa(hierarchy(kernel, controllers[0])))
		}
		out.WriteString("\n")
	}
}

type kernelController struct {
	name      string
	hierarchy int
}

// kernelControllers are those of /proc/cgroups (cgroups(7)).
func kernelControllers() ([]kernelController, error) {
	text, err := os.ReadFile("/proc/cgroups")
	if err != nil {
		return nil, err
	}
	var list []kernelController
	for line := range strings.SplitSeq(string(text), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] == "#subsys_name" {
			continue
		}
		n, err := strconv.Atoi(f[1])
		if err != nil {
			return nil, fmt.Errorf("read /proc/cgroups: %w", unix.EINVAL)
		}
		list = append(list, kernelController{f[0], n})
	}
	return list, nil
}

func hierarchy(kernel []kernelController, name string) int {
	for _, k := range kernel {
		if k.name == name {
			return k.hierarchy
		}
	}
	return 0
}
