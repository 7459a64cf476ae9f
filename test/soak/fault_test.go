package soak

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"staves/lib/testkit"
)

// A fault is something that the machine is short of, more or less.
type fault struct {
	name string
	// levels are how much of it there is, from too little to enough.
	levels []int
	// with returns a script that has less of it from then on and executes "$@"; $BIN is
	// where the commands are.
	with func(level int) string
	// killed tells that the kernel may kill for it.
	killed bool
	// spare tells that none of it is needed.
	spare  bool
	chains []string
}

// upTo are the numbers from first to last.
func upTo(first, last int) (all []int) {
	for i := first; i <= last; i++ {
		all = append(all, i)
	}
	return all
}

// faultChains are the ways in which processes fork, help one another, and open things.
var faultChains = []string{
	"cgset --memory 64M --pids 40 -- netbr --bridge soak0 -- nsrun -muipC -- overlay mkdev pivot capdrop --seccomp default -- true",
	"nsrun -muipnC -- overlay mkdev pivot capdrop -- true",
	"nsrun -p -- true",
	"nsrun -f -- true",
	"nsrun -mp --kill-child --pidfile /tmp/pid -- true",
	"nsrun --no-init -p --kill-child -- true",
	"nsrun -Ur -- netbr --bridge soak0 -- true",
	"nsrun -U --map-users 0:0:10 --map-groups 0:0:10 -- true",
	"capdrop --landlock fs:ro:/ -- true",
}

func faults() []fault {
	joined := func(limit string) func(int) string {
		return func(level int) string {
			return fmt.Sprintf(`tool=$1; shift; exec cgset --%s -- $BIN/$tool "$@"`, fmt.Sprintf(limit, level))
		}
	}
	ulimit := func(option string) func(int) string {
		return func(level int) string { return fmt.Sprintf(`ulimit -%s %d; exec "$@"`, option, level) }
	}
	return []fault{
		{name: "descriptors", levels: append(upTo(0, 24), 256), with: ulimit("n"), chains: faultChains},
		// With less than it needs to load the program the kernel kills before it has begun.
		{name: "address space", levels: []int{8000, 50000, 200000, 500000, 700000, 730000, 1000000}, with: ulimit("v"), chains: faultChains},
		{name: "data", levels: []int{1200, 3000, 10000, 30000, 40000, 45000, 50000, 58000, 65000}, with: ulimit("d"), chains: faultChains},
		{name: "processes of the group", levels: upTo(1, 8), with: joined("pids %d"), chains: faultChains[1:]},
		{name: "memory of the group", levels: []int{64, 128, 256, 400, 600, 1000, 2000, 4000, 16000}, with: joined("memory %dK"), killed: true, chains: faultChains[1:]},
		{name: "files of the state", levels: upTo(1, 12), chains: []string{
			"overlay --state /tmp/state/s -- pivot capdrop -- true", "nsrun -p --pidfile /tmp/state/pid -- true",
		}, with: func(level int) string {
			return fmt.Sprintf(`exec nsrun -m -- sh -c 'mount -t tmpfs -o nr_inodes=%d none /tmp/state && exec "$@"' sh "$@"`, level)
		}},
		{name: "pages of the state", levels: upTo(0, 8), chains: []string{
			"nsrun -p --pidfile /tmp/state/pid -- true", "overlay --commit /tmp/changed -o /tmp/state/layer.tar",
		}, with: func(level int) string {
			return fmt.Sprintf(`exec nsrun -m -- sh -c 'mount -t tmpfs -o size=%dk none /tmp/state && fallocate -l 16k /tmp/state/full && exec "$@"' sh "$@"`, 16+4*level)
		}},
		{name: "a writable /tmp", levels: []int{0, 1}, spare: true, chains: faultChains[:4], with: func(level int) string {
			return fmt.Sprintf(`exec nsrun -m -- sh -c 'mount -o remount,bind,%s /tmp && exec "$@"' sh "$@"`, []string{"ro", "rw"}[level])
		}},
	}
}

// Whatever there is too little of, a chain does its work or ends with a status and one
// clear line of ours, at once, and leaves nothing.
func TestFaults(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.Check(t)
	t.Cleanup(func() { tidy(t) })
	ensureBridge(t)
	state := filepath.Join(os.TempDir(), "state")
	if err := os.Mkdir(state, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(state) })
	changed(t)
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			testkit.Check(t)
			failed := 0
			for _, chain := range f.chains {
				for i, level := range f.levels {
					got, out := short(t, f, level, chain)
					if got != 0 && i == len(f.levels)-1 {
						t.Errorf("with %d of it, which is enough: %s: status %d: %s", level, chain, got, out)
					} else if got != 0 {
						failed++
					}
				}
			}
			t.Logf("%d of %d said why not", failed, len(f.chains)*len(f.levels))
			if failed == 0 && !f.spare {
				t.Errorf("nothing fails with %d of it: is there a fault?", f.levels[0])
			}
		})
	}
}

// changed leaves changes in a state directory, for a layer to be made of.
func changed(t *testing.T) {
	t.Helper()
	cmd, out := container(t, "overlay --state /tmp/changed -- pivot --", "head -c 3000 /bin/sh >/changed")
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v %s", cmd.Args, err, out)
	}
	t.Cleanup(func() { _ = os.RemoveAll("/tmp/changed") })
}

// short runs a chain with so much of what there is a shortage of, and judges how it ended.
func short(t *testing.T, f fault, level int, chain string) (int, string) {
	t.Helper()
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", append([]string{"-c", f.with(level), "sh"}, strings.Fields(chain)...)...)
	cmd.Env = append(os.Environ(), "BIN="+bin, "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := inTime(t, cmd)
	got := status(err)
	switch {
	case got == 0 && out == "":
	case f.killed && got == 128+int(unix.SIGKILL):
	case got < 125 || got > 127:
		t.Errorf("%s: %d: %s: status %d: %s", f.name, level, chain, got, out)
	default:
		if err := clear(out); err != nil {
			t.Errorf("%s: %d: %s: status %d: %v", f.name, level, chain, got, err)
		}
	}
	return got, out
}

// inTime runs a command that is to end soon, and returns what it wrote.
func inTime(t *testing.T, cmd *exec.Cmd) (string, error) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := time.AfterFunc(10*time.Second*testkit.Slow, func() {
		t.Errorf("%v hangs", cmd.Args)
		for _, pid := range family(cmd.Process.Pid) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	})
	defer end.Stop()
	err = cmd.Wait()
	text, readErr := os.ReadFile(file.Name())
	if readErr != nil {
		t.Fatal(readErr)
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	} else if err != nil && exit.Sys().(syscall.WaitStatus).CoreDump() {
		t.Errorf("%v dumped core", cmd.Args)
	}
	return string(text), err
}
