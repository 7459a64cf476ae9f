package cgroup

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mounted returns this machine's hierarchies; it skips where no group can be made.
func mounted(t *testing.T) []*Tree {
	t.Helper()
	trees, err := Trees()
	if err != nil {
		t.Skip("needs cgroups:", err)
	}
	if _, _, err := plan(trees, Request{}); err != nil || unix.Geteuid() != 0 {
		t.Skip("needs root, and cgroups that it can write to:", err)
	}
	return trees
}

func testName(t *testing.T) string {
	return "staves-test-" + strconv.Itoa(os.Getpid()) + "-" + t.Name()
}

// made makes a group that is gone when the test ends.
func made(t *testing.T, trees []*Tree, req Request) *Group {
	t.Helper()
	g, err := Make(trees, req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Close()
		if err := Remove(g.Made); err != nil {
			t.Error(err)
		}
		for _, dir := range g.Made {
			if isDir(dir) {
				t.Errorf("%s is left", dir)
			}
		}
	})
	return g
}

// apart makes a group for a test to collect in: what others have left dead on this machine
// stays theirs.
func apart(t *testing.T, trees []*Tree, limits ...Limit) (parent string, dirs []string) {
	t.Helper()
	parent = testName(t) + "-apart"
	g := made(t, trees, Request{Name: parent, Keep: true, Limits: limits})
	g.Close()
	return parent, g.Dirs
}

// sleeper starts a process in the directories of a group.
func sleeper(t *testing.T, dirs ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for _, dir := range dirs {
		if err := writeFile(unix.AT_FDCWD, dir+"/cgroup.procs", strconv.Itoa(cmd.Process.Pid)); err != nil {
			t.Fatal(err)
		}
	}
	return cmd
}

func TestMakeAndRemove(t *testing.T) {
	trees := mounted(t)
	var limits []Limit
	want := map[string]string{}
	for _, l := range []Limit{Memory(32 << 20), CPUs(3e8), Pids(20), CPUSet("0")} {
		tree, _ := home(trees, l.Controller)
		if tree == nil {
			t.Log("not on this machine:", l.Controller)
			continue
		}
		limits = append(limits, l)
		s := l.settings(tree.V2)[0]
		want[s.file] = s.value
	}
	g := made(t, trees, Request{Limits: limits})
	found := map[string]string{}
	for _, dir := range g.Dirs {
		if filepath.Base(dir) != "staves-"+strconv.Itoa(os.Getpid()) {
			t.Errorf("a fresh group is called %s", dir)
		}
		for file := range want {
			if v, err := readFile(unix.AT_FDCWD, dir+"/"+file); err == nil {
				found[file] = v
			}
		}
	}
	for file, v := range want {
		if found[file] != v {
			t.Errorf("%s: %q, want %q", file, found[file], v)
		}
	}
	if len(g.Dirs) != len(g.Made) || len(g.Procs()) != len(g.Dirs) {
		t.Errorf("%d directories, %d made, %d doors", len(g.Dirs), len(g.Made), len(g.Procs()))
	}
	sleeper(t, g.Dirs...) // anything that is left out, an empty cpuset say, makes this fail
}

func TestTakenName(t *testing.T) {
	trees := mounted(t)
	main := mainTree(trees)
	taken := filepath.Join(main.Dir, freshName(0))
	if err := unix.Mkdir(taken, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Rmdir(taken) })
	g := made(t, trees, Request{Limits: []Limit{}})
	for _, dir := range g.Dirs {
		if filepath.Base(dir) != freshName(1) {
			t.Errorf("the group is %s", dir)
		}
	}
	if !isDir(taken) {
		t.Error("somebody else's group is gone")
	}
}

func TestFoundGroupIsNotMade(t *testing.T) {
	trees := mounted(t)
	name := testName(t)
	first := made(t, trees, Request{Name: name})
	second := made(t, trees, Request{Name: name})
	if len(second.Made) != 0 || !slices.Equal(first.Dirs, second.Dirs) {
		t.Errorf("made %v", second.Made)
	}
}

func TestUnknownFile(t *testing.T) {
	trees := mounted(t)
	l, err := Set(trees[0].controller(t)+".nonesuch", "1")
	if err != nil {
		t.Fatal(err)
	}
	name := testName(t)
	if _, err := Make(trees, Request{Name: name, Limits: []Limit{l}}); !errors.Is(err, unix.ENOENT) {
		t.Error(err)
	}
	for _, tree := range trees {
		if isDir(filepath.Join(tree.Dir, name)) {
			t.Errorf("%s is left in %s", name, tree.Dir)
		}
	}
}

func (t *Tree) controller(test *testing.T) string {
	test.Helper()
	if len(t.Controllers) == 0 {
		test.Skipf("needs a controller in %s", t.Dir)
	}
	return t.Controllers[0]
}

func TestRemoveKills(t *testing.T) {
	trees := mounted(t)
	g := made(t, trees, Request{Name: testName(t)})
	var procs []*exec.Cmd
	for _, dir := range g.Dirs {
		sub := dir + "/sub"
		if err := unix.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		procs = append(procs, sleeper(t, dir), sleeper(t, sub))
	}
	start := time.Now()
	if err := Remove(g.Made); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > 500*time.Millisecond {
		t.Errorf("it took %v", d)
	}
	for _, p := range procs {
		_ = p.Wait()
		if s := p.ProcessState.Sys().(syscall.WaitStatus); s.Signal() != unix.SIGKILL {
			t.Errorf("a process of the group ended with %v", s)
		}
	}
}

