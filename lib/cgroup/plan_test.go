package cgroup

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// What every group of v2 can, to be frozen, only the freezer's can on v1: a group is made
// there too.
func TestPlanFreezer(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"cpu", "freezer"} {
		if err := os.Mkdir(root+"/"+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cpu := &Tree{Dir: root + "/cpu", Controllers: []string{"cpu", "cpuacct"}}
	freezer := &Tree{Dir: root + "/freezer", Controllers: []string{"freezer"}}
	limit, err := Set("cpu.shares", "512")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		trees []*Tree
		req   Request
		want  []string
	}{
		{"v1", []*Tree{cpu, freezer}, Request{Limits: []Limit{limit}}, []string{"cpu", "freezer"}},
		{"v1, no limits", []*Tree{cpu, freezer}, Request{}, []string{"freezer"}},
		{"v1, exactly there", []*Tree{cpu, freezer}, Request{Limits: []Limit{limit}, Exact: true}, []string{"cpu"}},
		{"v1 without it", []*Tree{cpu}, Request{}, []string{"cpu"}},
	} {
		places, _, err := plan(c.trees, c.req)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		var got []string
		for _, p := range places {
			got = append(got, strings.TrimPrefix(p.tree.Dir, root+"/"))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: in %q, want %q", c.name, got, c.want)
		}
	}
}
