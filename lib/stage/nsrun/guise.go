package nsrun

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/caps"
	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/ns"
)

// guises are the programs of util-linux 2.42 that nsrun stands in for.
var guises = []chain.Guise{
	{Name: "unshare", Failed: 1, Read: readUnshare},
	{Name: "nsenter", Failed: 1, Read: readNsenter},
}

// utilLinux is the version whose options there are.
const utilLinux = "2.42"

// exactly makes a stage that does what it is asked for and nothing else.
func exactly() *stage {
	s := &stage{exact: true}
	s.Options(pflag.NewFlagSet("", pflag.ContinueOnError)) // for the defaults
	s.inside.lo = "down"
	return s
}

// words are what a guise was called with.
type words struct {
	name  string
	given []chain.Given
	rest  []string
}

// readWords reads the options in util-linux's way, and does what needs no chain.
func readWords(name, help string, opts []chain.Opt, args []string) (words, *chain.Act, error) {
	given, rest, err := chain.Getopt(args, opts, false)
	if err != nil {
		return words{}, nil, diag.WithHint(err, "try '"+name+" --help'")
	}
	for _, g := range given {
		text := ""
		switch g.Name() {
		case "--help":
			text = help
		case "--version":
			text = fmt.Sprintf("%s from util-linux %s (staves %s)\n", name, utilLinux, chain.Version)
		default:
			continue
		}
		return words{}, &chain.Act{Do: func() (int, error) {
			_, err := os.Stdout.WriteString(text)
			return 0, err
		}}, nil
	}
	return words{name, given, rest}, nil, nil
}

// act is the chain of s, with the program that is named, or a login shell.
func (w *words) act(s *stage) *chain.Act {
	if len(w.rest) > 0 {
		return &chain.Act{Stage: s, Payload: w.rest}
	}
	shell := os.Getenv("SHELL")
	if shell == "" {
		if a, err := caps.Files.AccountOf(uint32(unix.Getuid())); err == nil {
			shell = a.Shell
		}
	}
	if shell == "" {
		shell = "/bin/sh"
	}
	return &chain.Act{Stage: s, Payload: []string{"-" + filepath.Base(shell)}, Path: shell}
}

// number reads an id as util-linux does where it takes no name.
func number(what, text string) (string, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 0, 32)
	if err != nil {
		return "", fmt.Errorf("failed to parse %s: %q", what, text)
	}
	return strconv.FormatUint(n, 10), nil
}

// kindOpts are the options of the namespaces: the letters, and the names with a file. The
// letters have one too if letterFile says so.
func kindOpts(letterFile chain.Arg) (opts []chain.Opt) {
	for _, k := range ns.Kinds {
		opts = append(opts, chain.Opt{Long: k.Long, Arg: chain.MayArg}, chain.Opt{Short: k.Short[0], Arg: letterFile})
	}
	return opts
}

// kindIndex is the place in ns.Kinds of the namespace that an option names, -1 for none.
func kindIndex(g chain.Given) int {
	for i, k := range ns.Kinds {
		if g.Name() == "--"+k.Long || g.Name() == "-"+k.Short {
			return i
		}
	}
	return -1
}

func unshareOpts() []chain.Opt {
	return append(kindOpts(chain.NoArg), []chain.Opt{
		{Long: "fork", Short: 'f'},
		{Long: "kill-child", Arg: chain.MayArg},
		{Long: "forward-signals"},
		{Long: "mount-proc", Arg: chain.MayArg},
		{Long: "mount-binfmt", Arg: chain.MayArg},
		{Long: "load-interp", Short: 'l', Arg: chain.NeedsArg},
		{Long: "map-user", Arg: chain.NeedsArg},
		{Long: "map-users", Arg: chain.NeedsArg},
		{Long: "map-group", Arg: chain.NeedsArg},
		{Long: "map-groups", Arg: chain.NeedsArg},
		{Long: "map-root-user", Short: 'r'},
		{Long: "map-current-user", Short: 'c'},
		{Long: "map-auto"},
		{Long: "map-subids"},
		{Long: "owner", Arg: chain.NeedsArg},
		{Long: "propagation", Arg: chain.NeedsArg},
		{Long: "setgroups", Arg: chain.NeedsArg},
		{Long: "keep-caps"},
		{Long: "setuid", Short: 'S', Arg: chain.NeedsArg},
		{Long: "setgid", Short: 'G', Arg: chain.NeedsArg},
		{Long: "root", Short: 'R', Arg: chain.NeedsArg},
		{Long: "wd", Short: 'w', Arg: chain.NeedsArg},
		{Long: "monotonic", Arg: chain.NeedsArg},
		{Long: "boottime", Arg: chain.NeedsArg},
		{Long: "help", Short: 'h'},
		{Long: "version", Short: 'V'},
	}...)
}

