package cgroup

import (
	"slices"
	"testing"
)

// What every group of v2 can, to be frozen, only the freezer's can on v1: a group is made
// there too.
func TestPlanFreezer(t *testing.T) {
	cpu := &Tree{Dir: "/v1/cpu", Controllers: []string{"cpu", "cpuacct"}}
	freezer := &Tree{Dir: "/v1/freezer", Controllers: []string{"freezer"}}
	unified := &Tree{Dir: "/v2", V2: true}
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
		{"v1", []*Tree{cpu, freezer}, Request{Limits: []Limit{limit}}, []string{"/v1/cpu", "/v1/freezer"}},
		{"v1, no limits", []*Tree{cpu, freezer}, Request{}, []string{"/v1/freezer"}},
		{"v1, exactly there", []*Tree{cpu, freezer}, Request{Limits: []Limit{limit}, Exact: true}, []string{"/v1/cpu"}},
		{"v1 without it", []*Tree{cpu}, Request{}, []string{"/v1/cpu"}},
		{"hybrid", []*Tree{cpu, freezer, unified}, Request{Limits: []Limit{limit}}, []string{"/v1/cpu", "/v2"}},
	} {
		places, _, err := plan(c.trees, c.req)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		var got []string
		for _, p := range places {
			got = append(got, p.tree.Dir)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: in %q, want %q", c.name, got, c.want)
		}
	}
}
