// Package soak tests what only shows in numbers: containers by the hundred, waiters killed
// at any instant, and what those that wait keep of memory. It does little by default;
// scripts/soak does it in full.
package soak

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"staves/lib/testkit"
)

func TestMain(m *testing.M) {
	if os.Geteuid() == 0 && os.Getenv(testkit.Private) == "" {
		status, err := apart()
		if err != nil {
			fmt.Fprintln(os.Stderr, "test/soak:", err)
			status = 2
		}
		testkit.Cleanup()
		os.Exit(status)
	}
	if dir := os.Getenv(testkit.Private); dir != "" {
		if err := settle(dir); err != nil {
			fmt.Fprintln(os.Stderr, "test/soak:", err)
			os.Exit(2)
		}
	}
	if _, err := testkit.Bin(); err != nil { // before a test looks for what it leaves
		fmt.Fprintln(os.Stderr, "test/soak:", err)
		os.Exit(2)
	}
	status := m.Run()
	testkit.Cleanup()
	os.Exit(status)
}

// apart runs these tests again in a mount and a network namespace of their own, and
// returns their status: bridges, rules of the firewall and the files in /tmp are theirs.
func apart() (int, error) {
	bin, err := testkit.Bin()
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "staves-soak-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(dir)
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), testkit.Private+"="+dir, "BIN="+bin)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	runtime.LockOSThread() // the kernel looks at the thread that started it
	defer runtime.UnlockOSThread()
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return status(err), nil
	}
	return 0, err
}

// settle makes a /tmp of this process's own, with the commands in it, at first in dir.
func settle(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, "mode=1777"); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	if err := os.Mkdir(dir+"/bin", 0o755); err != nil {
		return err
	}
	if err := testkit.CopyFiles(dir+"/bin", os.Getenv("BIN")); err != nil {
		return err
	}
	if err := unix.Mount(dir, os.TempDir(), "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the mount to %s: %w", os.TempDir(), err)
	}
	return os.Setenv("BIN", os.TempDir()+"/bin")
}

// full, in the environment, has the tests do as much as is promised. It is not called
// STAVES_SOAK: with a variable of ours nsrun takes no program that was prepared.
const full = "SOAK"

// count is how often something is done: a little, or all.
func count(little, all int) int {
	if os.Getenv(full) != "" {
		return all
	}
	return little
}

// nsrun is the command with options, for whoever may make the namespaces.
func nsrun(t *testing.T, words ...string) *exec.Cmd {
	t.Helper()
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		words = append([]string{"-U", "-r"}, words...)
	}
	return exec.Command(filepath.Join(bin, "nsrun"), words...)
}

// Containers started and ended a hundred at a time leave nothing, and each ends with the
// status of its program.
func TestContainers(t *testing.T) {
	testkit.Check(t)
	const atOnce = 100
	n := count(atOnce, 1000)
	for begun := 0; begun < n; begun += atOnce {
		var wait sync.WaitGroup
		for i := range atOnce {
			want := (begun + i) % 120
			words := []string{"-m", "-p", "-u", "--", "sh", "-c", fmt.Sprintf("sleep 60 & exit %d", want)}
			if i%2 == 0 {
				words = append([]string{"--kill-child"}, words...)
			}
			if i%5 == 0 {
				words[len(words)-1], want = "kill -KILL $$", 128+int(unix.SIGKILL)
			}
			cmd := nsrun(t, words...)
			wait.Go(func() {
				if got := status(cmd.Run()); got != want {
					t.Errorf("%v: status %d, want %d", cmd.Args, got, want)
				}
			})
		}
		wait.Wait()
	}
}

// status is the status that a shell would show.
func status(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		return -1
	}
	if w := exit.Sys().(syscall.WaitStatus); w.Signaled() {
		return 128 + int(w.Signal())
	}
	return exit.ExitCode()
}

