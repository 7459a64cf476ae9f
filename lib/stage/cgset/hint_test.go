package cgset

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"staves/lib/cgroup"
	"staves/lib/diag"
)

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&cgroup.DelegationError{Dir: "/c", Err: unix.EROFS}, "mount -o remount,rw,bind /c"},
		{&cgroup.BusyError{Dir: "/c", Controllers: []string{"pids"}, Pids: []string{"1"}}, "--scope -q -p Delegate=yes -- " + quoted(os.Args[0])},
		{&cgroup.BusyError{Dir: "/c", Made: true, Controllers: []string{"pids"}, Pids: []string{"1"}}, "--parent /"},
		{&cgroup.ControllerError{Controller: "io", Dir: "/c/a", Above: "/c"}, "echo +io >/c/cgroup.subtree_control"},
		{&cgroup.ControllerError{Controller: "x", Have: []string{"cpu", "io"}}, "there are: cpu, io"},
		{&cgroup.ControllerError{Controller: "memory", Dir: "/c"}, "cgroup_disable=memory"},
		{&cgroup.StateError{Group: "a/b", Err: unix.EBUSY}, "cgset --thaw a/b"},
		{&cgroup.StateError{Group: "a/b", Err: unix.EAGAIN}, "cgset --show a/b"},
		{&cgroup.StateError{Group: "a/b", Err: unix.EOPNOTSUPP}, "cgroup.type"},
		{&cgroup.BelowUseError{Dir: "/c/g", File: "pids.max", Limit: 3, InUse: 5}, "echo 3 >/c/g/pids.max"},
		{&cgroup.FileError{File: "cpu.cfs_burst_us", Value: "50000", Err: unix.EINVAL}, "at most the quota"},
		{&cgroup.FileError{File: "cpu.max", Value: "5", Err: unix.EINVAL}, "at least 1000"},
		{&cgroup.FileError{File: "cpu.cfs_quota_us", Value: "5", Err: unix.EINVAL}, "at least 1000"},
		{&cgroup.FileError{File: "cpu.cfs_quota_us", Value: "50000", Err: unix.EINVAL}, "the group that it lies in"},
		{&cgroup.FileError{File: "cpu.cfs_period_us", Value: "5", Err: unix.EINVAL}, "1000 to 1000000"},
		{&cgroup.FileError{File: "cpu.cfs_period_us", Value: "50000", Err: unix.EINVAL}, "the group that it lies in"},
		{&cgroup.FileError{File: "cpuset.mems", Value: "99", Err: unix.EINVAL}, "memory nodes of this machine are 0"},
		{&cgroup.FileError{File: "io.max", Value: "99:0 rbps=1", Err: unix.ENODEV}, "lsblk"},
		{&cgroup.FileError{File: "io.bfq.weight", Value: "5000", Err: unix.ERANGE}, "1 to 1000"},
		{&cgroup.FileError{Dir: "/c/g", File: "pids.x", Value: "1", Err: unix.ENOENT}, "ls /c"},
	} {
		if got := strings.Join(diag.Hints(explain(c.err)), "\n"); !strings.Contains(got, c.want) {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
	if err := errors.New("x"); explain(err) != err {
		t.Error("an error that says all was changed")
	}
}

// TestKernelRefuses provokes what the table of hints has rows for.
func TestKernelRefuses(t *testing.T) {
	trees, err := cgroup.Trees()
	if err != nil || unix.Geteuid() != 0 {
		t.Skip("needs root, and cgroups:", err)
	}
	has := func(v2 bool, controller string) *cgroup.Tree {
		for _, tree := range trees {
			if tree.V2 == v2 && (controller == "" || slices.Contains(tree.Controllers, controller)) {
				return tree
			}
		}
		return nil
	}
	name := "staves-test-" + strconv.Itoa(os.Getpid())
	group := func(t *testing.T, trees []*cgroup.Tree, name string, limits ...cgroup.Limit) *cgroup.Group {
		t.Helper()
		g, err := cgroup.Make(trees, cgroup.Request{Name: name, Limits: limits})
		if err != nil {
			t.Skip("needs cgroups that it can write to:", err)
		}
		t.Cleanup(func() {
			g.Close()
			if err := cgroup.Remove(g.Made); err != nil {
				t.Error(err)
			}
		})
		return g
	}
	refused := func(t *testing.T, err error, errno unix.Errno, hint string) {
		t.Helper()
		if !errors.Is(err, errno) || !strings.Contains(strings.Join(diag.Hints(explain(err)), "\n"), hint) {
			t.Errorf("%v, with the hint %q; want %v, %q", err, diag.Hints(explain(err)), errno, hint)
		}
	}

	t.Run("no such CPU", func(t *testing.T) {
		if has(false, "cpuset") == nil && has(true, "cpuset") == nil {
			t.Skip("needs the controller cpuset")
		}
		_, err := cgroup.Make(trees, cgroup.Request{Name: name, Limits: []cgroup.Limit{cgroup.CPUSet("8191")}})
		refused(t, err, unix.ERANGE, "the CPUs of this machine are 0")
	})
	t.Run("more CPU time than above", func(t *testing.T) {
		if has(false, "cpu") == nil {
			t.Skip("needs the controller cpu on cgroup v1")
		}
		group(t, trees, name, cgroup.CPUs(5e8))
		_, err := cgroup.Make(trees, cgroup.Request{Name: name + "/a", Limits: []cgroup.Limit{cgroup.CPUs(1e9)}})
		refused(t, err, unix.EINVAL, "the group that it lies in")
	})
	t.Run("less memory than in use", func(t *testing.T) {
		tree := has(false, "memory")
		if tree == nil {
			t.Skip("needs the controller memory on cgroup v1")
		}
		if _, err := exec.LookPath("perl"); err != nil {
			t.Skip("needs the program perl")
		}
		g := group(t, trees, name, cgroup.Memory(256<<20))
		var door string
		for _, dir := range g.Dirs {
			if strings.HasPrefix(dir, tree.Dir) {
				door = dir + "/cgroup.procs"
			}
		}
		cmd := exec.Command("perl", "-e", `
			open my $door, ">", $ARGV[0] or die; syswrite $door, "0" or die;
			$| = 1; $x = "a" x (30 << 20); print "ready\n"; sleep 60`, door)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
		if _, err := out.Read(make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
		_, err = cgroup.Make(trees, cgroup.Request{Name: name, Limits: []cgroup.Limit{cgroup.Memory(1 << 20)}})
		refused(t, err, unix.EBUSY, "lets it decide")
		raw, err := cgroup.Raw("memory.limit_in_bytes", "1M")
		if err != nil {
			t.Fatal(err)
		}
		_, err = cgroup.Make(trees, cgroup.Request{Name: name, Limits: []cgroup.Limit{raw}})
		refused(t, err, unix.EBUSY, "uses more than that already")
	})

	// The rest is about v2: as it is mounted, with whatever controllers it has.
	tree := has(true, "")
	v2 := []*cgroup.Tree{tree}
	enter := func(t *testing.T, name string) error {
		t.Helper()
		return group(t, v2, name).Enter()
	}
	write := func(t *testing.T, file, text string) {
		t.Helper()
		if err := os.WriteFile(tree.Dir+"/"+file, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"too many groups", func(t *testing.T) {
			limit, err := cgroup.Set("cgroup.max.descendants", "1")
			if err != nil {
				t.Fatal(err)
			}
			group(t, v2, name, limit)
			_, err = cgroup.Make(v2, cgroup.Request{Name: name + "/a/b"})
			refused(t, err, unix.EAGAIN, "cgroup.max.descendants")
		}},
		{"threaded", func(t *testing.T) {
			group(t, v2, name)
			write(t, name+"/cgroup.type", "threaded")
			_, err := cgroup.Make(v2, cgroup.Request{Name: name + "/a"})
			refused(t, err, unix.EOPNOTSUPP, "threaded")
		}},
		{"controllers passed on", func(t *testing.T) {
			for _, c := range tree.Controllers {
				if c != "memory" && c != "hugetlb" {
					continue // beside threaded controllers there may be processes
				}
				before, err := os.ReadFile(tree.Dir + "/cgroup.subtree_control")
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(string(before), c) {
					write(t, "cgroup.subtree_control", "+"+c)
					t.Cleanup(func() { write(t, "cgroup.subtree_control", "-"+c) })
				}
				group(t, v2, name)
				group(t, v2, name+"/a")
				write(t, name+"/cgroup.subtree_control", "+"+c)
				refused(t, enter(t, name), unix.EBUSY, "name a new one within it")
				return
			}
			t.Skip("needs memory or hugetlb on cgroup v2")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if tree == nil {
				t.Skip("needs cgroup v2")
			}
			c.run(t)
		})
	}
}
