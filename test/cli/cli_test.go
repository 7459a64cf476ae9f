// Package cli tests the commands as a user meets them: scripts in testdata, run over
// the binaries that make built.
//
// Every script runs in three modes: fused, unfused and plain. In the last the commands
// are one file, built as 'go install' does, without the flag for the linker. It runs
// as root and as an ordinary user, if the tests are run by root.
//
// A script finds the commands first in its PATH. It writes stages after the first of a
// chain as $NSRUN, $CGSET, $NETBR, $OVERLAY, $MKDEV, $PIVOT, $CAPDROP: the bare names,
// or when unfused absolute paths. Its environment says $mode as well, in $COMPAT the
// directory of the links by which the tools stand in for other programs, in $RECIPES that
// of scripts/recipes, in $SYSTEM a PATH without anything of ours, and in $SLOW how many times longer than elsewhere something may take.
//
// Conditions, beside testscript's: [root], [fused], [unfused], [plain], [userns] an
// ordinary user can make a user namespace, [cgroup2] a hierarchy of cgroup v2 is
// mounted, [cgroup2-cpu] it is what /sys/fs/cgroup is and has the controller cpu,
// [cgroup1-memory] memory is a controller of v1, [veth] bridges and veth pairs can be made,
// [disk] /usr is on a disk, [fat] a FAT file system in a file can be mounted, [binfmt]
// there is binfmt_misc for user namespaces, [userns-clone] the sysctl
// kernel.unprivileged_userns_clone is there, [apparmor] AppArmor is in force, [selinux] SELinux
// is, [linux6.13] the kernel is that or newer.
// (testscript's own [net] says nothing here: the tests have a network namespace with lo
// alone.)
//
// Commands, beside testscript's:
//
//	status N COMMAND...   COMMAND ends with status N; 128+n if it died from signal n
//	stderr-lines N        the last command wrote N lines to standard error
//	as-user COMMAND...    run COMMAND as the ordinary user
//	pty FILE COMMAND...   run COMMAND in a terminal, typing and reading as FILE says
//	busybox-root DIR...   make DIR a root of busybox alone, with an empty /dev
//	oci-layout DIR TAR... make DIR an image of those layers, the lowest first
//
// A script that is for root alone says [!root] skip 'needs root', one for ordinary
// users alone [root] skip 'needs an ordinary user': such a skip is no gap in the tests
// where both run.
package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"staves/lib/probe"
	"staves/lib/testkit"
)

func TestScripts(t *testing.T) {
	if user := os.Getenv(userVar); user != "" {
		scripts(t, user)
		return
	}
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	testkit.Check(t)
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && len(d) > 1; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := stage(dir, bin); err != nil {
		t.Fatal(err)
	}
	root := os.Geteuid() == 0
	if root {
		t.Run("root", func(t *testing.T) { runAs(t, "root", dir, true) })
	}
	t.Run("user", func(t *testing.T) { runAs(t, "user", dir, root) })
}

// scripts is act 3.
func scripts(t *testing.T, user string) {
	dir := os.Getenv(stageVar)
	t.Run(user, func(t *testing.T) {
		for _, mode := range modes() {
			t.Run(mode, func(t *testing.T) { runMode(t, dir, mode) })
		}
	})
}

// modes are those that the scripts run in.
func modes() []string {
	if some := strings.Fields(os.Getenv(modesVar)); len(some) > 0 {
		return some
	}
	return []string{"fused", "unfused", "plain"}
}

// patience is how long one script may take: a thousand times what it does take.
var patience = time.Minute * testkit.Slow

