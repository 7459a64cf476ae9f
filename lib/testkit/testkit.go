// Package testkit is for tests only: it proves that a test leaves nothing behind on
// the machine ([Check]), builds the binaries that tests run ([Bin]), and runs them as
// an ordinary user ([AsUser]).
//
// When not to use this package: outside of _test.go files. A test of the house's
// rules holds that.
package testkit

import (
	"errors"
	"fmt"
	"io"
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
)

// Tools are the names of the seven commands.
var Tools = []string{"cgset", "netbr", "nsrun", "overlay", "mkdev", "pivot", "capdrop"}

// Slow is how many times longer than elsewhere things may take on this machine: 1, or
// what $STAVES_TEST_SLOW says.
var Slow = slow(os.Getenv("STAVES_TEST_SLOW"))

func slow(times string) time.Duration {
	if n, err := strconv.Atoi(times); err == nil && n > 1 {
		return time.Duration(n)
	}
	return 1
}

// UID and GID are an ordinary user's: no account needs to have them.
const (
	UID = 1000
	GID = 1000
)

// NeedRoot skips the test unless it is run by root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// NeedExec skips the test unless all the programs are there.
func NeedExec(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip("needs the program " + p)
		}
	}
}

// AsUser has cmd run as an ordinary user: [UID], [GID], no other groups, no
// privileges. It does nothing unless the test is run by root.
func AsUser(cmd *exec.Cmd) *exec.Cmd {
	if os.Geteuid() == 0 {
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: UID, Gid: GID}
	}
	return cmd
}

// Root is the directory of the project's go.mod.
func Root() string {
	_, file, _, ok := runtime.Caller(0)
	if ok && filepath.IsAbs(file) {
		return filepath.Dir(filepath.Dir(filepath.Dir(file)))
	}
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "."
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}

var built struct {
	sync.Once
	dir string
	err error
}

// Bin returns a directory that holds the commands, which every user can read: a copy
// of $BIN, or built once for this run of the tests. The caller has Cleanup called at
// the end, from TestMain.
func Bin() (string, error) {
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", binPattern(os.Getpid())); built.err != nil {
			return
		}
		if built.err = os.Chmod(built.dir, 0o755); built.err != nil {
			return
		}
		if from := os.Getenv("BIN"); from != "" {
			built.err = CopyFiles(built.dir, from)
		} else {
			built.err = buildAll(built.dir)
		}
	})
	return built.dir, built.err
}

// binPrefix begins the name of what Bin returns, binPattern is the whole of it: the leak
// check of another run can see whose it is.
const binPrefix = "staves-bin-"

func binPattern(pid int) string { return fmt.Sprintf("%s%d-*", binPrefix, pid) }

// buildAll builds the commands as make does.
func buildAll(dir string) error {
	work, err := os.MkdirTemp("", "staves-runtime-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	overlay, err := exec.Command(filepath.Join(Root(), "scripts/goruntime"), work).Output()
	if err != nil {
		return fmt.Errorf("scripts/goruntime: %w", err)
	}
	return Build(dir, "-s -w -E staves/lib/entry.start", "-overlay", strings.TrimSpace(string(overlay)), "./cmd/...")
}

// Cleanup removes what Bin made.
func Cleanup() {
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
}

// Build builds packages of the project into dir, with the given flags for the linker.
// Other flags of go build may stand before the packages.
func Build(dir, ldflags string, packages ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-trimpath", "-ldflags", ldflags, "-o", dir + "/"}, packages...)...)
	cmd.Dir = Root()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return &buildError{string(out), err}
	}
	return nil
}

type buildError struct {
	out string
	err error
}

func (e *buildError) Error() string { return "go build: " + e.err.Error() + "\n" + e.out }
func (e *buildError) Unwrap() error { return e.err }

// CopyFiles copies the regular files of the directory from into the directory to, for
// everyone to read and execute.
func CopyFiles(to, from string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if err := CopyFile(filepath.Join(to, e.Name()), filepath.Join(from, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// CopyFile copies one file, for everyone to read and execute.
func CopyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	// As cp(1) copies: one write of megabytes gives a file pages so large in the page cache
	// that what a process maps of it cannot be told.
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}
