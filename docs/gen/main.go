// Gen writes what follows from the programs' option tables and from texts, so that it
// need not be kept in step by hand:
//
//	gen docs [-check]       the OPTIONS of docs/man/TOOL.1, between two marks, and what
//	                        docs/pictures has drawn from texts
//	gen completion DIR      completions for bash, zsh and fish, below DIR as in /usr/share
//
// It is run by make, in the project's directory. With -check it changes nothing, and ends
// with status 1 if a file is not as it would write it.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"staves/lib/stages"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "docs", len(args) == 2 && args[0] == "docs" && args[1] == "-check":
		check := len(args) == 2
		return errors.Join(manuals("docs/man", check), pictures("docs/pictures", check))
	case len(args) == 2 && args[0] == "completion":
		return completions(args[1])
	}
	return errors.New("usage: gen docs [-check] | gen completion DIR")
}

// manuals writes the options into the pages of a directory, or finds the pages that lack them.
func manuals(dir string, check bool) error {
	var stale []error
	for _, t := range stages.All {
		file := filepath.Join(dir, t.Name+".1")
		old, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		page, err := withOptions(string(old), t.Options())
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		switch {
		case bytes.Equal(old, []byte(page)):
		case check:
			stale = append(stale, fmt.Errorf("%s: the options are not those of %s --help: make docs", file, t.Name))
		default:
			if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
				return err
			}
		}
	}
	return errors.Join(stale...)
}
