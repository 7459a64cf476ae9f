package cgset

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/cgroup"
	"staves/lib/diag"
)

// admin are the options that manage groups and run no program.
type admin struct {
	show, remove, thaw, move     string
	kill                         optional
	list, collect, migrate, json bool
}

func (a *admin) options(fs *pflag.FlagSet) {
	fs.StringVar(&a.show, "show", "", "print what the group `NAME` is held to and what it uses")
	fs.BoolVar(&a.list, "list", false, "print all groups")
	fs.BoolVar(&a.json, "json", false, "with --show or --list: as JSON")
	fs.StringVar(&a.remove, "delete", "", "remove the group `NAME`, and the groups in it, if nothing runs there")
	optionalVar(fs, &a.kill, "kill", "kill what runs in the group `NAME`; with --delete: before it is removed")
	fs.BoolVar(&a.migrate, "migrate", false, "with --delete: move what runs there to the group above")
	fs.StringVar(&a.thaw, "thaw", "", "let the group `NAME` go on")
	fs.StringVar(&a.move, "move", "", "move processes, PID..., to the group `NAME`")
	fs.BoolVar(&a.collect, "gc", false, "remove the groups of which cgset was killed, with what runs in them; with --parent those in that one only")
}

// usage are the forms of these options.
var usage = []string{
	"cgset --show NAME [--json] | --list [--json] | --gc [--parent NAME]",
	"cgset --delete NAME [--kill|--migrate] | --kill NAME | --move NAME PID...",
	"cgset --freeze NAME | --thaw NAME",
}

// Admin returns what such an option does. --freeze is one only with a name, and without
// any option that is about a program to run.
func (s *stage) Admin(fs *pflag.FlagSet) func(words []string) error {
	a := &s.admin
	var given []string
	fs.Visit(func(f *pflag.Flag) { given = append(given, f.Name) })
	for _, name := range given {
		if f := fs.Lookup(name); takesGroup(name) && f.Value.String() == "" {
			return func([]string) error { return fmt.Errorf("--%s: the name is empty", name) }
		}
	}
	freezeOf := string(s.freeze)
	alone := len(given) == 1 && fs.NArg() == 1 && fs.ArgsLenAtDash() < 0
	if freezeOf == bare {
		freezeOf = ""
		if alone {
			freezeOf = fs.Arg(0)
		}
	}
	actions := slices.DeleteFunc(slices.Clone(given), func(name string) bool {
		switch name {
		case "show", "list", "delete", "thaw", "move", "gc":
			return false
		case "kill":
			return fs.Changed("delete")
		case "freeze":
			return freezeOf == ""
		}
		return true
	})
	if len(actions) == 0 && !a.json && !a.migrate {
		return nil
	}
	return func(words []string) error {
		switch {
		case len(actions) == 0:
			return errors.New("--json goes with --show or --list, --migrate with --delete")
		case len(actions) > 1:
			return fmt.Errorf("--%s and --%s exclude each other", actions[0], actions[1])
		}
		action := actions[0]
		if extra := slices.DeleteFunc(given, func(name string) bool { return name == action || goesWith(action, name) }); len(extra) > 0 {
			return fmt.Errorf("--%s has no place beside --%s", extra[0], action)
		}
		name := map[string]string{"show": a.show, "delete": a.remove, "thaw": a.thaw, "move": a.move, "kill": string(a.kill), "freeze": freezeOf}[action]
		if name == bare || action == "freeze" && alone {
			if len(words) == 0 {
				return fmt.Errorf("--%s needs the name of a group", action)
			}
			name, words = words[0], words[1:]
		}
		if len(words) > 0 && action != "move" {
			return fmt.Errorf("--%s takes no program: %s", action, strings.Join(words, " "))
		}
		trees, err := cgroup.Trees()
		if err != nil {
			return err
		}
		switch action {
		case "list":
			return printList(trees, a.json)
		case "gc":
			tops, err := topmost(trees, s.parent)
			if err != nil {
				return fmt.Errorf("--parent: %w", err)
			}
			return collect(tops)
		}
		path, found, err := find(trees, name)
		if err != nil {
			return fmt.Errorf("--%s: %w", action, err)
		}
		if path == "" && action != "show" && action != "move" {
			return fmt.Errorf("--%s: not with the topmost group", action)
		}
		return explain(a.do(action, path, found, words))
	}
}

