// Package house holds the rules of the project's layout, as tests: which way imports
// go, what every package says about itself, what no chain may use.
package house

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"staves/lib/testkit"
)

// file is a Go file of the project.
type file struct {
	dir  string // from the project's root: "lib/ns"
	name string
	test bool
	src  []byte
	ast  *ast.File
}

func files(t *testing.T) []file {
	t.Helper()
	root := testkit.Root()
	fset := token.NewFileSet()
	var all []file
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if n := d.Name(); p != root && (n == "testdata" || strings.HasPrefix(n, ".")) {
				return fs.SkipDir
			}
			return nil
		case !strings.HasSuffix(p, ".go"):
			return nil
		}
		src, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		tree, err := parser.ParseFile(fset, p, src, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		all = append(all, file{
			dir: filepath.Dir(rel), name: rel, test: strings.HasSuffix(p, "_test.go"), src: src, ast: tree,
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("only %d Go files found in %s", len(all), root)
	}
	return all
}

func (f *file) imports() []string {
	var paths []string
	for _, i := range f.ast.Imports {
		p, _ := strconv.Unquote(i.Path.Value) // the parser has read it
		paths = append(paths, p)
	}
	return paths
}

// layer is how high a package stands: it may import what stands lower. -1 is outside
// of the order.
func layer(dir string) int {
	switch {
	case strings.HasPrefix(dir, "cmd/"), strings.HasPrefix(dir, "libexec/"):
		return 6
	case dir == "lib/stages":
		return 5
	case strings.HasPrefix(dir, "lib/stage/"):
		return 4
	case dir == "lib/chain":
		return 2 // may use the three below it; a mechanism may not use it
	case dir == "lib/entry", dir == "lib/diag", dir == "lib/probe":
		return 1
	case strings.HasPrefix(dir, "lib/"):
		return 3 // a mechanism
	}
	return -1
}

// mayImport is the order of the layout: cmd, stages, stage/*, the mechanisms, then chain,
// entry, diag and probe.
func mayImport(from, to string) bool {
	a, b := layer(from), layer(to)
	switch {
	case a < 0:
		return true // tests
	case b < 0 || to == "lib/testkit":
		return false
	case a == 3 && to == "lib/chain":
		return false // a mechanism is of use without the engine
	case a == b:
		return a == 3 || a == 1 // a mechanism may use another; a stage may not
	}
	return a > b
}

func TestImportsGoDown(t *testing.T) {
	for _, f := range files(t) {
		for _, p := range f.imports() {
			to, ok := strings.CutPrefix(p, "staves/")
			if !ok || f.test || f.dir == "lib/testkit" {
				continue
			}
			if !mayImport(f.dir, to) {
				t.Errorf("%s imports %s: imports go down, no stage imports a stage, no mechanism the engine", f.name, p)
			}
		}
	}
}

func TestMayImport(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"cmd/nsrun", "lib/stages", true},
		{"lib/stages", "lib/stage/nsrun", true},
		{"lib/stage/nsrun", "lib/ns", true},
		{"lib/stage/nsrun", "lib/chain", true},
		{"lib/ns", "lib/entry", true},
		{"lib/chain", "lib/diag", true},
		{"lib/stage/nsrun", "lib/stage/cgset", false},
		{"lib/ns", "lib/chain", false},
		{"lib/ns", "lib/stage/nsrun", false},
		{"lib/chain", "lib/ns", false},
		{"lib/entry", "lib/chain", false},
		{"lib/ns", "lib/testkit", false},
		{"cmd/nsrun", "test/report", false},
	} {
		if got := mayImport(c.from, c.to); got != c.want {
			t.Errorf("%s imports %s: %v, want %v", c.from, c.to, got, c.want)
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	said := map[string]string{}
	for _, f := range files(t) {
		if f.test && path.Base(f.dir) != f.ast.Name.Name && !strings.HasPrefix(f.dir, "test/") {
			continue // an external test package
		}
		said[f.dir] += f.ast.Doc.Text()
	}
	for dir, text := range said {
		if text == "" {
			t.Errorf("%s: no package comment", dir)
		}
	}
}

// The first os/exec in a process may take process id 1 of a new pid namespace for a
// probe of its own, and what it starts belongs to no chain.
func TestNoExecInChains(t *testing.T) {
	for _, f := range files(t) {
		if f.test || !strings.HasPrefix(f.dir, "lib/") || f.dir == "lib/testkit" {
			continue
		}
		for _, p := range f.imports() {
			if p == "os/exec" {
				t.Errorf("%s imports os/exec", f.name)
			}
		}
	}
}

// What testkit.Bin makes is there until somebody calls Cleanup.
func TestBinariesAreRemoved(t *testing.T) {
	makes, removes := map[string]bool{}, map[string]bool{}
	for _, f := range files(t) {
		if f.dir != "lib/testkit" && f.dir != "test/house" {
			makes[f.dir] = makes[f.dir] || bytes.Contains(f.src, []byte("testkit.Bin()"))
			removes[f.dir] = removes[f.dir] || bytes.Contains(f.src, []byte("testkit.Cleanup()"))
		}
	}
	for dir := range makes {
		if makes[dir] && !removes[dir] {
			t.Errorf("%s: its TestMain does not call testkit.Cleanup", dir)
		}
	}
}

func TestEveryFileIsFormatted(t *testing.T) {
	for _, f := range files(t) {
		if want, err := format.Source(f.src); err != nil || !bytes.Equal(f.src, want) {
			t.Errorf("%s is not gofmt'ed (%v)", f.name, err)
		}
	}
}
