package nsrun

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/ns"
)

func nsenterOpts() []chain.Opt {
	return append(kindOpts(chain.MayArg), []chain.Opt{
		{Long: "all", Short: 'a'},
		{Long: "target", Short: 't', Arg: chain.NeedsArg},
		{Long: "net-socket", Short: 'N', Arg: chain.NeedsArg},
		{Long: "user-parent"},
		{Long: "setuid", Short: 'S', Arg: chain.NeedsArg},
		{Long: "setgid", Short: 'G', Arg: chain.NeedsArg},
		{Long: "preserve-credentials"},
		{Long: "keep-caps"},
		{Long: "root", Short: 'r', Arg: chain.MayArg},
		{Long: "wd", Short: 'w', Arg: chain.MayArg},
		{Long: "wdns", Short: 'W', Arg: chain.MayArg},
		{Long: "env", Short: 'e'},
		{Long: "no-fork", Short: 'F'},
		{Long: "join-cgroup", Short: 'c'},
		{Long: "follow-context", Short: 'Z'},
		{Long: "help", Short: 'h'},
		{Long: "version", Short: 'V'},
	}...)
}

const nsenterHelp = `usage: nsenter [OPTIONS] [PROGRAM [ARGUMENT]...]
Run a program, or a login shell, in the namespaces of another process.

  -t, --target PID[:INODE]   the process
  -a, --all                  all of its namespaces
  -m, --mount[=FILE|=:ID]    its mount namespace, or the one that FILE keeps, or
                             the one with that id; likewise:
  -u, --uts, -i, --ipc, -n, --net, -p, --pid, -U, --user, -C, --cgroup, -T, --time
  -N, --net-socket FD        the network namespace of its socket
  --user-parent              the user namespace that the first of these belongs to
  -S, --setuid UID|follow    become a user, or that of the process
  -G, --setgid GID|follow    become a group, or that of the process
  --preserve-credentials     do not become root in a user namespace
  --keep-caps                keep the capabilities that it gives
  -r, --root[=DIR]           have its root, or DIR
  -w, --wd[=DIR]             have its working directory, or DIR
  -W, --wdns[=DIR]           have DIR, looked for in the namespaces
  -e, --env                  have its environment
  -F, --no-fork              do not fork for a pid namespace
  -c, --join-cgroup          enter its control group
  -Z, --follow-context       have its SELinux context
  -h, --help, -V, --version
`

func readNsenter(args []string) (*chain.Act, error) {
	w, act, err := readWords("nsenter", nsenterHelp, nsenterOpts(), args)
	if act != nil || err != nil {
		return act, err
	}
	s := exactly()
	var process target
	var others []target
	all, wd := false, false
	for _, g := range w.given {
		// A short option's value may have a "=" before it.
		v := strings.TrimPrefix(g.Value, "=")
		if i := kindIndex(g); i >= 0 {
			kind := &ns.Kinds[i]
			switch {
			case !g.HasValue:
				process.kinds = append(process.kinds, kind.Long)
			default:
				t, err := parseTarget(kind.Long + "=" + v)
				if err != nil {
					return nil, err
				}
				others = append(others, t)
			}
			continue
		}
		switch g.Name() {
		case "--all":
			all = true
		case "--target":
			if process.pid != 0 {
				return nil, errors.New("option --target may be given only once")
			}
			if process.pid, process.inode, err = parsePID(g.Value); err != nil {
				return nil, err
			}
		case "--net-socket":
			if s.join.socket, err = strconv.Atoi(v); err != nil || s.join.socket < 0 {
				return nil, fmt.Errorf("failed to parse file descriptor: %q", v)
			}
		case "--user-parent":
			s.join.userParent = true
		case "--setuid":
			s.become.uid, err = idOrFollow("uid", v)
		case "--setgid":
			s.become.gid, err = idOrFollow("gid", v)
		case "--preserve-credentials":
			s.become.preserve = true
		case "--keep-caps":
			s.become.keepCaps = true
		case "--root":
			s.inside.root = pathOrFollow(g, v)
		case "--wd":
			s.inside.wd, wd = pathOrFollow(g, v), true
		case "--wdns":
			if s.join.wdns = v; v == "" {
				s.join.wdns = "."
			}
		case "--env":
			s.join.env = true
		case "--no-fork":
			s.noPidFork = true
		case "--join-cgroup":
			s.join.cgroup = true
		case "--follow-context":
			if unix.Access("/sys/fs/selinux/enforce", unix.F_OK) == nil {
				return nil, errors.New("--follow-context: SELinux contexts are not followed")
			}
		}
		if err != nil {
			return nil, err
		}
	}
	needs := process.kinds != nil || all || s.join.env || s.join.cgroup || s.join.socket >= 0 ||
		s.inside.root == follow || s.inside.wd == follow || s.become.uid == follow || s.become.gid == follow
	switch {
	case wd && s.join.wdns != "":
		return nil, errors.New("options --wd and --wdns are mutually exclusive")
	case needs && process.pid == 0:
		return nil, errors.New("no target PID specified")
	case process.kinds == nil && others == nil && !all && s.join.socket < 0 && !s.join.userParent:
		return nil, errors.New("no namespace specified")
	}
	if process.pid != 0 {
		process.all, process.some = all, true
		s.join.targets = append(s.join.targets, process)
	}
	s.join.targets = append(s.join.targets, others...) // files override the process's
	return w.act(s), nil
}

// pathOrFollow is the value of an option whose default is what the process has. A
// directory called as the word that stands for that is not meant by it.
func pathOrFollow(g chain.Given, v string) string {
	switch {
	case !g.HasValue:
		return follow
	case v == follow:
		return "./" + v
	}
	return v
}

func idOrFollow(what, text string) (string, error) {
	if text == follow {
		return follow, nil
	}
	return number(what, text)
}
