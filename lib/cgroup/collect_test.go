package cgroup

import (
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// Collect removes what a dead owner left, and nothing else.
func TestCollect(t *testing.T) {
	trees := mounted(t)
	parent, tops := apart(t, trees)
	name := "g"
	dir := func(g *Group) string { return g.Dirs[0] }

	dead := made(t, trees, Request{Parent: parent, Name: name + "-dead"})
	p := sleeper(t, dir(dead))
	dead.Close() // who held the locks is gone
	alive := made(t, trees, Request{Parent: parent, Name: name + "-alive"})
	kept := made(t, trees, Request{Parent: parent, Name: name + "-kept", Keep: true})
	kept.Close()
	above := made(t, trees, Request{Parent: parent, Name: name + "-above"})
	above.Close()
	theirs := filepath.Join(dir(above), "theirs")
	if err := unix.Mkdir(theirs, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		g    *Group
		want Owner
	}{{dead, Dead}, {alive, Alive}, {kept, Nobody}, {above, Dead}} {
		if got := (Found{trees[0], dir(c.g)}).Owner(); got != c.want {
			t.Errorf("%s: the owner is %d, want %d", dir(c.g), got, c.want)
		}
	}

	removed, err := Collect(tops)
	if err != nil {
		t.Error(err)
	}
	for _, d := range dead.Dirs {
		if isDir(d) || !slices.Contains(removed, d) {
			t.Errorf("%s is left (%v)", d, removed)
		}
	}
	for _, g := range []*Group{alive, kept} {
		if slices.ContainsFunc(g.Dirs, func(d string) bool { return !isDir(d) }) {
			t.Errorf("%v: removed", g.Dirs)
		}
	}
	if !isDir(theirs) {
		t.Error("somebody else's group is gone")
	}
	_ = p.Wait()
	if err := unix.Rmdir(theirs); err != nil {
		t.Error(err)
	}
}

// A dead group of the same name is taken over, and so is removed in the end; a group of
// somebody who lives is used, and left.
func TestTakeOver(t *testing.T) {
	trees := mounted(t)
	parent, tops := apart(t, trees)
	name := "g"
	first := made(t, trees, Request{Parent: parent, Name: name})
	if second := made(t, trees, Request{Parent: parent, Name: name}); len(second.Made) != 0 {
		t.Errorf("a living group was taken over: %v", second.Made)
	}
	first.Close()
	if third := made(t, trees, Request{Parent: parent, Name: name}); len(third.Made) == 0 {
		t.Error("a dead group was not taken over")
	}
	if removed, err := Collect(tops); len(removed) != 0 || err != nil {
		t.Errorf("collected %v, %v", removed, err)
	}
	kept := made(t, trees, Request{Parent: parent, Name: name, Keep: true})
	if owned(unix.AT_FDCWD, kept.Dirs[0]) != (len(kept.Made) == 0) {
		t.Errorf("%v", kept.Made)
	}
}

// Makers and collectors at once: no maker loses its group.
func TestCollectRaces(t *testing.T) {
	trees := mounted(t)
	parent, tops := apart(t, trees)
	stop := make(chan bool)
	done := make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if _, err := Collect(tops); err != nil {
				done <- err
				return
			}
		}
	}()
	for range 100 {
		g, err := Make(trees, Request{Parent: parent, Name: "g"})
		if err != nil {
			t.Error(err)
			break
		}
		if err := exec.Command("test", "-d", g.Dirs[0]).Run(); err != nil {
			t.Error("the group is gone")
		}
		if err := Remove(g.Made); err != nil {
			t.Error(err)
		}
		g.Close()
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
