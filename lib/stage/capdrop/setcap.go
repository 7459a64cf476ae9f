package capdrop

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"staves/lib/caps"
	"staves/lib/diag"
	"staves/lib/entry"
)

const setcapHelp = `usage: setcap [OPTIONS] CAPS FILE [CAPS FILE]...
Give files capabilities, which who executes them gets. CAPS is a text like
cap_net_raw=ep (cap_text_formats(7)), - for one on standard input, -r for none at all.

  -n USER     let them hold in user namespaces alone whose root is USER, outside
  -v          change nothing: compare what the files have
  -q          be quiet about that
  -f          it is no failure that -r has nothing to do
  --license   print the version
  -h          print this and exit
`

// setcapper is setcap: words that are read in order.
type setcapper struct {
	out                  io.Writer
	verify, quiet, force bool
	rootID               uint32
}

func setcap(words []string, out io.Writer, _ func(error)) error {
	s := setcapper{out: out}
	next := func(what string) (w string, err error) {
		if len(words) == 0 {
			return "", usage("setcap", errors.New(what+" is missing"))
		}
		w, words = words[0], words[1:]
		return w, nil
	}
	text, err := next("a text of capabilities")
	for ; err == nil; text, words = words[0], words[1:] {
		switch text {
		case "-h", "--help":
			_, err = io.WriteString(out, setcapHelp)
			return err
		case "--license":
			return version(out, "setcap")
		case "-q":
			s.quiet = true
		case "-v":
			s.verify = true
		case "-f":
			s.force = true
		case "-n":
			if text, err = next("the user after -n"); err != nil {
				return err
			}
			id, err := strconv.ParseUint(text, 10, 32)
			if err != nil || id == 0 || id == 1<<32-1 {
				return usage("setcap", fmt.Errorf("-n: %q is no user id above 0", text))
			}
			s.rootID = uint32(id)
		default:
			var path string
			if path, err = next("the file to give " + text + " to"); err != nil {
				return err
			}
			if err = s.file(text, path); err != nil {
				return err
			}
		}
		if len(words) == 0 {
			return nil
		}
	}
	return err
}

// file does what text asks for with one file.
func (s *setcapper) file(text, path string) error {
	var f *caps.File
	if text != "-r" {
		if text == "-" {
			b, err := readCaps(os.Stdin)
			if err != nil {
				return err
			}
			text = b
		}
		sets, err := caps.ParseText(text)
		if err != nil {
			return usage("setcap", err)
		}
		f = &caps.File{Sets: sets, RootID: s.rootID}
	}
	if s.verify {
		return s.compare(path, f)
	}
	if err := raise(caps.SETFCAP); err != nil {
		return err
	}
	err := caps.WriteFile(path, f)
	switch {
	case f == nil && errors.Is(err, unix.ENODATA) && s.force:
		return nil
	case f == nil && errors.Is(err, unix.ENODATA):
		return fmt.Errorf("%s has no capabilities that could be removed: %w", path, err)
	case errors.Is(err, unix.EPERM):
		return diag.WithHint(err, "giving a file capabilities needs CAP_SETFCAP over it: root, or in a user namespace (nsrun -U -r) a file of its users")
	case errors.Is(err, unix.EOPNOTSUPP):
		return diag.WithHint(err, "the file system there keeps no capabilities: see findmnt -T "+path)
	}
	return err
}

// readCaps reads a text of capabilities, up to an empty line.
func readCaps(in io.Reader) (string, error) {
	const most = 2 << 10
	b := make([]byte, most)
	n := 0
	for n < most {
		m, err := in.Read(b[n:])
		if err == io.EOF || m > 0 && b[n] == '\n' {
			break
		}
		if err != nil {
			return "", fmt.Errorf("read a text of capabilities: %w", err)
		}
		n += m
	}
	return string(b[:n]), nil
}

// compare says whether a file has what f says, and fails if it has not.
func (s *setcapper) compare(path string, f *caps.File) error {
	var want caps.File
	if f != nil {
		want = *f
	}
	is, err := caps.ReadFile(path)
	if err != nil {
		is = caps.File{} // as good as none
	}
	differs := ""
	for _, set := range []struct {
		letter   string
		is, want caps.Set
	}{
		{"p", is.Permitted, want.Permitted},
		{"i", is.Inheritable, want.Inheritable},
		{"e", is.Effective, want.Effective},
	} {
		if set.is != set.want {
			differs += set.letter
		}
	}
	line, answer := path+": OK\n", error(nil)
	if differs != "" || is.RootID != want.RootID {
		line = fmt.Sprintf("%s differs in [%s]\n", path, differs)
		if is.RootID != want.RootID {
			line = fmt.Sprintf("nsowner[got=%d, want=%d],%s", is.RootID, want.RootID, line)
		}
		answer = errNo
	}
	if !s.quiet {
		if _, err := io.WriteString(s.out, line); err != nil {
			return err
		}
	}
	return answer
}

// raise makes capability n effective, if it is permitted.
func raise(n int) error {
	now, err := caps.Of(0)
	if err != nil || now.Effective.Has(n) || !now.Permitted.Has(n) {
		return err
	}
	var b entry.Builder
	caps.SetThread(&b, now.Permitted, now.Effective|1<<n, now.Inheritable)
	return b.Run()
}
