package overlay

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/entry"
	"staves/lib/layer"
	"staves/lib/mount"
)

const (
	diffOption   = "diff"
	commitOption = "commit"
	applyOption  = "apply"
	cleanOption  = "clean"
	jsonOption   = "json"
	outputOption = "options"
)

// Admin: what manages a state directory, or a layer.
func (s *stage) Admin(fs *pflag.FlagSet) func(words []string) error {
	var given []string
	for _, name := range []string{diffOption, commitOption, applyOption, cleanOption} {
		if fs.Changed(name) {
			given = append(given, name)
		}
	}
	if len(given) == 0 {
		return nil
	}
	return func(words []string) error {
		entry.Collect()
		if len(given) > 1 {
			return fmt.Errorf("--%s and --%s exclude each other", given[0], given[1])
		}
		allowed := map[string]string{diffOption: jsonOption, commitOption: outputOption}[given[0]]
		var other error
		fs.Visit(func(f *pflag.Flag) {
			if f.Name != given[0] && f.Name != allowed {
				other = fmt.Errorf("--%s and --%s do not go together", given[0], f.Name)
			}
		})
		if other != nil {
			return other
		}
		if given[0] == applyOption {
			if len(words) != 1 {
				return errors.New("--apply LAYER wants one DIR after it")
			}
			return apply(s.apply, words[0])
		}
		if len(words) > 0 {
			return fmt.Errorf("--%s takes one directory, and no program", given[0])
		}
		switch given[0] {
		case diffOption:
			return diff(s.diff, s.json)
		case commitOption:
			return commit(s.commit, s.o)
		}
		return clean(s.clean)
	}
}

// upperOf is the upper directory of a state.
func upperOf(state string) (string, error) {
	for _, name := range []string{upperName, workName} {
		err := directory(filepath.Join(state, name))
		if errors.Is(err, unix.ENOENT) && directory(state) == nil {
			return "", diag.WithHint(fmt.Errorf("%s is no state of an overlay: it has no directory %s", state, name), "a state is what 'overlay --state DIR' keeps its changes in")
		}
		if err != nil {
			return "", chain.PathError("use", state, err)
		}
	}
	return filepath.Join(state, upperName), nil
}

// readable gives an error of looking into a state its likely cause.
func readable(state string, err error) error {
	if errors.Is(err, unix.EACCES) {
		return diag.WithHint(err, "as in the user namespace that made them: nsrun -U --map-auto -- env overlay ... "+state, "with no range of ids of your own, and so no files of other users: nsrun -U -r -- env overlay ... "+state)
	}
	return err
}

var letters = map[layer.Kind]string{layer.Added: "A", layer.Changed: "C", layer.Deleted: "D"}

// diff prints what changed, one line each.
func diff(state string, json bool) error {
	upper, err := upperOf(state)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	err = layer.Changes(upper, func(c layer.Change) error {
		var err error
		if json {
			_, err = fmt.Fprintf(out, `{"change":%q,"path":%s,"type":%q,"hides":%t}`+"\n", c.Kind, quote(c.Path), c.Type, c.Hides)
		} else {
			path := c.Path
			if strings.ContainsFunc(path, func(r rune) bool { return !strconv.IsPrint(r) }) {
				path = strconv.Quote(path)
			}
			_, err = fmt.Fprintf(out, "%s %s\n", letters[c.Kind], path)
		}
		return err
	})
	if err != nil {
		return readable(state, err)
	}
	return out.Flush()
}

// quote is s as a string of JSON. Bytes that are no UTF-8 become U+FFFD, as they have no
// place there.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// commit writes a state as a layer.
func commit(state string, to []string) error {
	upper, err := upperOf(state)
	if err != nil {
		return err
	}
	if len(to) > 1 {
		return errors.New("--commit writes to one file: -o FILE")
	}
	if len(to) == 0 || to[0] == "-" {
		return pack(state, upper, os.Stdout)
	}
	return packTo(state, upper, to[0])
}

