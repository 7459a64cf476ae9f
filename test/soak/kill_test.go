package soak

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"staves/lib/testkit"
)

// bridge is the bridge that containers here are wired to.
const bridge = "soak0"

// chains are containers whose every process may be killed at any instant. The first word
// is looked for among the commands.
var chains = []string{
	"cgset --memory 64M --pids 40 -- netbr --bridge soak0 -- nsrun -muipC -- overlay mkdev pivot capdrop --",
	"cgset --memory 64M --pids 40 -- netbr --bridge soak0 -- nsrun -muipC --kill-child -- overlay mkdev pivot capdrop --seccomp default --",
	"cgset --pids 40 -- nsrun -muinC --",
	"nsrun -mp --kill-child -- overlay mkdev pivot capdrop --",
	"nsrun -p",
	"nsrun -Ur -- netbr --bridge soak0 --",
}

// container is a command of one of the chains, with this script for its payload.
func container(t *testing.T, chain, script string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	words := append(strings.Fields(chain), "sh", "-c", script)
	cmd := exec.Command(filepath.Join(bin, words[0]), words[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	return cmd, &out
}

// tidy does what an administrator does after processes were killed, and when a bridge is
// not wanted any more.
func tidy(t *testing.T) {
	t.Helper()
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"cgset --gc", "netbr --force --down " + bridge} {
		words := strings.Fields(line)
		out, err := exec.Command(filepath.Join(bin, words[0]), words[1:]...).CombinedOutput()
		if err != nil && !strings.Contains(string(out), "no such device") {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
}

// Containers are started and ended 50 at a time, and most lose a process of theirs,
// the first life, the waiter, the init, the payload, at some instant: each status is the
// payload's own or tells of the kill, and nothing stays behind.
func TestAnyProcessKilled(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.Check(t)
	const atOnce = 50
	n := count(100, 3000)
	var wait sync.WaitGroup
	var mu sync.Mutex
	hit, clean := map[int]int{}, 0
	jobs := make(chan int)
	for range atOnce {
		wait.Go(func() {
			for i := range jobs {
				depth, as := runAndKill(t, i)
				mu.Lock()
				if depth >= 0 {
					hit[depth]++
				} else if as {
					clean++
				}
				mu.Unlock()
			}
		})
	}
	for i := range n {
		jobs <- i
	}
	close(jobs)
	wait.Wait()
	tidy(t)
	t.Logf("%d containers: %d left alone, killed by depth %v (0: the first process, 1 and 2: init, payload)", n, clean, hit)
	for depth := range 3 {
		if hit[depth] == 0 {
			t.Errorf("no process at depth %d was killed", depth)
		}
	}
}

// runAndKill runs one container, and returns how deep below its first process the one
// that was killed was, -1 if none was; as tells that the status is what it should be.
func runAndKill(t *testing.T, i int) (depth int, as bool) {
	want := i % 120
	cmd, out := container(t, chains[i%len(chains)], fmt.Sprintf("sleep 0.%d; exit %d", 1+i%4, want))
	if err := cmd.Start(); err != nil {
		t.Errorf("start: %v", err)
		return -1, false
	}
	depth = -1
	if i%4 != 3 {
		time.Sleep(time.Duration(rand.Int64N(int64(400 * time.Millisecond))))
		depth = killOne(cmd.Process.Pid, i/4%3)
	}
	got := status(cmd.Wait())
	as = got == want || depth >= 0 && (got == 128+int(unix.SIGKILL) || got == 125 && clear(out.String()) == nil)
	if !as || strings.Contains(out.String(), "goroutine") {
		t.Errorf("%v: status %d, want %d (killed at depth %d): %s", cmd.Args, got, want, depth, out)
	}
	return depth, as
}

// killOne kills a descendant of a process, or the process itself, of that depth if there
// is one, and tells how deep it was; -1 if it has ended. The descriptor makes sure that
// it is not another process by now.
func killOne(pid, depth int) int {
	line := family(pid)
	depth = min(depth, len(line)-1)
	victim := line[depth]
	fd, err := unix.PidfdOpen(victim, 0)
	if err != nil {
		return -1
	}
	defer unix.Close(fd)
	if !slices.Contains(family(pid), victim) || unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) != nil {
		return -1
	}
	return depth
}

var line = regexp.MustCompile(`^(?:` + strings.Join(testkit.Tools, "|") + `): .+`)

// clear tells what is wrong with a message of ours: it is one line, and two hints at most.
func clear(text string) error {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, l := range lines {
		switch hint := strings.Contains(l, ": hint: "); {
		case !line.MatchString(l):
			return fmt.Errorf("not a line of ours: %q", l)
		case hint != (i > 0), i > 2:
			return fmt.Errorf("not one line and two hints at most: %q", text)
		}
	}
	return nil
}

// There is a bridge before anything here is limited or killed.
func ensureBridge(t *testing.T) {
	t.Helper()
	cmd, out := container(t, "netbr --bridge "+bridge+" --", "exit 0")
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v %s", cmd.Args, err, out)
	}
}