func runMode(t *testing.T, dir, mode string) {
	bin := filepath.Join(dir, "bin")
	path := bin
	if mode == "plain" {
		path = t.TempDir()
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, tool := range testkit.Tools {
			if err := os.Symlink(filepath.Join(dir, "plain", "staves"), filepath.Join(path, tool)); err != nil {
				t.Fatal(err)
			}
		}
		path += ":" + bin
	}
	path += ":" + os.Getenv("PATH") + ":/usr/local/sbin:/usr/sbin:/sbin"
	tools := strings.SplitN(path, ":", 2)[0]
	compat := t.TempDir()
	if out, err := exec.Command(bin+"/compat", compat, tools+"/").CombinedOutput(); err != nil {
		t.Fatalf("compat: %v: %s", err, out)
	}
	if err := os.Chmod(compat, 0o755); err != nil {
		t.Fatal(err)
	}
	params := testscript.Params{
		RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			if err := os.Chmod(filepath.Dir(e.WorkDir), 0o755); err != nil { // for as-user
				return err
			}
			e.Setenv("PATH", path)
			e.Setenv("mode", mode)
			e.Setenv("SLOW", strconv.Itoa(int(testkit.Slow)))
			e.Setenv("COMPAT", compat)
			e.Setenv("RECIPES", bin+"/recipes")
			e.Setenv("SYSTEM", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin")
			e.Setenv("SHELL", "/bin/sh")
			for _, tool := range testkit.Tools {
				word := tool
				if mode == "unfused" {
					word = filepath.Join(bin, tool)
				}
				e.Setenv(strings.ToUpper(tool), word)
			}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "fused", "unfused", "plain":
				return cond == mode, nil
			}
			return condition(cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": status, "stderr-lines": stderrLines, "as-user": asUser, "busybox-root": busyboxRoot, "pty": pty, "oci-layout": ociLayout,
		},
	}
	files, err := filepath.Glob(filepath.Join(dir, "testdata", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts: ", err)
	}
	for _, f := range files {
		params.Files = []string{f}
		hung := time.AfterFunc(patience, testkit.KillAll)
		testscript.RunT(serial{t}, params)
		hung.Stop()
	}
}

// serial runs scripts one after another, and proves of each that it left nothing: the
// look at the machine could not tell two at a time apart.
type serial struct{ *testing.T }

func (serial) Parallel()     {}
func (serial) Verbose() bool { return testing.Verbose() }

func (s serial) Run(name string, f func(testscript.T)) {
	s.T.Run(name, func(t *testing.T) {
		testkit.Check(t)
		f(serial{t})
	})
}

func (s serial) Skip(args ...any) {
	why := fmt.Sprint(args...)
	if os.Getenv(bothVar) != "" && (why == "needs root" || why == "needs an ordinary user") {
		why = "elsewhere: " + why
	}
	s.T.Skip(why)
}

func (s serial) Log(args ...any) {
	// A log of a script that passed helps nobody, and go test -json shows all.
	if s.Failed() {
		s.T.Log(args...)
	}
}

func (s serial) Fatal(args ...any) { s.T.Fatal(args...) }

// found are the conditions that were looked at. What they are about stays as it is.
var found = map[string]bool{}

func condition(cond string) (bool, error) {
	if is, ok := found[cond]; ok {
		return is, nil
	}
	is, err := lookAt(cond)
	if err == nil {
		found[cond] = is
	}
	return is, err
}

func lookAt(cond string) (bool, error) {
	switch cond {
	case "root":
		return os.Geteuid() == 0, nil
	case "userns":
		return testkit.AsUser(exec.Command("unshare", "-Ur", "true")).Run() == nil, nil
	case "apparmor":
		_, err := os.Stat("/sys/kernel/security/apparmor/.load")
		return err == nil, nil
	case "selinux":
		_, err := os.Stat("/sys/fs/selinux/load")
		return err == nil, nil
	case "binfmt":
		b, err := os.ReadFile("/proc/filesystems")
		return bytes.Contains(b, []byte("binfmt_misc")) && probe.KernelAtLeast(6, 7), err
	case "userns-clone":
		_, err := os.Stat("/proc/sys/kernel/unprivileged_userns_clone")
		return err == nil, nil
	case "linux6.13":
		return probe.KernelAtLeast(6, 13), nil
	case "fat":
		const try = `mount -t tmpfs none /mnt && cd /mnt && truncate -s 4M image && busybox mkdosfs image && mkdir d && mount -t vfat -o loop image d`
		return os.Geteuid() == 0 && exec.Command("unshare", "-m", "sh", "-c", try).Run() == nil, nil
	case "disk":
		b, err := exec.Command("stat", "-f", "-c", "%T", "/usr/share").Output()
		return slices.Contains([]string{"ext2/ext3", "xfs", "btrfs"}, strings.TrimSpace(string(b))), err
	case "cgroup2":
		b, err := os.ReadFile("/proc/self/mountinfo")
		return bytes.Contains(b, []byte(" - cgroup2 ")), err
	case "cgroup1-memory":
		b, err := os.ReadFile("/proc/self/mountinfo")
		return regexp.MustCompile(`(?m) - cgroup .*\bmemory\b`).Match(b), err
	case "cgroup2-cpu":
		b, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
		return slices.Contains(strings.Fields(string(b)), "cpu"), ignoreMissing(err)
	case "veth":
		make := "ip link add name stavesprobe type bridge && ip link add name stavesprobe0 type veth peer name stavesprobe1"
		if os.Geteuid() == 0 {
			return exec.Command("unshare", "-n", "sh", "-c", make).Run() == nil, nil
		}
		return exec.Command("unshare", "-Urn", "sh", "-c", make).Run() == nil, nil
	}
	return false, fmt.Errorf("no condition %q", cond)
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// status runs a command and wants it to end with exactly one status.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := run(ts, args[1], args[2:]...); got != want {
		ts.Fatalf("%s: status %d, want %d", args[1], got, want)
	}
}

// run runs a command and returns its status as a shell would.
func run(ts *testscript.TestScript, name string, args ...string) int {
	err := ts.Exec(name, args...)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		ts.Fatalf("%s: %v", name, err)
	}
	if w := exit.Sys().(syscall.WaitStatus); w.Signaled() {
		return 128 + int(w.Signal())
	}
	return exit.ExitCode()
}

func stderrLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: stderr-lines N")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	text := ts.ReadFile("stderr")
	if got := strings.Count(text, "\n"); got != want || text != "" && !strings.HasSuffix(text, "\n") {
		ts.Fatalf("standard error has %d lines, want %d:\n%s", got, want, text)
	}
}

// asUser runs a command as the ordinary user: as it is, unless the script runs as root.
func asUser(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: [!] as-user COMMAND...")
	}
	if os.Geteuid() == 0 {
		id := strconv.Itoa(testkit.UID)
		args = append([]string{"setpriv", "--reuid", id, "--regid", id, "--clear-groups"}, args...)
	}
	if got := run(ts, args[0], args[1:]...); (got != 0) != neg {
		ts.Fatalf("%s: status %d", strings.Join(args, " "), got)
	}
}
