package overlay

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"staves/lib/diag"
	"staves/lib/mount"
)

type stage struct {
	lower       []string
	upper, work string // of --state too
	state       string
	tmpfs       string
	volatile    bool
	idmap       bool
	opts, o     []string

	diff, commit, apply, clean string
	json                       bool

	params []mount.Option // of --opt and -o
	attr   int            // of -o
	plain  bool           // -o lowerdir=...: nothing is added to what the user says
	isRead bool
	mapped mapped
}

func (s *stage) Options(fs *pflag.FlagSet) {
	fs.StringArrayVar(&s.lower, "lower", nil, "a read-only layer, `DIR`; repeated, up to 500, the first is the topmost")
	fs.StringVar(&s.upper, "upper", "", "`DIR` that takes the changes")
	fs.StringVar(&s.work, "work", "", "empty `DIR` on the mount of --upper, for the kernel's use")
	fs.StringVar(&s.state, "state", "", "keep the changes in `DIR`, which is made if missing, for its owner alone")
	fs.StringVar(&s.tmpfs, "tmpfs", "", "take changes in memory (the default), at most `SIZE`: 64M, 1G, 20%")
	fs.Lookup("tmpfs").NoOptDefVal = "50%"
	fs.BoolVar(&s.idmap, "idmap", false, "in a user namespace that root's chain makes: show files as belonging to the ids inside that are theirs on disk")
	fs.BoolVar(&s.volatile, "volatile", false, "never wait for the disk: faster, and after a crash the changes are lost")
	fs.StringArrayVar(&s.opts, "opt", nil, "a parameter for overlayfs, `KEY=VALUE`, as in its document: xino=off")
	fs.StringArrayVarP(&s.o, outputOption, "o", nil, "`OPTIONS` as for mount -t overlay -o: lowerdir=A:B,upperdir=C,workdir=D,ro; with --commit: the file to write")
	fs.StringVar(&s.diff, diffOption, "", "list what changed in `STATE`: A added, C changed, D deleted")
	fs.BoolVar(&s.json, jsonOption, false, "with --diff: one JSON object for each")
	fs.StringVar(&s.commit, commitOption, "", "write the changes in `STATE` as a layer of an OCI image, with the owners that the caller sees")
	fs.StringVar(&s.apply, applyOption, "", "unpack `LAYER`, a tar archive or - for standard input, over DIR, deletions included")
	fs.StringVar(&s.clean, cleanOption, "", "remove `STATE` and all changes in it")
}

// changes tells whether changes go to a directory, and not to a tmpfs.
func (s *stage) changes() bool { return s.upper != "" }

// read makes directories and parameters of the options.
func (s *stage) read() error {
	if s.isRead {
		return nil
	}
	s.isRead = true
	if err := s.readWords(); err != nil {
		return err
	}
	switch {
	case s.json:
		return errors.New("--json goes with --diff")
	case s.state != "" && (s.upper != "" || s.work != ""):
		return errors.New("--state holds an upper and a work directory itself: it excludes --upper and --work")
	case (s.upper == "") != (s.work == ""):
		return diag.WithHint(errors.New("--upper and --work belong together"), "the kernel wants a second, empty directory on the same mount as --upper")
	case s.upper != "" && s.tmpfs != "":
		return errors.New("--upper and --tmpfs exclude each other: changes go to one place")
	case s.state != "" && s.tmpfs != "":
		return errors.New("--state and --tmpfs exclude each other: changes go to one place")
	case s.volatile && s.upper == "" && s.state == "":
		return errors.New("--volatile is for changes on a disk: --state or --upper (a tmpfs is so anyway)")
	case s.plain && s.upper == "" && s.state == "" && s.tmpfs == "" && len(s.lower) == 1:
		return diag.WithHint(errors.New("a read-only overlay has two layers or more"), "for one directory: mount --bind -o ro")
	case (s.opts != nil || s.o != nil) && s.lower == nil && s.upper == "" && s.state == "":
		return errors.New("--opt and -o need --lower or --state: the view of the present root is made of several overlays")
	case s.tmpfs != "":
		if err := mount.CheckSize(s.tmpfs, true); err != nil {
			return fmt.Errorf("--tmpfs: %w", err)
		}
	case s.state != "":
		s.upper, s.work = s.state+"/"+upperName, s.state+"/"+workName
		s.plain = false
	}
	return nil
}

// overlay is what the options describe; without layers, of the present root.
func (s *stage) overlay(inUserNS bool) mount.Overlay {
	_, named := s.set("userxattr")
	o := mount.Overlay{UserXattr: inUserNS && !named, Options: s.parameters(inUserNS), Attr: s.attr, Devices: s.plain}
	r := newResolver()
	for _, l := range s.lower {
		o.Lower = append(o.Lower, r.absolute(l))
	}
	if o.Lower == nil {
		o.Lower = []string{"/"}
	}
	if s.changes() {
		o.Upper, o.Work = r.absolute(s.upper), r.absolute(s.work)
		if upper, err := r.real(s.upper); err == nil && !s.plain {
			o.Upper = upper // as --clean finds it again, whatever becomes of the links to it
		}
	}
	return o
}

// A change is what a word of mount(8)'s does to the attributes of a mount.
type change struct{ set, clear int }

const aTime = mount.NoATime | mount.StrictATime

