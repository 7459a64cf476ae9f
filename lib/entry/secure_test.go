package entry_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
	"staves/lib/testkit"
)

const (
	targetVar = "STAVES_TEST_SETUID" // a command for this process to become
	markVar   = "STAVES_TEST_MARK"   // a directory for its program to make
)

func TestMain(m *testing.M) {
	target := os.Getenv(targetVar)
	if target == "" {
		status := m.Run()
		testkit.Cleanup()
		os.Exit(status)
	}
	// An ordinary user who knows how programs are encoded, and his own pid.
	var b entry.Builder
	b.Do("mkdir", unix.SYS_MKDIRAT, unix.AT_FDCWD, os.Getenv(markVar), 0o700)
	env, err := entry.ProgramEnv(&b, "")
	if err == nil {
		err = syscall.Exec(target, []string{"nsrun", "--version"}, env)
	}
	panic(err)
}

// What a setuid command finds in its environment was written by somebody else: no call
// of it may be made, not even before main can refuse.
func TestSetuidObeysNoProgram(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: cannot make a setuid file")
	}
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && len(d) > 1; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(bin, "nsrun"))
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open") // where anybody may write
	for path, mode := range map[string]os.FileMode{
		filepath.Join(dir, "plain"): 0o755, filepath.Join(dir, "setuid"): 0o755 | os.ModeSetuid,
	} {
		if err := os.WriteFile(path, text, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "test"), self, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"plain": true, "setuid": false} {
		mark := filepath.Join(open, name)
		cmd := exec.Command(filepath.Join(dir, "test"))
		cmd.Env = []string{targetVar + "=" + filepath.Join(dir, name), markVar + "=" + mark}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
		out, err := cmd.CombinedOutput()
		if _, statErr := os.Stat(mark); (statErr == nil) != want {
			t.Errorf("%s: the program was carried out: %v, want %v; %v: %s", name, statErr == nil, want, err, out)
		}
	}
}
