package cgset

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"staves/lib/caps"
	"staves/lib/cgroup"
	"staves/lib/chain"
	"staves/lib/diag"
)

const createUsage = `Usage: cgcreate [-h] [-f mode] [-d mode] [-s mode] [-t <tuid>:<tgid>] [-a <agid>:<auid>] -g <controllers>:<path> [-g ...]
Create control group(s)
  -a <tuid>:<tgid>		Owner of the group and all its files
  -d, --dperm=mode		Group directory permissions
  -f, --fperm=mode		Group file permissions
  -g <controllers>:<path>	Control group which should be added
  -h, --help			Display this help
  -s, --tperm=mode		Tasks file permissions
  -t <tuid>:<tgid>		Owner of the tasks file
`

// readCreate reads the words of cgcreate(1).
func readCreate(words []string) (*chain.Act, error) {
	fs := flagSet("cgcreate")
	owner := fs.StringP("admin", "a", "", "")
	entrant := fs.StringP("task", "t", "", "")
	groups := fs.StringArrayP("group", "g", nil, "")
	dperm := fs.StringP("dperm", "d", "", "")
	fperm := fs.StringP("fperm", "f", "", "")
	tperm := fs.StringP("tperm", "s", "", "")
	scope := fs.BoolP("scope", "c", false, "")
	if act, err := parse(fs, words, createUsage); act != nil || err != nil {
		return act, err
	}
	if *scope {
		return nil, &chain.Error{Status: statusUsage, Err: diag.WithHint(errors.New("a scope is systemd's to make"), "systemd-run --scope -p Delegate=yes -- PROGRAM")}
	}
	if len(*groups) == 0 || fs.NArg() > 0 {
		return nil, wrong("cgcreate", "")
	}
	var dirs, files, procs cgroup.Ownership
	for _, o := range []struct {
		into        *cgroup.Ownership
		owner, mode string
	}{{&dirs, *owner, *dperm}, {&files, *owner, *fperm}, {&procs, *entrant, *tperm}} {
		var err error
		if *o.into, err = ownership(o.owner, o.mode); err != nil {
			return nil, withStatus(statusOther, err)
		}
	}
	// What is for all files is for those of tasks too, unless they have their own.
	if *entrant == "" {
		procs.UID, procs.GID = files.UID, files.GID
	}
	if *tperm == "" {
		procs.Mode = files.Mode
	}
	return &chain.Act{Do: func() (int, error) {
		trees, err := cgroup.Trees()
		if err != nil {
			return statusNoController, err
		}
		specs, err := parseSpecs(*groups, trees)
		if err != nil {
			return 0, err
		}
		for _, sp := range specs {
			if err := create(sp, trees, dirs, files, procs); err != nil {
				return 0, withStatus(statusOf(err, statusOther), fmt.Errorf("can't create cgroup %s: %w", sp.path, err))
			}
		}
		return 0, nil
	}}, nil
}

func create(sp spec, trees []*cgroup.Tree, dirs, files, procs cgroup.Ownership) error {
	if sp.path == "" {
		return errors.New("the topmost group is there already")
	}
	if len(sp.controllers) == 0 {
		sp.controllers = []string{cgroup.Core}
	}
	g, err := cgroup.Make(trees, cgroup.Request{Name: sp.path, Controllers: sp.controllers, Keep: true, Exact: true})
	if err != nil {
		return err
	}
	defer g.Close()
	for _, dir := range g.Dirs {
		if err := cgroup.Give(dir, dirs, files, procs); err != nil {
			return err
		}
	}
	return nil
}

// ownership reads USER:GROUP, either of which may be missing, as names or numbers, and a
// mode in octal.
func ownership(owner, mode string) (cgroup.Ownership, error) {
	o := cgroup.Ownership{UID: -1, GID: -1}
	user, group, _ := strings.Cut(owner, ":")
	if user != "" {
		ids, err := lookup(user)
		if err != nil {
			return o, err
		}
		o.UID = int(ids.UID)
	}
	if group != "" {
		ids, err := lookup("0:" + group)
		if err != nil {
			return o, err
		}
		o.GID = int(ids.GID)
	}
	if mode != "" {
		n, err := strconv.ParseUint(mode, 8, 32)
		if err != nil || n == 0 || n > 0o777 {
			return o, fmt.Errorf("%q is no mode: octal, as 664", mode)
		}
		o.Mode = uint32(n)
	}
	return o, nil
}

func lookup(user string) (caps.IDs, error) {
	u, err := caps.ParseUser(user)
	if err != nil {
		return caps.IDs{}, err
	}
	return caps.Files.IDs(u)
}