// pack writes the layer to a file that is open.
func pack(state, upper string, to *os.File) error {
	if _, err := unix.IoctlGetTermios(int(to.Fd()), unix.TCGETS); err == nil {
		return errors.New("a layer is no text for a terminal: -o FILE, or a pipe")
	}
	out := bufio.NewWriterSize(to, 1<<20)
	if err := layer.Pack(upper, out); err != nil {
		return readable(state, err)
	}
	return out.Flush()
}

// packTo writes the layer to what has a name. A file is there complete, or not at all; what
// is no file (a pipe, a device) is written to, and stays what it is.
func packTo(state, upper, name string) error {
	fail := func(err error) error { return fmt.Errorf("write %s: %w", name, cause(err)) }
	path, err := newResolver().real(name)
	if err != nil {
		path = name
	}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, unix.ENOENT):
	case err != nil:
		return fail(err)
	default:
		if out, err := os.Stdout.Stat(); err == nil && os.SameFile(info, out) {
			return pack(state, upper, os.Stdout) // /dev/stdout, wherever that leads
		}
		there, err := os.Stat(path)
		if !info.Mode().IsRegular() || err != nil || !os.SameFile(info, there) {
			file, err := os.OpenFile(name, os.O_WRONLY, 0)
			if err != nil {
				return fail(err)
			}
			return errors.Join(pack(state, upper, file), file.Close())
		}
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".overlay-*")
	if err != nil {
		return fail(err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if err := pack(state, upper, file); err != nil {
		return err
	}
	old := unix.Umask(0)
	unix.Umask(old)
	err = errors.Join(file.Chmod(os.FileMode(0o666&^old)), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// cause is the errno of an error of package os, which names the path in its own way.
func cause(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// apply unpacks a layer, and says what of it this user may not make.
func apply(from, dir string) error {
	if err := directory(dir); err != nil {
		return chain.PathError("use", dir, err)
	}
	var in io.Reader = os.Stdin
	if from != "-" {
		f, err := os.Open(from)
		if err != nil {
			return chain.PathError("open", from, cause(err))
		}
		defer f.Close()
		in = f
	}
	lost, err := layer.Apply(dir, in, layer.Tree)
	var foreign *layer.CompressedError
	switch {
	case errors.As(err, &foreign):
		return diag.WithHint(err, foreign.Program+" -dc "+from+" | overlay --apply - "+dir)
	case err != nil:
		return err
	}
	for _, l := range []struct {
		n    int
		what string
	}{
		{lost.Owners, "files belong to you instead of their owners"},
		{lost.Devices, "devices were left out"},
		{lost.Xattrs, "attributes, such as file capabilities, were left out"},
	} {
		if l.n > 0 {
			fmt.Fprintf(os.Stderr, "overlay: not root: %d %s\n", l.n, l.what)
		}
	}
	return nil
}

// clean removes a state that is in no use.
func clean(state string) error {
	if to, err := os.Readlink(strings.TrimRight(state, "/")); err == nil {
		return diag.WithHint(fmt.Errorf("%s is a symbolic link, to %s: name the state itself", state, to), "readlink -f "+state+" prints its path")
	}
	upper, err := upperOf(state)
	if err != nil {
		return err
	}
	names, err := os.ReadDir(state)
	if err != nil {
		return chain.PathError("list", state, cause(err))
	}
	for _, n := range names {
		if n.Name() != upperName && n.Name() != workName {
			return fmt.Errorf("%s holds %s as well: that is no state's, and not removed", state, n.Name())
		}
	}
	path, err := newResolver().real(state)
	if err != nil {
		return chain.PathError("use", upper, cause(err))
	}
	switch pid, used := mount.UpperInUse(filepath.Join(path, upperName), filepath.Join(path, workName)); {
	case pid != 0:
		return diag.WithHint(fmt.Errorf("%s is in use: it is mounted where process %d runs", state, pid), fmt.Sprintf("end that container first: ps %d; or if it is mounted on the host, umount it", pid))
	case used:
		return diag.WithHint(fmt.Errorf("%s is in use: an overlay has it", state), "end that container first; it was started by another path")
	}
	return layer.Remove(path)
}