const unshareHelp = `usage: unshare [OPTIONS] [PROGRAM [ARGUMENT]...]
Run a program, or a login shell, in new namespaces.

  -m, --mount[=FILE]         a new mount namespace, kept by a mount on FILE
  -u, --uts[=FILE]           of the host name
  -i, --ipc[=FILE]           of System V IPC
  -n, --net[=FILE]           of the network
  -p, --pid[=FILE]           of process ids, for children
  -U, --user[=FILE]          of users and capabilities
  -C, --cgroup[=FILE]        of control groups
  -T, --time[=FILE]          of clocks
  -f, --fork                 run the program in a child
  --kill-child[=SIGNAL]      kill it when unshare dies (SIGKILL); implies --fork
  --forward-signals          pass SIGTERM and SIGINT on; implies --fork
  --mount-proc[=DIR]         mount a proc (on /proc); implies --mount
  --mount-binfmt[=DIR]       mount a binfmt_misc; implies --user and --mount
  -l, --load-interp TEXT     register an interpreter there
  --map-user USER            map the present user to USER; implies --user
  --map-group GROUP          likewise the group
  -r, --map-root-user        map both to root
  -c, --map-current-user     map both to themselves
  --map-users INNER:OUTER:COUNT|auto|subids|all
                             map a range of users
  --map-groups INNER:OUTER:COUNT|auto|subids|all
                             map a range of groups
  --map-auto                 --map-users auto --map-groups auto
  --map-subids               --map-users subids --map-groups subids
  --owner UID:GID            who owns the user namespace
  --setgroups allow|deny     allow setgroups(2) in it
  --keep-caps                keep the capabilities that it gives
  --propagation private|slave|shared|unchanged
                             of mounts in the mount namespace
  -R, --root DIR             change the root
  -w, --wd DIR               change the working directory
  -S, --setuid UID           become a user
  -G, --setgid GID           become a group
  --monotonic SECONDS        shift the monotonic clock of the time namespace
  --boottime SECONDS         shift its boot clock
  -h, --help, -V, --version
`

func readUnshare(args []string) (*chain.Act, error) {
	w, act, err := readWords("unshare", unshareHelp, unshareOpts(), args)
	if act != nil || err != nil {
		return act, err
	}
	s := exactly()
	s.supervise.deaf = true
	s.noPidFork = true
	s.maps.firstBlock = true
	clocks := false
	for _, g := range w.given {
		if i := kindIndex(g); i >= 0 {
			s.kinds.on[i] = true
			if g.HasValue {
				s.kinds.file[i] = g.Value
			}
			continue
		}
		v, m, in := g.Value, &s.maps, &s.inside
		switch g.Name() {
		case "--fork":
			s.supervise.forked = true
		case "--forward-signals":
			s.supervise.forward = true
		case "--kill-child":
			s.supervise.killChild = orDefault(g, "KILL")
		case "--mount-proc":
			in.mountProc = orDefault(g, "/proc")
		case "--mount-binfmt":
			in.mountBinfmt = orDefault(g, binfmtDir)
		case "--load-interp":
			in.loadInterp = v
		case "--map-user":
			m.user = v
		case "--map-group":
			m.group = v
		case "--map-users":
			m.users = append(m.users, v)
		case "--map-groups":
			m.groups = append(m.groups, v)
		case "--map-root-user":
			m.mapRoot()
		case "--map-current-user":
			m.mapCurrent()
		case "--map-auto":
			m.both(autoRange)
		case "--map-subids":
			m.both(subidsRange)
		case "--owner":
			m.owner = v
		case "--propagation":
			in.propagation = v
		case "--setgroups":
			m.setgroups = v
		case "--keep-caps":
			s.become.keepCaps = true
		case "--setuid":
			s.become.uid, err = number("uid", v)
		case "--setgid":
			s.become.gid, err = number("gid", v)
		case "--root":
			in.root = v
		case "--wd":
			in.wd = v
		case "--monotonic":
			clocks = true
			in.monotonic, err = seconds("monotonic", v)
		case "--boottime":
			clocks = true
			in.boottime, err = seconds("boottime", v)
		}
		if err != nil {
			return nil, err
		}
	}
	if clocks && !s.kinds.on[len(ns.Kinds)-1] { // the last is the time namespace
		return nil, errors.New("options --monotonic and --boottime require unsharing of a time namespace (-T)")
	}
	return w.act(s), nil
}

func orDefault(g chain.Given, value string) string {
	if g.HasValue {
		return g.Value
	}
	return value
}

func seconds(what, text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("failed to parse %s offset: %q", what, text)
	}
	return n, nil
}
