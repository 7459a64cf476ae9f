package cgroup

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// version1 makes a fake hierarchy of v1.
func version1(t *testing.T, controller string, files map[string]string) *Tree {
	t.Helper()
	tree := fake(t, files)
	tree.V2, tree.Controllers, tree.own = false, []string{controller}, "1:"+controller+":/"
	return tree
}

// A group in another one is made wherever that one is: it may have limits there.
func TestGroupInAGroup(t *testing.T) {
	for _, c := range []struct {
		req  Request
		want []string
	}{
		{Request{Name: "p/kid"}, []string{"memory/p/kid", "pids/p/kid", "v2/p/kid"}},
		{Request{Parent: "p", Name: "kid"}, []string{"memory/p/kid", "pids/p/kid", "v2/p/kid"}},
		{Request{Name: "p/q/kid"}, []string{"memory/p/q/kid", "pids/p/q/kid", "v2/p/q/kid"}},
		{Request{Name: "p/old"}, []string{"memory/p/old", "pids/p/old", "v2/p/old"}},
		{Request{Parent: "p"}, []string{"memory/p/staves", "pids/p/staves", "v2/p/staves"}},
		{Request{Name: "p"}, []string{"memory/p", "pids/p", "v2/p"}},
		{Request{Name: "q/kid"}, []string{"v2/q/kid"}},
		{Request{Name: "p/kid", Exact: true, Controllers: []string{"pids"}}, []string{"pids/p/kid"}},
	} {
		memory := version1(t, "memory", map[string]string{"p/x": "", "p/old/x": ""})
		pids := version1(t, "pids", map[string]string{"p/x": ""})
		cpu := version1(t, "cpu", map[string]string{})
		v2 := fake(t, map[string]string{"cgroup.controllers": "", "p/x": ""})
		places, _, err := plan([]*Tree{memory, pids, cpu, v2}, c.req)
		if err != nil {
			t.Errorf("%+v: %v", c.req, err)
			continue
		}
		g := &Group{}
		err = g.directories(places, c.req)
		for _, p := range places {
			p.close()
		}
		g.Close()
		if err != nil {
			t.Errorf("%+v: %v", c.req, err)
		}
		var got []string
		for _, dir := range g.Dirs {
			dir, _, _ = strings.Cut(dir, "-")
			dir = strings.Replace(dir, memory.Dir, "memory", 1)
			dir = strings.Replace(dir, pids.Dir, "pids", 1)
			dir = strings.Replace(dir, cpu.Dir, "cpu", 1)
			got = append(got, strings.Replace(dir, v2.Dir, "v2", 1))
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: in %q, want %q", c.req, got, c.want)
		}
	}
}

// What keeps a process from running in a group keeps it from running in those in it.
func TestStateAbove(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		v1    string
		errno error
	}{
		{"frozen", map[string]string{"p/cgroup.events": "populated 1\nfrozen 1\n"}, "", unix.EBUSY},
		{"about to freeze", map[string]string{"p/cgroup.events": "frozen 0\n", "p/cgroup.freeze": "1\n"}, "", unix.EBUSY},
		{"frozen, v1", map[string]string{"p/freezer.state": "FROZEN\n"}, "freezer", unix.EBUSY},
		{"full", map[string]string{"p/pids.max": "2\n", "p/pids.current": "2\n"}, "", unix.EAGAIN},
		{"full, v1", map[string]string{"p/pids.max": "2\n", "p/pids.current": "2\n"}, "pids", unix.EAGAIN},
		{"threaded", map[string]string{"p/cgroup.type": "domain threaded\n"}, "", unix.EOPNOTSUPP},
	} {
		for _, req := range []Request{
			{Name: "p/new", Enter: true},
			{Parent: "p", Enter: true},
			{Parent: "p", Enter: true, Limits: []Limit{Freeze()}},
			{Parent: "p", Name: "a/b", Enter: true},
		} {
			c.files["p/kid/cgroup.type"] = "threaded\n"
			if c.errno != unix.EOPNOTSUPP {
				c.files["p/kid/cgroup.type"] = "domain\n"
			}
			var tree *Tree
			if c.v1 != "" {
				tree = version1(t, c.v1, c.files)
			} else {
				tree = fake(t, c.files)
			}
			if len(req.Limits) > 0 && c.v1 == "pids" {
				continue // nothing can be frozen there
			}
			g, err := Make([]*Tree{tree}, req)
			var state *StateError
			if !errors.As(err, &state) || !errors.Is(err, c.errno) || state.Group != "p" {
				t.Errorf("%s, %+v: %v", c.name, req, err)
			}
			if err == nil {
				g.Close()
			}
			if found := (Found{tree, tree.Dir + "/p/kid"}); isDir(found.Dir) && len(req.Limits) == 0 {
				if err := found.CheckEnter(); !errors.As(err, &state) || !errors.Is(err, c.errno) {
					t.Errorf("%s: CheckEnter: %v", c.name, err)
				}
			}
			if below := within(tree.Dir + "/p"); len(below) != 1 {
				t.Errorf("%s, %+v: made %v", c.name, req, below)
			}
		}
	}
}

// Who is counted in a full group already does not make it any fuller.
func TestFullAbove(t *testing.T) {
	tree := version1(t, "pids", map[string]string{"p/pids.max": "1\n", "p/pids.current": "1\n", "p/kid/cgroup.procs": ""})
	tree.own = "1:pids:/p"
	if g, err := Make([]*Tree{tree}, Request{Name: "p/kid", Enter: true}); err != nil {
		t.Error(err)
	} else {
		g.Close()
	}
}
