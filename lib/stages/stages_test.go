package stages

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"staves/lib/testkit"
)

// The links that 'make install' makes are the guises that the tools have.
func TestCompatLinks(t *testing.T) {
	var want []string
	for _, tool := range All {
		for _, g := range tool.Guises {
			if g.Name == tool.Name && g.Name != "cgset" {
				continue // no other program has the name: it is for the tool's own words to say
			}
			want = append(want, g.Name+" "+tool.Name)
		}
	}
	out, err := exec.Command(testkit.Root() + "/scripts/compat").Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("scripts/compat has %q, the tools %q", got, want)
	}
}

// No guise is called as a stage, or as another guise.
func TestGuisesAreTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, tool := range All {
		for _, g := range tool.Guises {
			if g.Name == tool.Name {
				continue // it is for the tool's own words to say: Disguise
			}
			if seen[g.Name] || slices.Contains(testkit.Tools, g.Name) {
				t.Errorf("%s: the name is another's", g.Name)
			}
			seen[g.Name] = true
		}
	}
}
