package pivot

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/caps"
	"staves/lib/chain"
	"staves/lib/entry"
)

const chrootHelp = `usage: chroot [OPTION]... NEWROOT [COMMAND [ARG]...]
Run COMMAND with NEWROOT as its root directory; without COMMAND, "$SHELL" -i, else
/bin/sh -i. Root can leave a chroot; 'pivot NEWROOT -- COMMAND' is the one without a way
back.

      --groups=LIST            the supplementary groups, names or numbers: g1,g2,...
      --userspec=USER[:GROUP]  the user and the group, names or numbers
      --skip-chdir             stay in the working directory; for NEWROOT / alone
      --help                   print this and exit
      --version                print the version and exit

Exit status: COMMAND's own; 125 when chroot failed, 126 when COMMAND cannot be executed,
127 when it is not found.
`

// chroot is chroot(1) of coreutils.
type chroot struct {
	dir       string
	user      string
	groups    string
	hasGroups bool
	stay      bool
}

func readChroot(words []string) (*chain.Act, error) {
	given, rest, err := chain.Getopt(words, []chain.Opt{
		{Long: "groups", Arg: chain.NeedsArg},
		{Long: "userspec", Arg: chain.NeedsArg},
		{Long: "skip-chdir"},
		{Long: "help"},
		{Long: "version"},
	}, false)
	if err != nil {
		return nil, usageError("chroot", err)
	}
	if act := answer("chroot", chrootHelp, given); act != nil {
		return act, nil
	}
	s := &chroot{}
	for _, g := range given {
		switch g.Long {
		case "groups":
			s.groups, s.hasGroups = g.Value, true
		case "userspec":
			s.user = g.Value
		case "skip-chdir":
			s.stay = true
		}
	}
	if len(rest) == 0 {
		return nil, usage("chroot", "missing operand")
	}
	s.dir = rest[0]
	act := &chain.Act{Stage: s, Payload: rest[1:]}
	if len(rest) == 1 {
		shell := "/bin/sh"
		for _, e := range entry.Environ() {
			if value, ok := strings.CutPrefix(e, "SHELL="); ok {
				shell = value
			}
		}
		act.Payload = []string{shell, "-i"}
	}
	return act, nil
}

func (s *chroot) Options(*pflag.FlagSet) {}

func (s *chroot) Check(c *chain.Chain, link *chain.Link) error {
	if s.stay && !isRoot(s.dir) {
		return usage("chroot", "option --skip-chdir only permitted if NEWROOT is old '/'")
	}
	c.Provide(chain.Pivoted, link)
	return nil
}

// isRoot tells whether path is the root directory, by whatever name.
func isRoot(path string) bool {
	var a, b unix.Stat_t
	return unix.Stat(path, &a) == nil && unix.Stat("/", &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}

func (s *chroot) Steps(*chain.Chain, *chain.Link) []chain.Step {
	return []chain.Step{
		{
			Call: "chroot(" + s.dir + ")", Why: "paths of this process begin there from now on", Man: "chroot(2)",
			Do: func(*chain.Run) error {
				// A name that the new root does not know is looked up in the old one.
				outside, outsideErr := s.ids()
				if err := unix.Chroot(s.dir); err != nil {
					return fmt.Errorf("cannot change root directory to %s: %w", s.dir, err)
				}
				if !s.stay {
					if err := unix.Chdir("/"); err != nil {
						return fmt.Errorf("cannot chdir to root directory: %w", err)
					}
				}
				ids, err := s.ids()
				switch {
				case outsideErr != nil:
				case err != nil:
					ids, err = outside, nil
				case !ids.known && !s.hasGroups:
					ids.groups = outside.groups
				}
				if err != nil {
					return err
				}
				return ids.enter()
			},
		},
	}
}

// wanted are the ids that were asked for; -1, or nil, where none was.
type wanted struct {
	uid, gid int
	groups   []int
	known    bool // the uid has a name
}

// ids looks the user and the groups up in the root that the process is in now.
func (s *chroot) ids() (wanted, error) {
	w := wanted{uid: -1, gid: -1}
	name, group, colon := strings.Cut(s.user, ":")
	var account caps.Account
	if name != "" {
		uid, err := caps.Files.UID(strings.TrimPrefix(name, "+"))
		if err != nil {
			return w, fmt.Errorf("invalid user: %w", err)
		}
		w.uid = int(uid)
		if account, err = caps.Files.AccountOf(uid); err == nil {
			w.gid, w.known = int(account.GID), true
		}
	}
	if colon && group != "" {
		gid, err := caps.Files.GID(strings.TrimPrefix(group, "+"))
		if err != nil {
			return w, fmt.Errorf("invalid group: %w", err)
		}
		w.gid = int(gid)
	}
	if name != "" && w.gid < 0 {
		return w, fmt.Errorf("no group specified for unknown uid: %d", w.uid)
	}
	switch {
	case s.hasGroups:
		w.groups = []int{}
		if s.groups != "" && strings.Trim(s.groups, ",") == "" {
			return w, fmt.Errorf("invalid group list %q", s.groups)
		}
		for _, g := range strings.FieldsFunc(s.groups, func(r rune) bool { return r == ',' }) {
			gid, err := caps.Files.GID(strings.TrimPrefix(strings.TrimSpace(g), "+"))
			if err != nil {
				return w, fmt.Errorf("invalid group %s: %w", g, err)
			}
			w.groups = append(w.groups, int(gid))
		}
	case account.Name != "":
		groups, err := caps.Files.GroupsOf(account.Name, uint32(w.gid))
		if err != nil {
			return w, fmt.Errorf("failed to get supplemental groups: %w", err)
		}
		for _, g := range groups {
			w.groups = append(w.groups, int(g))
		}
	case w.uid >= 0:
		w.groups = []int{} // the caller's own are not this user's
	}
	return w, nil
}

// enter makes the thread that executes the command this user.
func (w wanted) enter() error {
	if w.groups != nil {
		if err := unix.Setgroups(w.groups); err != nil {
			return fmt.Errorf("failed to set supplemental groups: %w", err)
		}
	}
	if w.gid >= 0 {
		if err := unix.Setresgid(w.gid, w.gid, w.gid); err != nil {
			return fmt.Errorf("failed to set group-ID: %w", err)
		}
	}
	if w.uid >= 0 {
		if err := unix.Setresuid(w.uid, w.uid, w.uid); err != nil {
			return fmt.Errorf("failed to set user-ID: %w", err)
		}
	}
	return nil
}
