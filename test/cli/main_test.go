package cli

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
	"staves/lib/ns"
	"staves/lib/testkit"
)

// The run of the scripts has three acts, each in a process of its own:
//
//  1. What go test starts builds or copies the commands, and starts the second act
//     once for each user that the scripts run as.
//  2. As root, in a mount and a network namespace of its own, it makes a /tmp that
//     only this run uses, copies all that is needed there, and becomes the user.
//  3. The same process, executed again, runs the scripts.
//
// Run by an ordinary user there is no second act.
//
// The compiled test runs on a machine without Go as well, in this directory, with BIN
// and with modes among which is no plain.
const (
	modesVar = "STAVES_TEST_MODES" // the modes that scripts run in: all, if not set
	userVar  = "STAVES_TEST_USER"  // whom the scripts run as: root or user
	stageVar = "STAVES_TEST_STAGE" // the directory that holds everything, in act 2 and 3
	bothVar  = "STAVES_TEST_BOTH"  // set: they run as the other as well
)

func TestMain(m *testing.M) {
	switch {
	case filepath.Base(os.Args[0]) == "with":
		with(os.Args[1:])
	case os.Getenv(stageVar) != "" && os.Getenv(testkit.Private) == "" && os.Getuid() == 0:
		fatal(isolate(os.Getenv(stageVar)))
	}
	status := m.Run()
	testkit.Cleanup()
	os.Exit(status)
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/cli:", err)
		os.Exit(2)
	}
}

// staged are the directories of the stage.
var staged = []string{"", "bin", "bin/lessons", "bin/recipes/chain", "bin/recipes/classic", "plain", "testdata"}

// stage fills a directory with what the scripts need: the commands as make builds
// them, as one file without the linker's flag, and the scripts.
func stage(dir, bin string) error {
	for _, d := range staged {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	if err := testkit.CopyFiles(dir+"/bin", bin); err != nil {
		return err
	}
	if err := testkit.CopyFiles(dir+"/testdata", "testdata"); err != nil {
		return err
	}
	if slices.Contains(modes(), "plain") {
		if err := testkit.Build(dir+"/plain", "-s -w", "./cmd/staves"); err != nil {
			return err
		}
	}
	if err := testkit.Build(dir+"/bin", "-s -w", "./libexec/...", "./scripts/recipes/classic/reexec"); err != nil {
		return err
	}
	// The scripts find the commands beside them.
	for _, script := range []string{"box", "compat", "lesson", "netbr-dns", "recipes/two-layers", "rootfs"} {
		if err := testkit.CopyFile(filepath.Join(dir, "bin", filepath.Base(script)), filepath.Join(testkit.Root(), "scripts", script)); err != nil {
			return err
		}
	}
	for _, d := range []string{"lessons", "recipes/chain", "recipes/classic"} {
		if err := testkit.CopyFiles(filepath.Join(dir, "bin", d), filepath.Join(testkit.Root(), "scripts", d)); err != nil {
			return err
		}
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	if err := testkit.CopyFile(dir+"/bin/with", exe); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// runAs starts act 2 for user and passes its output on.
func runAs(t *testing.T, user, dir string, both bool) {
	args := []string{fmt.Sprintf("-test.timeout=%s", 8*time.Minute*testkit.Slow)}
	flag.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "test.v", "test.run", "test.short", "test.failfast", "test.skip":
			args = append(args, "-"+f.Name+"="+f.Value.String())
		}
	})
	cmd := exec.Command(dir+"/bin/with", args...)
	cmd.Args[0] = "cli.test"
	cmd.Env = append(os.Environ(), userVar+"="+user, stageVar+"="+dir)
	if both {
		cmd.Env = append(cmd.Env, bothVar+"=1")
	}
	cmd.Stderr = os.Stderr
	// It ends with us; the kernel looks at the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS | syscall.CLONE_NEWNET
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Its subtests appear as ours; what it says of the tests around them is for us to say.
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		if !around(line, t.Name()) {
			fmt.Print(line)
		}
		if err == io.EOF {
			break
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the scripts run as %s: %v", user, err)
	}
}

// around tells whether a line of go test's output is about a whole run, or about the
// test of that name or the one that it is part of.
func around(line, name string) bool {
	f := strings.Fields(strings.TrimLeft(line, "\x16 "))
	parent, _, _ := strings.Cut(name, "/")
	switch {
	case len(f) == 1:
		return f[0] == "PASS" || f[0] == "FAIL"
	case len(f) < 3 || f[0] != "===" && f[0] != "---":
		return false
	}
	return f[2] == name || f[2] == parent
}

// isolate is act 2. It does not return but on error.
func isolate(dir string) error {
	runtime.LockOSThread()
	// The commands come along to the new /tmp.
	fresh, err := os.MkdirTemp(dir, "tmp")
	if err != nil {
		return err
	}
	if err := unix.Mount("staves-test", fresh, "tmpfs", 0, "mode=1777"); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	to := fresh + "/staves"
	for _, d := range staged {
		if err := os.MkdirAll(filepath.Join(to, d), 0o755); err != nil {
			return err
		}
		if err := testkit.CopyFiles(filepath.Join(to, d), filepath.Join(dir, d)); err != nil {
			return err
		}
	}
	if err := unix.Mount(fresh, "/tmp", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move tmpfs to /tmp: %w", err)
	}
	const here = "/tmp/staves"
	if err := accounts(here); err != nil {
		return err
	}
	var lo entry.Builder
	ns.LoopbackUp(&lo)
	if err := lo.Run(); err != nil {
		return err
	}
	if err := os.Chdir(here); err != nil {
		return err
	}
	if os.Getenv(userVar) == "user" {
		if err := syscall.Setgroups(nil); err != nil {
			return err
		}
		if err := syscall.Setgid(testkit.GID); err != nil {
			return err
		}
		if err := syscall.Setuid(testkit.UID); err != nil {
			return err
		}
		// A change of ids cancels what runAs has asked for.
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
			return err
		}
	}
	for name, value := range map[string]string{stageVar: here, testkit.Private: "1", "TMPDIR": "/tmp"} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return syscall.Exec(here+"/bin/with", append([]string{"cli.test"}, os.Args[1:]...), os.Environ())
}

// accounts gives the ordinary user a name and subordinate ids, in files that only this
// run sees.
func accounts(dir string) error {
	for file, line := range map[string]string{
		"passwd": fmt.Sprintf("ordinary:x:%d:%d::/tmp:/bin/sh\n", testkit.UID, testkit.GID),
		"group":  fmt.Sprintf("ordinary:x:%d:\n", testkit.GID),
		"subuid": fmt.Sprintf("%d:100000:65536\n", testkit.UID),
		"subgid": fmt.Sprintf("%d:100000:65536\n", testkit.UID),
	} {
		b, err := os.ReadFile("/etc/" + file)
		if err != nil {
			continue // no place to put it: a system without subordinate ids
		}
		own := filepath.Join(dir, file)
		if err := os.WriteFile(own, append(b, line...), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(own, "/etc/"+file, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", file, err)
		}
	}
	return nil
}
