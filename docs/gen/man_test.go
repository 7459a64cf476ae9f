package main

import (
	"encoding/xml"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"staves/lib/stages"
	"staves/lib/testkit"
)

func TestManualsHaveTheOptions(t *testing.T) {
	if err := manuals("../man", true); err != nil {
		t.Error(err)
	}
}

func TestPicturesAreDrawnFromTheirTexts(t *testing.T) {
	if err := pictures("../pictures", true); err != nil {
		t.Error(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"chain", "session"} {
		if err := os.WriteFile(filepath.Join(dir, name+".txt"), []byte("# a <b>\n& c\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if pictures(dir, true) == nil {
		t.Error("pictures that are not there are found up to date")
	}
	if err := pictures(dir, false); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"chain", "session"} {
		svg, err := os.Open(filepath.Join(dir, name+".svg"))
		if err != nil {
			t.Fatal(err)
		}
		defer svg.Close()
		for d := xml.NewDecoder(svg); ; {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s.svg is no XML: %v", name, err)
			}
		}
	}
}

// An option that is named outside of the list is one of the program's, or one of another
// program that is named beside it.
func TestManualsNameNoOtherOptions(t *testing.T) {
	long := regexp.MustCompile(`Fl -([a-z][a-z-]+)`)
	for _, tool := range stages.All {
		table := tool.Options()
		for _, line := range strings.Split(page(t, tool.Name+".1"), "\n") {
			if !strings.HasPrefix(line, ".") {
				continue
			}
			for _, m := range long.FindAllStringSubmatch(line, -1) {
				if table.Lookup(m[1]) == nil {
					t.Errorf("%s.1: %s: no option of %s", tool.Name, line, tool.Name)
				}
			}
		}
	}
}

func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../man", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestManualsAreSound(t *testing.T) {
	pages, err := filepath.Glob("../man/*.[0-9]")
	if err != nil || len(pages) != len(stages.All)+1 {
		t.Fatalf("%d manual pages: %v", len(pages), err)
	}
	heading := regexp.MustCompile(`^\.S[hs].* (A[dnprt]|B[qx]|D[oqv]|E[mrv]|F[alntx]|I[cn]|L[ik]|M[est]|N[dmosx]|O[px]|P[afq]|Q[lq]|S[qxy]|T[an]|Ux|V[at]|Xr)\s`)
	own := regexp.MustCompile(`^\.Xr (` + strings.Join(testkit.Tools, "|") + `|chain) ([0-9])`)
	for _, p := range pages {
		text := page(t, filepath.Base(p))
		for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "EXAMPLES", "DIAGNOSTICS", "SEE ALSO", "CAVEATS"} {
			if !strings.Contains(text, ".Sh "+section+"\n") {
				t.Errorf("%s: no %s", p, section)
			}
		}
		for line := range strings.Lines(text) {
			if macro := heading.FindString(line); macro != "" {
				t.Errorf("%s: %s: mdoc(7) takes a word of it for a macro: \\&", p, strings.TrimSpace(line))
			}
			if m := own.FindStringSubmatch(line); m != nil && !slices.Contains(pages, "../man/"+m[1]+"."+m[2]) {
				t.Errorf("%s: %s: there is no such page", p, line)
			}
		}
		t.Run(filepath.Base(p), func(t *testing.T) {
			testkit.NeedExec(t, "mandoc")
			// Which pages of others are installed, and in mandoc's index, is this machine's affair.
			out, _ := exec.Command("mandoc", "-Tlint", p).Output()
			for line := range strings.Lines(string(out)) {
				if !strings.Contains(line, "referenced manual not found") {
					t.Error(line)
				}
			}
		})
	}
}

func TestWithOptions(t *testing.T) {
	table := pflag.NewFlagSet("x", pflag.ContinueOnError)
	table.SortFlags = false
	table.StringP("size", "s", "1M", "be of `SIZE`: as in '-s 2M'")
	table.Bool("dry", false, "do nothing")
	table.String("signal", "", "end by `SIGNAL`")
	table.Lookup("signal").NoOptDefVal = "KILL"
	const head, tail = ".Sh OPTIONS\n" + beginMark + "\n", endMark + "\n.Sh MORE\n"
	const kept = ".Pp\nBy hand:\n.Bl -tag\n.It Fl z\n.El\n"
	want := head + `.Bl -tag -width Ds
.It Fl s , Fl -size Ar SIZE
Be of SIZE: as in \(aq\-s 2M\(aq.
The default is 1M.
` + kept + `.It Fl -dry
Do nothing.
.It Fl -signal Ns Op Ns = Ns Ar SIGNAL
End by SIGNAL.
Without a value: KILL.
.El
` + tail
	old := head + ".Bl -tag -width Ds\n.It Fl -size Ar SIZE\nOld.\n" + kept + ".El\n" + tail
	for _, page := range []string{old, want} {
		if got, err := withOptions(page, table); err != nil || got != want {
			t.Errorf("%v\n%s\nnot\n%s", err, got, want)
		}
	}
	gone := strings.ReplaceAll(old, "Fl -size", "Fl -length")
	if _, err := withOptions(gone, table); err == nil {
		t.Error("text about an option that is gone is dropped without a word")
	}
	if _, err := withOptions("no marks", table); err == nil {
		t.Error("a page without marks is taken")
	}
}
