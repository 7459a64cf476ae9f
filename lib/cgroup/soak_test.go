package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// soakVar is how many groups TestKilledAnywhere makes; the number that counts is 500.
const soakVar = "CGROUP_TEST_SOAK"

// TestKilledAnywhere kills processes that make, hold and remove groups at random instants.
// Whatever they were about to do, Collect leaves nothing of theirs, and all of others'.
func TestKilledAnywhere(t *testing.T) {
	if prefix := os.Getenv("CGROUP_TEST_MAKER"); prefix != "" {
		makeForever(prefix)
		return
	}
	trees := mounted(t)
	n, err := strconv.Atoi(os.Getenv(soakVar))
	if err != nil {
		n = 40
	}
	parent, tops := apart(t, trees, Pids(1000), CPUs(1e9))
	decoy := made(t, trees, Request{Parent: parent, Name: "decoy", Keep: true})
	decoy.Close()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	var makers []*exec.Cmd
	for i := range n {
		cmd := exec.Command(self, "-test.run=^TestKilledAnywhere$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("CGROUP_TEST_MAKER=%s/%d", parent, i))
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		makers = append(makers, cmd)
		if len(makers) == 20 || i == n-1 {
			for j, m := range makers {
				time.Sleep(time.Duration(1000+j*317%1900) * time.Microsecond)
				_ = m.Process.Kill()
			}
			for _, m := range makers {
				_ = m.Wait()
			}
			makers = nil
		}
	}
	left := func() (dirs []string) {
		for _, top := range tops {
			dirs = append(dirs, slices.DeleteFunc(within(top), func(d string) bool {
				return slices.Contains(decoy.Dirs, d)
			})...)
		}
		return dirs
	}
	before := len(left())
	if _, err := Collect(tops); err != nil {
		t.Error(err)
	}
	if dirs := left(); len(dirs) > 0 {
		t.Errorf("of %d directories there are left %v", before, dirs)
	}
	for _, d := range decoy.Dirs {
		if !isDir(d) {
			t.Errorf("%s, which was to be kept, is gone", d)
		}
	}
	t.Logf("%d processes left %d directories", n, before)
}

// makeForever makes a group and removes it, again and again.
func makeForever(prefix string) {
	trees, err := Trees()
	for i := 0; err == nil; i++ {
		var g *Group
		if g, err = Make(trees, Request{Name: fmt.Sprintf("%s-%d", prefix, i), Limits: []Limit{Pids(10), CPUs(1e9)}}); err == nil {
			time.Sleep(time.Millisecond)
			err = Remove(g.Made)
			g.Close()
		}
	}
	fmt.Println(err)
}
