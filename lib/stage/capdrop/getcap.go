package capdrop

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/caps"
	"staves/lib/chain"
	"staves/lib/entry"
)

const getcapHelp = `usage: getcap [OPTIONS] FILE...
Print the capabilities of files. A file that has none is left out; "=" says that it has
an empty set, which takes the ambient capabilities of who executes it.

  -n, --rootid      print whose user namespaces they hold in, where it is not the first
  -r, --recursive   print those of all files beneath a directory
  -v, --verbose     leave no file out
  -l, --license     print the version
  -h, --help        print this and exit
`

var getcapOpts = []chain.Opt{
	{Long: "rootid", Short: 'n'},
	{Long: "recursive", Short: 'r'},
	{Long: "verbose", Short: 'v'},
	{Long: "license", Short: 'l'},
	{Long: "help", Short: 'h'},
}

// getcap prints the capabilities of files. That one of them cannot be read is no failure.
func getcap(words []string, out io.Writer, warn func(error)) error {
	given, files, err := chain.Getopt(words, getcapOpts, true)
	if err != nil {
		return usage("getcap", err)
	}
	on := map[byte]bool{}
	for _, g := range given {
		switch g.Short {
		case 'h':
			_, err := io.WriteString(out, getcapHelp)
			return err
		case 'l':
			return version(out, "getcap")
		}
		on[g.Short] = true
	}
	if len(files) == 0 {
		return usage("getcap", errors.New("no file is named"))
	}
	if on['r'] {
		entry.Collect()
	}
	p := filePrinter{out: out, warn: warn, verbose: on['v'], rootID: on['n']}
	for _, name := range files {
		info, err := os.Lstat(name)
		switch {
		case err != nil:
			warn(err)
			err = nil
		case on['r']:
			err = p.tree(name, info.Mode())
		default:
			err = p.print(name, info.Mode().IsRegular())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// filePrinter prints a line for each file. Its methods fail only where nothing can be
// printed.
type filePrinter struct {
	out             io.Writer
	warn            func(error)
	verbose, rootID bool
}

// tree prints what lies at path and beneath it, with paths that begin like it.
func (p *filePrinter) tree(path string, mode fs.FileMode) error {
	// All but directories and links can have capabilities, in name.
	if err := p.print(path, mode&(fs.ModeDir|fs.ModeSymlink) == 0); err != nil || !mode.IsDir() {
		return err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		p.warn(err)
	}
	for _, e := range entries {
		if err := p.tree(strings.TrimSuffix(path, "/")+"/"+e.Name(), e.Type()); err != nil {
			return err
		}
	}
	return nil
}

func (p *filePrinter) print(path string, file bool) error {
	if !file {
		return p.line(false, "%s (Not a regular file)\n", path)
	}
	f, err := caps.ReadFile(path)
	switch {
	case errors.Is(err, unix.ENODATA):
		return p.line(false, "%s\n", path)
	case err != nil:
		p.warn(err)
		return nil
	case p.rootID && f.RootID != 0:
		return p.line(true, "%s %s [rootid=%d]\n", path, f.Sets, f.RootID)
	}
	return p.line(true, "%s %s\n", path, f.Sets)
}

// line prints a line, if it is one that says something or all are wanted.
func (p *filePrinter) line(says bool, format string, args ...any) error {
	if !says && !p.verbose {
		return nil
	}
	_, err := fmt.Fprintf(p.out, format, args...)
	return err
}