// takesGroup tells whether an option that manages groups has the name of one.
func takesGroup(option string) bool {
	switch option {
	case "show", "delete", "kill", "freeze", "thaw", "move":
		return true
	}
	return false
}

// goesWith tells which options say more about an action.
func goesWith(action, option string) bool {
	switch option {
	case "json":
		return action == "show" || action == "list"
	case "kill", "migrate":
		return action == "delete"
	case "parent":
		return action == "gc"
	}
	return false
}

func (a *admin) do(action, path string, found []cgroup.Found, words []string) error {
	switch action {
	case "show":
		return printGroup(path, found, a.json)
	case "delete":
		return a.delete(path, found)
	case "kill":
		return cgroup.Kill(found)
	case "move":
		return move(found, words)
	}
	return cgroup.SetFrozen(found, action == "freeze")
}

// find finds a group by its path from the top, or from a group that this process is in:
// that is where an ordinary user's are.
func find(trees []*cgroup.Tree, name string) (string, []cgroup.Found, error) {
	path, err := cgroup.CheckPath(name)
	if err != nil {
		return "", nil, err
	}
	found := cgroup.LookupAll(trees, path)
	if len(found) == 0 {
		if own, ok := cgroup.Own(trees, path); ok {
			path, found = own, cgroup.LookupAll(trees, own)
		}
	}
	if len(found) == 0 {
		return "", nil, diag.WithHint(fmt.Errorf("find group %s: %w", name, unix.ENOENT), "cgset --list prints those there are")
	}
	return path, found, nil
}

func (a *admin) delete(path string, found []cgroup.Found) error {
	switch {
	case a.kill != "" && a.migrate:
		return errors.New("--kill and --migrate exclude each other")
	case a.kill != "" && a.kill != bare:
		return fmt.Errorf("--kill of %s beside --delete: it is about the same group, and takes no name", a.kill)
	case a.kill != "":
		if err := cgroup.Kill(found); err != nil {
			return err
		}
	case a.migrate:
		if err := cgroup.Migrate(found); err != nil {
			return err
		}
	default:
		// In none of its hierarchies is it removed while something runs in one of them.
		for _, f := range found {
			if err := cgroup.CheckEmpty(f.Dir, true); err != nil {
				return diag.WithHint(err, "cgset --delete "+path+" --kill ends it, --migrate moves it to the group above")
			}
		}
	}
	for _, f := range found {
		if err := cgroup.RemoveEmpty(f.Dir, true); err != nil {
			return err
		}
	}
	return nil
}

func move(found []cgroup.Found, words []string) error {
	if len(words) == 0 {
		return errors.New("--move: the numbers of the processes are missing")
	}
	var pids []int
	for _, w := range words {
		pid, err := strconv.Atoi(w)
		if err != nil || pid <= 0 {
			return fmt.Errorf("--move: %q is no number of a process", w)
		}
		if err := unix.Kill(pid, 0); errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("--move: process %d: %w", pid, err)
		}
		pids = append(pids, pid)
	}
	for _, f := range found {
		if err := f.CheckEnter(); err != nil {
			return err
		}
	}
	for _, pid := range pids {
		for _, f := range found {
			if err := cgroup.Move(f.Dir, pid); err != nil {
				return fmt.Errorf("move process %d: %w", pid, err)
			}
		}
	}
	return nil
}

// topmost are the directories of a group in all hierarchies that it is in; of the topmost
// group for "".
func topmost(trees []*cgroup.Tree, name string) ([]string, error) {
	_, found, err := find(trees, name)
	var tops []string
	for _, f := range found {
		tops = append(tops, f.Dir)
	}
	return tops, err
}

// collect removes dead groups below tops, and prints the directories that it removed.
func collect(tops []string) error {
	removed, err := cgroup.Collect(tops)
	var out strings.Builder
	for _, dir := range removed {
		out.WriteString(dir + "\n")
	}
	return errors.Join(printOut(out.String()), err)
}