// TestRemoveWithoutKillFile is about hierarchies of v1, and kernels before cgroup.kill.
func TestRemoveWithoutKillFile(t *testing.T) {
	trees := mounted(t)
	freezer, _ := home(trees, "freezer")
	if freezer == nil || freezer.V2 {
		t.Skip("needs a hierarchy of v1 with the freezer")
	}
	l, err := Set("freezer.state", "THAWED")
	if err != nil {
		t.Fatal(err)
	}
	g := made(t, []*Tree{freezer}, Request{Name: testName(t), Limits: []Limit{l}})
	p := sleeper(t, g.Dirs...)
	if err := writeFile(unix.AT_FDCWD, g.Dirs[0]+"/freezer.state", "FROZEN"); err != nil {
		t.Fatal(err)
	}
	if err := Remove(g.Made); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
}

func TestGroupAboveMayStay(t *testing.T) {
	trees := mounted(t)[:1]
	name := testName(t)
	g := made(t, trees, Request{Name: name + "/ours"})
	theirs := filepath.Join(trees[0].Dir, name, "theirs")
	if err := unix.Mkdir(theirs, 0o755); err != nil {
		t.Fatal(err)
	}
	err := Remove(g.Made)
	if err != nil || isDir(filepath.Join(trees[0].Dir, name, "ours")) || !isDir(theirs) {
		t.Errorf("%v; %s must be the one that is left", err, theirs)
	}
	if err := unix.Rmdir(theirs); err != nil {
		t.Error(err)
	}
}

// TestStepAside is about a process alone in a group of v2 that is to pass controllers
// on: what an ordinary user has in a scope of systemd's.
func TestStepAside(t *testing.T) {
	if dir := os.Getenv("CGROUP_TEST_SCOPE"); dir != "" {
		stepAside(t, dir, os.Getenv("CGROUP_TEST_FILE"))
		return
	}
	trees := mounted(t)
	tree := mainTree(trees)
	if !tree.V2 {
		t.Skip("needs cgroup v2")
	}
	file := ""
	for _, f := range []string{"pids.max", "memory.max", "hugetlb.2MB.max"} {
		c, _, _ := strings.Cut(f, ".")
		if slices.Contains(tree.Controllers, c) {
			file = f
			break
		}
	}
	if file == "" {
		t.Skip("needs pids, memory or hugetlb on cgroup v2")
	}
	controller, _, _ := strings.Cut(file, ".")
	text, err := readFile(unix.AT_FDCWD, tree.Dir+"/cgroup.subtree_control")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Fields(text), controller) {
		t.Cleanup(func() { // after the group is removed
			if err := writeFile(unix.AT_FDCWD, tree.Dir+"/cgroup.subtree_control", "-"+controller); err != nil {
				t.Error(err)
			}
		})
	}
	l, err := Set(file, "max")
	if err != nil {
		t.Fatal(err)
	}
	scope := made(t, []*Tree{tree}, Request{Name: testName(t), Limits: []Limit{l}})
	fd, err := openDir(unix.AT_FDCWD, scope.Dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestStepAside$", "-test.v")
	cmd.Env = append(os.Environ(), "CGROUP_TEST_SCOPE="+scope.Dirs[0], "CGROUP_TEST_FILE="+file)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func stepAside(t *testing.T, dir, file string) {
	l, err := Set(file, "max")
	if err != nil {
		t.Fatal(err)
	}
	controller, _, _ := strings.Cut(file, ".")
	tree := &Tree{Dir: dir, V2: true, Controllers: []string{controller}, root: "/"}
	self := []string{strconv.Itoa(os.Getpid())}
	want := func(what string, in string, dirs int) {
		t.Helper()
		if got := members(in); !slices.Equal(got, self) || len(within(dir)) != dirs {
			t.Errorf("%s: in %s are %v, and in %s are %v", what, in, got, dir, within(dir))
		}
	}

	// A waiter stays aside, and goes back when it has removed the group.
	g, err := Make([]*Tree{tree}, Request{Limits: []Limit{l}})
	if err != nil {
		t.Fatal(err)
	}
	want("made", g.leaf, 2)
	if err := Remove(g.Made); err != nil {
		t.Error(err)
	}
	g.Close()
	want("removed", dir, 0)

	// After a failure everything is as it was.
	bad, err := Set(controller+".nonesuch", "1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Make([]*Tree{tree}, Request{Limits: []Limit{l, bad}}); !errors.Is(err, unix.ENOENT) {
		t.Error(err)
	}
	want("failed", dir, 0)

	// Where there is no waiter nothing stays aside.
	g, err = Make([]*Tree{tree}, Request{Name: "job", Limits: []Limit{l}})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Enter(); err != nil {
		t.Error(err)
	}
	want("entered", dir+"/job", 1)
	g.Close()
	if err := Remove(g.Made); err != nil {
		t.Error(err)
	}
	want("left", dir, 0)
}
