package capdrop

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/caps"
	"staves/lib/chain"
	"staves/lib/limits"
)

// setpriv is util-linux's setpriv: options in any order, which say what is to be different
// for the program.
type setpriv struct {
	opts map[string]string // the options given, with their values

	uid, gid [3]*uint32 // real and effective; saved is as effective
	groups   []uint32   // nil: as they are
	inh      capChange
	amb      capChange
	bnd      capChange
	on, off  caps.Securebits
	signal   *unix.Signal
	ptracer  *uintptr
	account  *caps.Account // whose environment it is to be
	lock     lock
	filter   filter
}

// setprivOpts are in the order in which help lists them.
var setprivOpts = []chain.Opt{
	{Long: "dump", Short: 'd'},
	{Long: "nnp"},
	{Long: "no-new-privs"},
	{Long: "ambient-caps", Arg: chain.NeedsArg},
	{Long: "inh-caps", Arg: chain.NeedsArg},
	{Long: "bounding-set", Arg: chain.NeedsArg},
	{Long: "ruid", Arg: chain.NeedsArg},
	{Long: "euid", Arg: chain.NeedsArg},
	{Long: "rgid", Arg: chain.NeedsArg},
	{Long: "egid", Arg: chain.NeedsArg},
	{Long: "reuid", Arg: chain.NeedsArg},
	{Long: "regid", Arg: chain.NeedsArg},
	{Long: "clear-groups"},
	{Long: "keep-groups"},
	{Long: "init-groups"},
	{Long: "groups", Arg: chain.NeedsArg},
	{Long: "securebits", Arg: chain.NeedsArg},
	{Long: "pdeathsig", Arg: chain.NeedsArg},
	{Long: "ptracer", Arg: chain.NeedsArg},
	{Long: "selinux-label", Arg: chain.NeedsArg},
	{Long: "apparmor-profile", Arg: chain.NeedsArg},
	{Long: "landlock-access", Arg: chain.NeedsArg},
	{Long: "landlock-rule", Arg: chain.NeedsArg},
	{Long: "landlock-support"},
	{Long: "list-landlock-access"},
	{Long: "list-landlock-rights", Arg: chain.NeedsArg},
	{Long: "seccomp-filter", Arg: chain.NeedsArg},
	{Long: "reset-env"},
	{Long: "list-caps"},
	{Long: "help", Short: 'h'},
	{Long: "version", Short: 'V'},
}

const setprivHelp = `usage: setpriv [OPTIONS] PROGRAM [ARGUMENT]...
Run a program with other privileges.

  -d, --dump                 print the privileges there are; twice prints more
  --nnp, --no-new-privs      let no later program gain privileges
  --ambient-caps CHANGES     change the ambient capabilities
  --inh-caps CHANGES         change the inheritable ones
  --bounding-set CHANGES     change the bounding set
  --ruid USER, --euid USER, --reuid USER
                             change the real user, the effective one, or both
  --rgid GROUP, --egid GROUP, --regid GROUP
                             likewise the group; one of these goes with it:
  --clear-groups             have no supplementary groups
  --keep-groups              have the same
  --init-groups              have those of the user
  --groups LIST              have these
  --securebits CHANGES       change the securebits
  --pdeathsig keep|clear|SIGNAL
                             what comes when the parent dies
  --ptracer PID|any|none     who may trace the program
  --selinux-label CONTEXT    run it in an SELinux context
  --apparmor-profile NAME    run it under an AppArmor profile
  --landlock-access ACCESS   refuse it access: fs, net or scope, with :RIGHTS or without
  --landlock-rule RULE       allow some: path-beneath:RIGHTS:PATH, net-port:RIGHTS:PORT
  --landlock-support         print what this kernel's Landlock can refuse
  --list-landlock-access     print its kinds of access, a line each
  --list-landlock-rights ACCESS
                             print the rights of one of them
  --seccomp-filter FILE      run it with a filter of system calls
  --reset-env                have no variables but TERM, HOME, SHELL, USER, LOGNAME, PATH
  --list-caps                print the names of the capabilities
  -h, --help                 print this and exit
  -V, --version              print the version and exit

CHANGES are names with commas between, each after + or -, like -all,+net_raw. Exit
status: the program's own; 1 for wrong words, 127 when privileges cannot be changed or
the program is not found, 126 when it cannot be executed.
`

// statusUsage is how setpriv ends where its words make no sense.
const statusUsage = 1