// The program, and whatever it started, is gone within a second of its waiter's death,
// whenever that comes, where --kill-child was given.
func TestWaiterKilled(t *testing.T) {
	testkit.Check(t)
	kinds := [][]string{{"-m", "-p", "--kill-child"}, {"-p", "--no-init", "--kill-child"}, {"-p", "--pidfile", "", "--kill-child"}}
	if os.Geteuid() == 0 {
		kinds = append(kinds, []string{"-f", "--kill-child", "setpriv", "--reuid", "1000", "--clear-groups"})
	}
	dir := t.TempDir()
	for i := range count(40, 300) {
		words := append([]string{}, kinds[i%len(kinds)]...)
		for j := range words {
			if words[j] == "" {
				words[j] = filepath.Join(dir, "pid")
			}
		}
		// Whoever holds the pipe's end is alive.
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := nsrun(t, append(words, "sleep", "60")...)
		cmd.Stdout = write
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_ = write.Close()
		time.Sleep(time.Duration(rand.Int64N(int64(6 * time.Millisecond))))
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		killed := time.Now()
		if err := read.SetReadDeadline(killed.Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(read); err != nil || time.Since(killed) > time.Second {
			t.Errorf("%v: alive %v after its waiter's death (%v)", words, time.Since(killed), err)
		}
		_ = read.Close()
	}
}

// The waiter and the init of a container keep 60 kB at most, with a hundred of them.
func TestMemory(t *testing.T) {
	testkit.Check(t)
	const containers, most = 100, 60
	ours := resident(t, containers, func() *exec.Cmd { return nsrun(t, "-p", "sleep", "60") })
	t.Logf("nsrun -p: %d kB for each container's waiter and init", ours)
	if ours > most {
		t.Errorf("a container's waiter and init keep %d kB, want %d at most", ours, most)
	}
	if os.Geteuid() == 0 { // one that is not prepared comes with its program
		const most = 80
		words := strings.Fields("-muip --kill-child -- overlay mkdev pivot capdrop -- sleep 60")
		ours = resident(t, containers, func() *exec.Cmd { return nsrun(t, words...) })
		t.Logf("nsrun overlay mkdev pivot capdrop: %d kB", ours)
		if ours > most {
			t.Errorf("the waiter and init of a chain keep %d kB, want %d at most", ours, most)
		}
	}
	if os.Getenv(full) == "" || os.Geteuid() != 0 {
		return
	}
	for _, line := range []string{
		"unshare -fp --kill-child tini -s -- sleep 60",
		"bwrap --unshare-pid --dev-bind / / sleep 60",
	} {
		words := strings.Fields(line)
		testkit.NeedExec(t, words[0])
		t.Logf("%s: %d kB", line, resident(t, containers, func() *exec.Cmd { return exec.Command(words[0], words[1:]...) }))
	}
}

// resident is the proportional set size, in kB for each of n commands, of all that they
// start but the sleep at the end.
func resident(t *testing.T, n int, command func() *exec.Cmd) int {
	t.Helper()
	var cmds []*exec.Cmd
	defer func() {
		for _, cmd := range cmds {
			for _, pid := range family(cmd.Process.Pid) {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
			_ = cmd.Wait()
		}
	}()
	for range n {
		cmd := command()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	sum := 0
	for _, cmd := range cmds {
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			pids := family(cmd.Process.Pid)
			last := pids[len(pids)-1]
			if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", last)); string(comm) == "sleep\n" {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%v has not come to its sleep", cmd.Args)
			}
		}
	}
	for _, cmd := range cmds {
		pids := family(cmd.Process.Pid)
		for _, pid := range pids[:len(pids)-1] {
			sum += pss(t, pid)
		}
	}
	return sum / n
}

// family is a process with its descendants, the last of which has none.
func family(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", all[i]))
		for _, f := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(f); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

func pss(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kb
		}
	}
	t.Fatalf("process %d has no Pss", pid)
	return 0
}

// A supervisor is told what it can parse, and what is so.
func TestReports(t *testing.T) {
	testkit.Check(t)
	for _, c := range []struct {
		script       string
		code, signal int
	}{{"readlink /proc/self/ns/pid; exit 7", 7, 0}, {"readlink /proc/self/ns/pid; kill -TERM $$", 143, int(unix.SIGTERM)}} {
		info, status := pipe(t), pipe(t)
		cmd := nsrun(t, "-p", "--info-fd", "3", "--json-status-fd", "4", "--", "sh", "-c", c.script)
		cmd.ExtraFiles = []*os.File{info.write, status.write}
		var out bytes.Buffer
		cmd.Stdout = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_, _ = info.write.Close(), status.write.Close()
		type child struct {
			Pid int `json:"child-pid"`
			NS  int `json:"pid-namespace"`
		}
		var told, again child
		var end struct {
			Code   int `json:"exit-code"`
			Signal int `json:"signal"`
		}
		text, err := io.ReadAll(info.read)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &told); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		lines := json.NewDecoder(status.read)
		if err := errors.Join(lines.Decode(&again), lines.Decode(&end)); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait()
		if want := fmt.Sprintf("pid:[%d]\n", told.NS); out.String() != want {
			t.Errorf("it was told of %q, and the program saw %q", want, out.String())
		}
		if told != again || told.Pid <= cmd.Process.Pid || end.Code != c.code || end.Signal != c.signal {
			t.Errorf("told %v, then %v, at the end %v; want %v", told, again, end, c)
		}
		_, _ = info.read.Close(), status.read.Close()
	}
}

type ends struct{ read, write *os.File }

func pipe(t *testing.T) (e ends) {
	t.Helper()
	var err error
	if e.read, e.write, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	return e
}
