package pivot

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/entry"
	"staves/lib/mount"
)

// places are the directories and files that are put into the new root, in the order in
// which they were given: one may lie in another.
type places struct {
	given []place
}

// A place is one --bind or --tmpfs.
type place struct{ option, arg string }

// placeValue is a --bind or --tmpfs as a flag.
type placeValue struct {
	to     *places
	option string
}

func (v placeValue) String() string { return "" }
func (v placeValue) Type() string   { return "string" }

func (v placeValue) Set(arg string) error {
	v.to.given = append(v.to.given, place{v.option, arg})
	return nil
}

func (p *places) options(fs *pflag.FlagSet) {
	fs.Var(placeValue{p, "bind"}, "bind", "show the host's SRC at DST: `SRC:DST[:WORD,...]`; words: ro, noexec, norec (not what is mounted beneath), suid, dev, idmap")
	fs.Var(placeValue{p, "tmpfs"}, "tmpfs", "an empty directory in memory at DST: `DST[:WORD,...]`; words: size=SIZE, mode=MODE, nr_inodes=N, noexec, suid, dev")
}

func (p *places) check(pl *plan) error {
	for _, g := range p.given {
		if _, err := g.find(pl); err != nil {
			return fmt.Errorf("--%s %s: %w", g.option, g.arg, err)
		}
	}
	return nil
}

// network are the files of this mount namespace that netbr has made for the container.
func network(pl *plan) (files []string) {
	for _, f := range []struct {
		fact chain.Fact
		file string
	}{{chain.Hosts, "/etc/hosts"}, {chain.Resolv, "/etc/resolv.conf"}} {
		if pl.chain.Has(f.fact, pl.link) {
			files = append(files, f.file)
		}
	}
	return files
}

func (p *places) steps(pl *plan) {
	for _, file := range network(pl) {
		d := mount.Bind{Source: file, Target: file, Attr: mount.NoSuid | mount.NoDev | mount.NoExec}
		pl.do("bind "+file, "names of the network that netbr has made", "move_mount(2)", func(b *entry.Builder) error {
			d.Place(b, pl.root, d.Copy(b))
			return nil
		})
	}
	for _, g := range p.given {
		why, man := "a directory of the host, for the program to use", "move_mount(2)"
		if g.option == "tmpfs" {
			why, man = "what is written there is gone with the last process", "tmpfs(5)"
		}
		pl.do(g.option+" "+g.arg, why, man, func(b *entry.Builder) error {
			put, err := g.find(pl)
			if err == nil {
				put(b, pl.root)
			}
			return err
		})
	}
}

// find reads the value, looks at the source of a bind, and returns what puts it into a root.
func (g place) find(pl *plan) (func(b *entry.Builder, root *mount.Tree), error) {
	if g.option == "tmpfs" {
		t, err := parseTmpfs(g.arg)
		return func(b *entry.Builder, root *mount.Tree) { t.Place(b, root) }, err
	}
	d, err := parseBind(g.arg)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Stat(d.Source, &st); err != nil {
		return nil, chain.PathError("use", d.Source, err)
	}
	d.Dir = st.Mode&unix.S_IFMT == unix.S_IFDIR
	if d.Dir && pl.kernel.proc != "none" && (d.Target == "/proc" || strings.HasPrefix(d.Target, "/proc/")) {
		return nil, errors.New("it would cover what --proc mounts, and programs trust; over a file of it, or with --proc=none, it is possible")
	}
	if d.Mapped && pl.top.idmap == nil && pl.top.bindIDMap == nil {
		return nil, errors.New("idmap is by the map of --bind-idmap, which is missing")
	}
	return func(b *entry.Builder, root *mount.Tree) {
		if d.UserNS = pl.userNS; pl.top.bindIDMap != nil {
			d.UserNS = pl.bindUserNS
		}
		d.Place(b, root, d.Copy(b))
	}, nil
}

// parseBind reads SRC:DST[:WORD,...].
func parseBind(arg string) (mount.Bind, error) {
	f := split(arg)
	d := mount.Bind{Attr: mount.NoSuid | mount.NoDev}
	if len(f) < 2 || len(f) > 3 || f[0] == "" {
		return d, errors.New(`write SRC:DST or SRC:DST:ro (a colon in a path: \:)`)
	}
	d.Source = f[0]
	var err error
	if d.Target, err = target(f[1]); err != nil || len(f) == 2 {
		return d, err
	}
	for _, word := range strings.Split(f[2], ",") {
		switch word {
		case "rec":
			d.Alone = false
		case "norec":
			d.Alone = true
		case "idmap":
			d.Mapped = true
		default:
			if !attribute(&d.Attr, word) {
				return d, fmt.Errorf("%q is none of ro, rw, rec, norec, suid, nosuid, dev, nodev, exec, noexec, idmap", word)
			}
		}
	}
	return d, nil
}

// parseTmpfs reads DST[:WORD,...].
func parseTmpfs(arg string) (mount.Tmpfs, error) {
	f := split(arg)
	t := mount.Tmpfs{Like: true}
	if len(f) > 2 {
		return t, errors.New(`write DST or DST:size=64M (a colon in a path: \:)`)
	}
	var err error
	if t.Target, err = target(f[0]); err != nil {
		return t, err
	}
	attr := uint64(mount.NoSuid | mount.NoDev)
	for _, word := range f[1:] {
		for _, word := range strings.Split(word, ",") {
			key, value, _ := strings.Cut(word, "=")
			var err error
			switch key {
			case "size":
				err = mount.CheckSize(value, true)
			case "mode":
				_, err = strconv.ParseUint(value, 8, 12)
				t.Like = false
			case "nr_inodes":
				_, err = strconv.ParseUint(value, 10, 32)
			default:
				if !attribute(&attr, word) {
					return t, fmt.Errorf("%q is none of size=SIZE, mode=MODE, nr_inodes=N, suid, dev, noexec", word)
				}
				continue
			}
			var num *strconv.NumError
			if errors.As(err, &num) {
				err = fmt.Errorf("%s=%s: %w", key, value, num.Err)
			}
			if err != nil {
				return t, err
			}
			t.Opts = append(t.Opts, mount.Option{Key: key, Value: value})
		}
	}
	t.Attr = int(attr)
	return t, nil
}

// attribute sets in attr what a word says, as mount(8) names it; false if it says nothing.
func attribute(attr *uint64, word string) bool {
	on := map[string]uint64{"ro": mount.ReadOnly, "nosuid": mount.NoSuid, "nodev": mount.NoDev, "noexec": mount.NoExec}
	off := map[string]uint64{"rw": mount.ReadOnly, "suid": mount.NoSuid, "dev": mount.NoDev, "exec": mount.NoExec}
	*attr = (*attr | on[word]) &^ off[word]
	return on[word]|off[word] != 0
}

// target reads a path in the new root.
func target(text string) (string, error) {
	dst := path.Clean(text)
	if !strings.HasPrefix(text, "/") || dst == "/" {
		return "", fmt.Errorf("DST is an absolute path below the new root, not %q", text)
	}
	return dst, nil
}

// split cuts text at colons that no backslash stands before, and takes those backslashes
// away; one before any other character is itself.
func split(text string) []string {
	f := []string{""}
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == ':':
			f = append(f, "")
			continue
		case text[i] == '\\' && i+1 < len(text) && text[i+1] == ':':
			i++
		}
		f[len(f)-1] += text[i : i+1]
	}
	return f
}
