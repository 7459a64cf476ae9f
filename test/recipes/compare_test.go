// Package recipes runs scripts/recipes/compare: what docs/recipes.md shows of the recipes
// is what they do, but for times, which no test is about.
package recipes

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"staves/lib/testkit"
)

// facts are the columns of a row that are the same on every machine: whose row it is, how
// many lines, what is isolated. ("" and "" stand around the outer bars.)
func facts(row string) string {
	f := strings.Split(row, "|")
	if len(f) != 11 {
		return ""
	}
	return strings.Join([]string{f[1], f[2], f[3], f[7], f[8]}, "|")
}

func TestCompare(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedExec(t, "bash", "busybox", "strace", "ip", "cgexec", "capsh")
	testkit.Check(t)
	root := testkit.Root()
	text, err := os.ReadFile(filepath.Join(root, "docs/recipes.md"))
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		shown[facts(line)] = true
	}
	cmd := exec.Command(filepath.Join(root, "scripts/recipes/compare"), "-n", "1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	rows := 0
	for line := range strings.Lines(string(out)) {
		if rows++; facts(line) == "" || !shown[facts(line)] {
			t.Errorf("docs/recipes.md has no such row:\n%s", line)
		}
	}
	if rows < 2+8 {
		t.Errorf("%d lines, too few:\n%s", rows, out)
	}
}