// readSetpriv reads the words, and looks up what they name.
func readSetpriv(words []string) (*chain.Act, error) {
	s := &setpriv{opts: map[string]string{}, filter: filter{from: noFilter}}
	wrong := func(err error) (*chain.Act, error) {
		return nil, &chain.Error{Status: statusUsage, Err: usage("setpriv", err)}
	}
	given, program, err := chain.Getopt(words, setprivOpts, false)
	if err != nil {
		return wrong(err)
	}
	dumps := 0
	for _, g := range given {
		name := g.Long
		switch name {
		case "help":
			return report(func(out io.Writer) error { _, err := io.WriteString(out, setprivHelp); return err }), nil
		case "version":
			return report(func(out io.Writer) error { return version(out, "setpriv") }), nil
		case "dump":
			dumps++
			continue
		case "landlock-support":
			return report(func(io.Writer) error { return s.lock.printSupport(program) }), nil
		case "landlock-access", "landlock-rule":
			if err := s.confine(name, g.Value); err != nil {
				return wrong(err)
			}
			continue
		case "nnp":
			name = "no-new-privs"
		}
		if _, twice := s.opts[name]; twice {
			return wrong(fmt.Errorf("--%s is given twice", name))
		}
		s.opts[name] = g.Value
	}
	switch {
	case dumps > 0 && (len(s.opts) > 0 || len(program) > 0):
		return wrong(errors.New("--dump stands alone"))
	case dumps > 0:
		return report(func(out io.Writer) error { return dump(out, dumps) }), nil
	}
	if act, err := s.list(program); err != nil {
		return wrong(err)
	} else if act != nil {
		return act, nil
	}
	if len(program) == 0 {
		return wrong(errors.New("no program is named"))
	}
	if err := s.read(); err != nil {
		return wrong(err)
	}
	return &chain.Act{Stage: s, Payload: program}, nil
}

// confine reads an option about Landlock, which can be given any number of times.
func (s *setpriv) confine(name, text string) error {
	read := s.lock.set.Allow
	if name == "landlock-access" {
		read = s.lock.set.Handle
	}
	s.lock.texts = append(s.lock.texts, text)
	if err := read(text); err != nil {
		return fmt.Errorf("--%s: %w", name, err)
	}
	return nil
}

// report is an act that prints something.
func report(print func(out io.Writer) error) *chain.Act {
	return &chain.Act{Do: func() (int, error) { return 0, print(os.Stdout) }}
}

// read finds what the options say.
func (s *setpriv) read() error {
	for _, read := range []func() error{s.readIDs, s.readGroups, s.readSets, s.readRest} {
		if err := read(); err != nil {
			return err
		}
	}
	return nil
}

// readRest reads what is neither about ids nor about sets.
func (s *setpriv) readRest() (err error) {
	if text, ok := s.opts["securebits"]; ok {
		if err := signed(text); err != nil {
			return fmt.Errorf("--securebits: %w", err)
		}
		if text == "-all" {
			s.off = ^caps.Securebits(0)
		} else if s.on, s.off, err = parseSecurebits(text); err != nil {
			return fmt.Errorf("--securebits: %w", err)
		}
	}
	if text, ok := s.opts["pdeathsig"]; ok && text != keepSignal {
		var signal unix.Signal
		if text != clearSignal {
			if signal, err = chain.Signal(text); err != nil {
				return fmt.Errorf("--pdeathsig: %w", err)
			}
		}
		s.signal = &signal
	}
	if text, ok := s.opts["ptracer"]; ok {
		pid := uintptr(0)
		switch text {
		case "none":
		case "any":
			pid = limits.AnyPtracer
		default:
			n, err := strconv.ParseUint(text, 10, 31)
			if err != nil || n == 0 {
				return fmt.Errorf("--ptracer: %q is no process id, 'any' or 'none'", text)
			}
			pid = uintptr(n)
		}
		s.ptracer = &pid
	}
	if file, ok := s.opts["seccomp-filter"]; ok {
		s.filter.from = "./" + file // a file, whatever it is called
		if strings.HasPrefix(file, "/") {
			s.filter.from = file
		}
	}
	if _, ok := s.opts["reset-env"]; ok {
		account, err := s.login()
		if err != nil {
			return fmt.Errorf("--reset-env: %w", err)
		}
		s.account = &account
	}
	return nil
}

// login is the account whose environment the program gets: the new real user's, or the
// caller's where that one has none.
func (s *setpriv) login() (caps.Account, error) {
	if s.uid[0] != nil {
		if account, err := caps.Files.AccountOf(*s.uid[0]); err == nil {
			return account, nil
		}
	}
	return caps.Files.AccountOf(uint32(unix.Getuid()))
}

func (s *setpriv) Options(*pflag.FlagSet) {}
