package cgset

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/pflag"

	"staves/lib/cgroup"
	"staves/lib/chain"
)

const execUsage = `Usage: cgexec [-h] [-g <controllers>:<path>] [--sticky] command [arguments] ...
Run the task in given control group(s)
  -g <controllers>:<path>	Control group which should be added
  -h, --help			Display this help
  --sticky			accepted: there is no daemon here that moves processes
`

const classifyUsage = `Usage: cgclassify [[-g] <controllers>:<path>] [--sticky | --cancel-sticky] <list of pids>
Move running task(s) to given cgroups
  -h, --help			Display this help
  -g <controllers>:<path>	Control group to be used as target
  --cancel-sticky, --sticky	accepted: there is no daemon here that moves processes
`

var errNoRules = errors.New("name the group with -g: rules of cgrules.conf are not read")

// readExec reads the words of cgexec(1).
func readExec(words []string) (*chain.Act, error) {
	fs := flagSet("cgexec")
	fs.SetInterspersed(false)
	groups := fs.StringArrayP("group", "g", nil, "")
	fs.Bool("sticky", false, "")
	fs.BoolP("replace-idle", "r", false, "")
	if act, err := parse(fs, words, execUsage); act != nil || err != nil {
		return act, err
	}
	if fs.NArg() == 0 {
		return nil, wrong("cgexec", "")
	}
	if len(*groups) == 0 {
		return nil, withStatus(statusUsage, errNoRules)
	}
	return &chain.Act{Stage: &join{groups: *groups}, Payload: fs.Args()}, nil
}

// join is the stage that enters groups that are there.
type join struct{ groups []string }

func (j *join) Options(*pflag.FlagSet)                {}
func (j *join) Check(*chain.Chain, *chain.Link) error { return nil }

func (j *join) Steps(*chain.Chain, *chain.Link) []chain.Step {
	return []chain.Step{{
		Call: "write 0 to cgroup.procs", Why: "this process enters the groups", Man: "cgroups(7)",
		Do: func(*chain.Run) error { return j.enter() },
	}}
}

func (j *join) enter() error {
	trees, err := cgroup.Trees()
	if err != nil {
		return withStatus(statusNoController, err)
	}
	specs, err := parseSpecs(j.groups, trees)
	if err != nil {
		return err
	}
	found, err := findAll(specs, trees)
	for i := 0; err == nil && i < len(found); i++ {
		err = found[i].CheckEnter()
	}
	for i := 0; err == nil && i < len(found); i++ {
		err = cgroup.Move(found[i].Dir, 0)
	}
	if err != nil {
		return withStatus(statusOf(err, statusNoGroup), fmt.Errorf("cgroup change of group failed: %w", err))
	}
	return nil
}

// readClassify reads the words of cgclassify(1).
func readClassify(words []string) (*chain.Act, error) {
	fs := flagSet("cgclassify")
	groups := fs.StringArrayP("group", "g", nil, "")
	fs.Bool("sticky", false, "")
	fs.Bool("cancel-sticky", false, "")
	fs.BoolP("replace-idle", "r", false, "")
	if act, err := parse(fs, words, classifyUsage); act != nil || err != nil {
		return act, err
	}
	if fs.NArg() == 0 {
		return nil, wrong("cgclassify", "")
	}
	if len(*groups) == 0 {
		return nil, withStatus(statusUsage, errNoRules)
	}
	return &chain.Act{Do: func() (int, error) {
		trees, err := cgroup.Trees()
		if err != nil {
			return 0, err
		}
		specs, err := parseSpecs(*groups, trees)
		if err != nil {
			return 0, err
		}
		found, err := findAll(specs, trees)
		if err != nil {
			return 0, explain(err)
		}
		return classify(found, fs.Args())
	}}, nil
}

// classify moves processes; one that cannot be moved keeps none of the others back. Where it
// would stop, or could not fork, it is not moved.
func classify(found []cgroup.Found, words []string) (status int, err error) {
	var failed []error
	for _, w := range words {
		pid, err := strconv.Atoi(w)
		if err != nil || pid <= 0 {
			failed, status = append(failed, fmt.Errorf("error: %s is not valid pid", w)), 2
			continue
		}
		for i := 0; err == nil && i < len(found); i++ {
			if !found[i].Holds(pid) {
				err = found[i].CheckEnter()
			}
		}
		for i := 0; err == nil && i < len(found); i++ {
			err = cgroup.Move(found[i].Dir, pid)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("error changing group of pid %d: %w", pid, err))
			status = max(status, 1)
		}
	}
	if len(failed) == 0 {
		return 0, nil
	}
	return status, explain(errors.Join(failed...))
}
