package testkit

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// recorder is a test that only notes what Check says about it.
type recorder struct {
	testing.TB
	errors  []string
	cleanup []func()
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanup = append(r.cleanup, f) }
func (r *recorder) Errorf(_ string, args ...any) {
	r.errors = append(r.errors, args[0].(string))
}

// leaks runs f under Check and returns what it is said to leave behind.
func leaks(t *testing.T, f func()) string {
	patience = 200 * time.Millisecond
	r := &recorder{TB: t}
	Check(r)
	f()
	for _, c := range r.cleanup {
		c()
	}
	return strings.Join(r.errors, "\n")
}

func TestCheckFindsNothing(t *testing.T) {
	said := leaks(t, func() {
		f := filepath.Join(t.TempDir(), "staves-gone")
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := exec.Command("true").Run(); err != nil {
			t.Fatal(err)
		}
	})
	if said != "" {
		t.Errorf("a clean test is said to leave:\n%s", said)
	}
}

func TestCheckFindsFile(t *testing.T) {
	f := filepath.Join(os.TempDir(), "staves-left-by-a-test")
	said := leaks(t, func() {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(f) })
	})
	if !strings.Contains(said, f) {
		t.Errorf("a file that was left is not named: %q", said)
	}
}

// So is the directory of a virtual machine, which its script holds a lock in.
func TestCheckLeavesOthersMachines(t *testing.T) {
	for _, held := range []bool{true, false} {
		var dir string
		var lock *os.File
		said := leaks(t, func() {
			var err error
			if dir, err = os.MkdirTemp("", "staves-vm."); err != nil {
				t.Fatal(err)
			}
			if lock, err = os.Create(filepath.Join(dir, "lock")); err != nil {
				t.Fatal(err)
			}
			if held {
				err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
		lock.Close()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if left := strings.Contains(said, dir); left == held {
			t.Errorf("locked: %t, left behind: %t", held, left)
		}
	}
}

// An orphan is no child of the test any more when it is looked for.
// What another run of the tests has built is its own for as long as that one lives.
func TestCheckLeavesOthersBinaries(t *testing.T) {
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		of   string
		pid  int
		left bool
	}{
		{"its parent", os.Getppid(), false},
		{"this process", os.Getpid(), true},
		{"a process that is gone", gone.Process.Pid, true},
	} {
		var dir string
		said := leaks(t, func() {
			var err error
			if dir, err = os.MkdirTemp("", binPattern(test.pid)); err != nil {
				t.Fatal(err)
			}
		})
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		if left := strings.Contains(said, dir); left != test.left {
			t.Errorf("binaries of %s: left behind is %t", test.of, left)
		}
	}
}

func TestCheckFindsOrphan(t *testing.T) {
	var pid string
	said := leaks(t, func() {
		out, err := exec.Command("sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!").Output()
		if err != nil {
			t.Fatal(err)
		}
		pid = strings.TrimSpace(string(out))
		t.Cleanup(func() { _ = exec.Command("kill", pid).Run() })
	})
	if !strings.Contains(said, "process "+pid+" (sleep): sleep 60") {
		t.Errorf("a process that was left is not named: %q", said)
	}
}

func TestCheckFindsCgroup(t *testing.T) {
	NeedRoot(t)
	var group string
	for _, dir := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		if g := dir + "/staves-left-by-a-test"; os.Mkdir(g, 0o755) == nil {
			os.Remove(g)
			group = g
			break
		}
	}
	if group == "" {
		t.Skip("no cgroup can be made here")
	}
	said := leaks(t, func() {
		if err := os.Mkdir(group, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(group) })
	})
	if !strings.Contains(said, "cgroup "+group) {
		t.Errorf("a cgroup that was left is not named: %q", said)
	}
}

// Mounts, links and nft tables are left in namespaces of a child's own, which runs
// this same test again.
func TestCheckFindsMountAndNetwork(t *testing.T) {
	NeedRoot(t)
	NeedExec(t, "mount", "ip", "nft")
	if os.Getenv("STAVES_TEST_CHILD") == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), "STAVES_TEST_CHILD=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	said := leaks(t, func() {
		for _, words := range []string{
			"mount -t tmpfs staves /mnt", "ip link add staves9 type bridge", "nft add table inet staves",
		} {
			if out, err := exec.Command("sh", "-c", words).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", words, err, out)
			}
		}
	})
	for _, want := range []string{"mount of tmpfs on /mnt", "network link staves9", "nft table inet staves"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not named in:\n%s", want, said)
		}
	}
}