// attributes are mount(8)'s words for attributes of a mount; the last one holds.
var attributes = map[string]change{
	"ro": {set: mount.ReadOnly}, "rw": {clear: mount.ReadOnly},
	"nosuid": {set: mount.NoSuid}, "suid": {clear: mount.NoSuid},
	"nodev": {set: mount.NoDev}, "dev": {clear: mount.NoDev},
	"noexec": {set: mount.NoExec}, "exec": {clear: mount.NoExec},
	"nosymfollow": {set: mount.NoSymFollow}, "symfollow": {clear: mount.NoSymFollow},
	"noatime": {mount.NoATime, aTime}, "strictatime": {mount.StrictATime, aTime}, "relatime": {clear: aTime},
	"atime": {clear: mount.NoATime}, "norelatime": {}, "nostrictatime": {clear: mount.StrictATime},
	"nodiratime": {set: mount.NoDirATime}, "diratime": {clear: mount.NoDirATime},
	"defaults": {clear: mount.ReadOnly | mount.NoSuid | mount.NoDev | mount.NoExec},
	"user":     {set: mount.NoExec | mount.NoSuid | mount.NoDev}, "users": {set: mount.NoExec | mount.NoSuid | mount.NoDev},
	"owner": {set: mount.NoSuid | mount.NoDev}, "group": {set: mount.NoSuid | mount.NoDev},
}

// forOthers are words of mount(8)'s and fstab(5)'s that are not for the kernel, or say
// nothing of an overlay.
var forOthers = []string{
	"auto", "noauto", "nouser", "nousers", "noowner", "nogroup", "_netdev", "nofail", "silent", "loud",
	"iversion", "noiversion", "async", "lazytime", "nolazytime",
}

func isForOthers(word string) bool {
	return slices.Contains(forOthers, word) || strings.HasPrefix(word, "x-") || strings.HasPrefix(word, "X-") || strings.HasPrefix(word, "comment=")
}

// readWords reads --opt and -o into s.
func (s *stage) readWords() error {
	for _, o := range s.opts {
		key, value, _ := strings.Cut(o, "=")
		if key == "" {
			return fmt.Errorf("--opt %q: no KEY=VALUE", o)
		}
		s.params = append(s.params, mount.Option{Key: key, Value: value})
	}
	for _, list := range s.o {
		for _, o := range split(list, ',') {
			if err := s.readWord(o); err != nil {
				return fmt.Errorf("-o %s: %w", o, err)
			}
		}
	}
	return nil
}

func (s *stage) readWord(o string) error {
	key, value, valued := strings.Cut(o, "=")
	switch change, ok := attributes[o]; {
	case ok:
		s.attr = s.attr&^change.clear | change.set
	case isForOthers(o):
	case key == "lowerdir":
		s.plain = true
		for _, l := range split(value, ':') {
			if l == "" {
				return diag.WithHint(errors.New("an empty layer"), "layers for data alone, after '::', are given one by one: --opt datadir+=DIR")
			}
			s.lower = append(s.lower, unescape(l))
		}
	case key == "lowerdir+":
		s.plain = true
		s.lower = append(s.lower, unescape(value))
	case key == "upperdir":
		s.upper = unescape(value)
	case key == "workdir":
		s.work = unescape(value)
	case key == "":
		return errors.New("no option")
	case valued:
		s.params = append(s.params, mount.Option{Key: key, Value: unescape(value)})
	default:
		s.params = append(s.params, mount.Option{Key: key})
	}
	return nil
}

// split splits s at a separator, unless a backslash stands before it. The backslashes stay.
func split(s string, at byte) []string {
	var all []string
	begin := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case at:
			all, begin = append(all, s[begin:i]), i+1
		}
	}
	return append(all, s[begin:])
}

// unescape takes a backslash before another character away.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// set tells whether the user gave a parameter, and what it is.
func (s *stage) set(key string) (value string, ok bool) {
	i := slices.IndexFunc(s.params, func(o mount.Option) bool { return o.Key == key })
	if i < 0 {
		return "", false
	}
	return s.params[i].Value, true
}

// contradictions finds what the kernel answers with a bare EINVAL.
func (s *stage) contradictions(inUserNS bool) error {
	metacopy, _ := s.set("metacopy")
	redirect, redirects := s.set("redirect_dir")
	_, userxattr := s.set("userxattr")
	follows := redirect == "on" || redirect == "follow"
	switch {
	case (userxattr || inUserNS) && metacopy == "on":
		return errors.New("metacopy=on and userxattr exclude each other: a user could forge what metacopy trusts (in a user namespace userxattr is always on)")
	case (userxattr || inUserNS) && follows:
		return fmt.Errorf("redirect_dir=%s and userxattr exclude each other: a user could forge what it trusts (in a user namespace userxattr is always on)", redirect)
	case metacopy == "on" && redirects && !follows:
		return fmt.Errorf("metacopy=on needs redirect_dir=on, not %s", redirect)
	}
	return nil
}

// parameters are what the kernel is told beside the layers.
func (s *stage) parameters(inUserNS bool) []mount.Option {
	all := slices.Clone(s.params)
	for i, o := range all {
		if o.Key == "datadir+" {
			all[i].Value = absolute(o.Value)
		}
	}
	add := func(key, value string) {
		if _, ok := s.set(key); !ok {
			all = append(all, mount.Option{Key: key, Value: value})
		}
	}
	if s.volatile {
		add("volatile", "")
	}
	if s.plain || !s.changes() {
		return all
	}
	// With index the kernel lets nobody else have the upper directory (EBUSY), for as long
	// as the overlay is mounted, and whoever mounts it.
	add("index", "on")
	if s.state != "" && !inUserNS {
		// What these leave in the upper directory is no layer by itself; in a user
		// namespace they are off.
		add("redirect_dir", "off")
		add("metacopy", "off")
	}
	return all
}
