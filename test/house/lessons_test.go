package house

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"staves/lib/testkit"
)

// Lessons are numbered without a gap; each has a test, and a line in their index that
// names what it misses where that is not there.
func TestLessons(t *testing.T) {
	root := testkit.Root()
	list, err := exec.Command(filepath.Join(root, "scripts/lesson"), "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(filepath.Join(root, "docs/lessons.md"))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^ *(\d+) +(\S+) +(anyone|root) +(.+)$`)
	need := regexp.MustCompile(`(?m)^need (\S+)`)
	found := 0
	for l := range strings.Lines(string(list)) {
		found++
		f := line.FindStringSubmatch(strings.TrimSuffix(l, "\n"))
		if f == nil || f[1] != fmt.Sprint(found) {
			t.Errorf("lesson %d: the list has %q", found, l)
			continue
		}
		if _, err := os.Stat(filepath.Join(root, "test/cli/testdata/lesson-"+f[2]+".txtar")); err != nil {
			t.Error(err)
		}
		text, err := os.ReadFile(filepath.Join(root, "scripts/lessons", f[2]))
		if err != nil {
			t.Error(err)
		}
		var programs []string
		for _, m := range need.FindAllStringSubmatch(string(text), -1) {
			programs = append(programs, m[1])
		}
		if programs == nil {
			programs = []string{"-"}
		}
		want := fmt.Sprintf("| %s | [%s](../scripts/lessons/%s) | %s | %s | %s |\n", f[1], f[2], f[2], f[4], f[3], strings.Join(programs, ", "))
		if !strings.Contains(string(index), want) {
			t.Errorf("docs/lessons.md has no line\n%s", want)
		}
	}
	files, err := os.ReadDir(filepath.Join(root, "scripts/lessons"))
	if err != nil || found != len(files)-1 { // lib.sh
		t.Errorf("%d lessons are listed, and there are %d files (%v)", found, len(files), err)
	}
}
