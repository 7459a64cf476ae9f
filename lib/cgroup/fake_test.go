package cgroup

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// fake makes a tree of plain files that looks like cgroup v2's to read and write. The
// keys are paths; a file's directory is made with it.
func fake(t *testing.T, files map[string]string) *Tree {
	t.Helper()
	dir := t.TempDir()
	if _, ok := files["cgroup.procs"]; !ok {
		files["cgroup.procs"] = "" // where it cannot be written no group can be made
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &Tree{Dir: dir, V2: true, Controllers: strings.Fields(files["cgroup.controllers"]), root: "/", own: "0::/"}
}

func (t *Tree) read(test *testing.T, name string) string {
	test.Helper()
	b, err := os.ReadFile(filepath.Join(t.Dir, name))
	if err != nil {
		test.Fatal(err)
	}
	return string(b)
}

func TestV2FoundGroup(t *testing.T) {
	tree := fake(t, map[string]string{
		"cgroup.controllers":     "cpu memory pids",
		"cgroup.subtree_control": "",
		"cgroup.procs":           "1\n2\n", // the real root may have processes
		"job/cgroup.procs":       "",
		"job/memory.max":         "",
		"job/memory.swap.max":    "",
	})
	g, err := Make([]*Tree{tree}, Request{Name: "job", Limits: []Limit{Memory(64 << 20)}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if len(g.Made) != 0 || len(g.Procs()) != 1 {
		t.Errorf("made %v, %d doors", g.Made, len(g.Procs()))
	}
	if err := g.Enter(); err != nil {
		t.Error(err)
	}
	for file, want := range map[string]string{
		"cgroup.subtree_control": "+memory",
		"job/memory.max":         "67108864",
		"job/memory.swap.max":    "0",
		"job/cgroup.procs":       "0",
	} {
		if got := tree.read(t, file); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}

func TestV2AlreadyEnabled(t *testing.T) {
	tree := fake(t, map[string]string{
		"cgroup.controllers":     "cpu memory pids",
		"cgroup.subtree_control": "memory pids\n",
		"cgroup.events":          "populated 1\n", // not the real root
		"cgroup.procs":           "1\n",
		"a/cgroup.controllers":   "memory pids",
		"a/cgroup.procs":         "",
		"a/memory.max":           "", // and no memory.swap.max: no swap in this kernel
	})
	g, err := Make([]*Tree{tree}, Request{Name: "a", Limits: []Limit{Memory(1 << 20)}})
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
	if got := tree.read(t, "cgroup.subtree_control"); got != "memory pids\n" {
		t.Errorf("cgroup.subtree_control was written: %q", got)
	}
}

func TestV2Busy(t *testing.T) {
	tree := fake(t, map[string]string{
		"cgroup.controllers":     "memory",
		"cgroup.subtree_control": "",
		"cgroup.events":          "populated 1\n",
		"cgroup.procs":           "1\n2\n",
	})
	_, err := Make([]*Tree{tree}, Request{Limits: []Limit{Memory(1 << 20)}})
	var busy *BusyError
	if !errors.As(err, &busy) || busy.Dir != tree.Dir || !slices.Equal(busy.Pids, []string{"1", "2"}) {
		t.Errorf("%v", err)
	}
	if got := tree.read(t, "cgroup.subtree_control"); got != "" {
		t.Errorf("cgroup.subtree_control was written: %q", got)
	}
	if dirs := within(tree.Dir); dirs != nil {
		t.Errorf("left behind: %v", dirs)
	}
}

func TestV2BusyOnTheWay(t *testing.T) {
	tree := fake(t, map[string]string{
		"cgroup.controllers":       "memory",
		"cgroup.subtree_control":   "memory",
		"a/cgroup.events":          "populated 1\n",
		"a/cgroup.controllers":     "memory",
		"a/cgroup.subtree_control": "",
		"a/cgroup.procs":           "1\n",
	})
	_, err := Make([]*Tree{tree}, Request{Name: "a/b", Limits: []Limit{Memory(1 << 20)}})
	var busy *BusyError
	if !errors.As(err, &busy) || busy.Dir != tree.Dir+"/a" {
		t.Errorf("%v", err)
	}
	if isDir(tree.Dir + "/a/b") {
		t.Error("a/b is left behind")
	}
}

func TestMissingController(t *testing.T) {
	tree := fake(t, map[string]string{"cgroup.controllers": "cpu pids"})
	v1 := &Tree{Dir: t.TempDir(), Controllers: []string{"freezer"}}
	for _, c := range []struct {
		trees []*Tree
		dir   string
	}{
		{[]*Tree{tree}, tree.Dir},
		{[]*Tree{v1, tree}, ""},
		{[]*Tree{v1}, ""},
	} {
		_, err := Make(c.trees, Request{Name: "a", Limits: []Limit{Pids(1), Memory(1 << 20)}})
		var missing *ControllerError
		if !errors.As(err, &missing) || missing.Dir != c.dir || len(c.trees) > 1 && missing.Controller != "memory" {
			t.Errorf("%v", err)
		}
		if isDir(tree.Dir+"/a") || isDir(v1.Dir+"/a") {
			t.Error("a was made")
		}
	}
}

func TestFailureLeavesNothing(t *testing.T) {
	tree := fake(t, map[string]string{"cgroup.controllers": "", "old/x": ""}) // plain directories have no cgroup.procs
	for _, name := range []string{"", "a/b/c", "old/new"} {
		if _, err := Make([]*Tree{tree}, Request{Name: name}); !errors.Is(err, unix.ENOENT) {
			t.Errorf("%q: %v", name, err)
		}
		if dirs := within(tree.Dir); !slices.Equal(dirs, []string{tree.Dir + "/old"}) {
			t.Errorf("%q: there is %v", name, dirs)
		}
	}
}

func TestNamesAreChecked(t *testing.T) {
	if _, err := Make([]*Tree{fake(t, map[string]string{})}, Request{Name: "../a"}); err == nil {
		t.Error("no error")
	}
}

func TestLinksAreNotFollowed(t *testing.T) {
	tree := fake(t, map[string]string{
		"cgroup.controllers":     "memory",
		"cgroup.subtree_control": "memory",
		"elsewhere":              "",
		"job/cgroup.procs":       "",
	})
	outside := t.TempDir()
	if err := os.Symlink(outside, tree.Dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../elsewhere", tree.Dir+"/job/memory.max"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "link/a", "job"} {
		if _, err := Make([]*Tree{tree}, Request{Name: name, Limits: []Limit{Memory(1 << 20)}}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if within(outside) != nil || tree.read(t, "elsewhere") != "" {
		t.Error("something was written through a link")
	}
}

func TestDomainFirst(t *testing.T) {
	got := domainFirst([]string{"cpu", "memory", "pids", "io", "cpuset"})
	if want := []string{"memory", "io", "cpu", "pids", "cpuset"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestDelegated is about the rights of an ordinary user. As root it starts itself anew
// as one.
func TestDelegated(t *testing.T) {
	if unix.Geteuid() == 0 {
		asUser(t, 1000)
		return
	}
	tree := fake(t, map[string]string{
		"cgroup.controllers":         "cpu memory",
		"cgroup.subtree_control":     "cpu memory",
		"cgroup.procs":               "",
		"u/cgroup.controllers":       "cpu memory",
		"u/cgroup.subtree_control":   "memory",
		"u/cgroup.procs":             "",
		"u/s/cgroup.controllers":     "memory",
		"u/s/cgroup.subtree_control": "",
		"u/s/cgroup.procs":           "",
	})
	tree.own = "0::/u/s"
	chmod := func(mode os.FileMode, names ...string) {
		t.Helper()
		for _, n := range names {
			if err := os.Chmod(filepath.Join(tree.Dir, n), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	parent := func(limits ...Limit) (string, error) {
		places, _, err := plan([]*Tree{tree}, Request{Limits: limits})
		if err != nil {
			return "", err
		}
		return strings.TrimPrefix(places[0].parent, tree.Dir), nil
	}

	chmod(0o555, "")
	if got, err := parent(Memory(1 << 20)); got != "/u/s" || err != nil {
		t.Errorf("own group: %q, %v", got, err)
	}
	var controller *ControllerError
	if _, err := parent(CPUs(1e9)); !errors.As(err, &controller) || controller.Dir != tree.Dir+"/u/s" || controller.Above != tree.Dir+"/u" {
		t.Errorf("a controller not passed on: %v", err)
	}
	chmod(0o444, "u/s/cgroup.procs") // without it no process can move
	if got, err := parent(); got != "/u" || err != nil {
		t.Errorf("group above: %q, %v", got, err)
	}
	chmod(0o555, "u/s", "u")
	var refused *DelegationError
	if _, err := parent(); !errors.As(err, &refused) || !errors.Is(err, unix.EACCES) || refused.Own != "u/s" {
		t.Errorf("no group of the user's: %v", err)
	}
	chmod(0o755, "u/s", "u", "") // for TempDir to remove
}

// asUser runs the calling test in a process of user uid.
func asUser(t *testing.T, uid uint32) {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "test")
	if err := os.WriteFile(binary, self, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(binary, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as user %d: %v\n%s", uid, err, out)
	}
}
