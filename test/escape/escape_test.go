// Package escape attempts to get out of containers, and passes when it does not: one file
// for each way out, tried as root and as an ordinary user, from inside and by what is
// inherited, with images made for it.
//
// Every way is tried against a box, with all tools, and against less than that, down to
// where it leads out: a way that nothing holds shows that the attempt is one. After each
// test the mounts of the host and the directory outside are what they were.
package escape

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"staves/lib/testkit"
)

// probeFile is the hostile program, built once.
var probeFile string

// apartVar tells, in the environment, that this process has mounts of its own.
const apartVar = "STAVES_ESCAPE_APART"

// apart executes this process once more with mounts of its own and an empty /tmp: what else
// goes on on the machine is no part of the comparison, and an attempt that succeeds does
// its damage here. It returns on error.
func apart() error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	top := testkit.Root()
	checkout, err := unix.Open(top, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Mount("escape", "/tmp", "tmpfs", 0, "mode=1777"); err != nil {
		return err
	}
	if strings.HasPrefix(top, "/tmp/") { // a checkout there is still needed, to build from
		if err := os.MkdirAll(top, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", checkout), top, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
	}
	return syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), apartVar+"=1", "TMPDIR=/tmp"))
}

func TestMain(m *testing.M) {
	var err error
	if os.Geteuid() == 0 && os.Getenv(apartVar) == "" {
		err = apart()
	}
	var dir string
	if err == nil {
		dir, err = os.MkdirTemp("", "escape-")
	}
	if err == nil {
		probeFile = dir + "/probe"
		err = testkit.Build(dir, "-s -w", "./test/escape/probe")
	}
	if err == nil {
		_, err = testkit.Bin()
	}
	status := 1
	if err == nil {
		status = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, "test/escape:", err)
	}
	testkit.Cleanup()
	if dir != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(status)
}

// A world is a host with a file outside of every container, and an image.
type world struct {
	*testing.T
	root  bool   // else an ordinary user attacks
	bin   string // the commands
	dir   string // everything; the working directory of what is run
	image string // the image's root
	mark  string // the file outside
	// victim is a directory outside, compared when the test ends; that was its time.
	victim     string
	victimTime time.Time
}

// each runs a test as root and as an ordinary user, each in a world of its own.
func each(t *testing.T, f func(w *world)) {
	t.Helper()
	if os.Geteuid() == 0 {
		t.Run("root", func(t *testing.T) { f(newWorld(t, true)) })
	}
	t.Run("user", func(t *testing.T) { f(newWorld(t, false)) })
}

func newWorld(t *testing.T, root bool) *world {
	t.Helper()
	testkit.NeedExec(t, "busybox")
	testkit.Check(t)
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, root: root, bin: bin, dir: t.TempDir()}
	for d := w.dir; d != os.TempDir() && len(d) > 1; d = filepath.Dir(d) {
		w.must(os.Chmod(d, 0o755))
	}
	w.image, w.victim, w.mark = w.dir+"/image", w.dir+"/victim", w.dir+"/mark"
	for _, d := range []string{"image/bin", "image/dev", "image/proc", "image/sys", "image/etc", "image/tmp", "victim/dir"} {
		w.must(os.MkdirAll(w.dir+"/"+d, 0o755))
	}
	w.must(os.WriteFile(w.mark, []byte("this is outside\n"), 0o644))
	w.must(os.WriteFile(w.victim+"/file", []byte("keep\n"), 0o644))
	busybox, err := exec.LookPath("busybox")
	w.must(err)
	w.must(testkit.CopyFile(w.image+"/bin/busybox", busybox))
	w.must(os.Symlink("busybox", w.image+"/bin/sh"))
	w.must(testkit.CopyFile(w.image+probe, probeFile))
	w.give(w.dir)

	st, err := os.Stat(w.victim)
	w.must(err)
	w.victimTime = st.ModTime()

	mounts, files := w.mounts(), w.files()
	t.Cleanup(func() {
		if now := w.mounts(); now != mounts {
			t.Errorf("the host's mounts were\n%s\nand are\n%s", mounts, now)
		}
		if now := w.files(); now != files {
			t.Errorf("outside was\n%s\nand is\n%s", files, now)
		}
	})
	return w
}

// give makes a tree the attacker's.
func (w *world) give(dir string) {
	w.Helper()
	if w.root || os.Geteuid() != 0 {
		return
	}
	w.must(filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, testkit.UID, testkit.GID)
	}))
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) mounts() string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	w.must(err)
	return string(b)
}

// files lists the victim and the mark, with what can be seen of each.
func (w *world) files() string {
	var s strings.Builder
	for _, top := range []string{w.victim, w.mark} {
		w.must(filepath.WalkDir(top, func(p string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			var st unix.Stat_t
			if err := unix.Lstat(p, &st); err != nil {
				return err
			}
			b, _ := os.ReadFile(p)
			fmt.Fprintf(&s, "%s %o %d:%d %d %d %q\n", p, st.Mode, st.Uid, st.Gid, st.Rdev, st.Mtim.Nano(), b)
			return nil
		}))
	}
	return s.String()
}

// namespaces are those of a box, with one of the user's where it must be.
func (w *world) namespaces() string {
	if w.root {
		return "-muipCn"
	}
	return "-UrmuipCn"
}

// box is a container over the image with every tool, up to the words of the program.
func (w *world) box(pivot ...string) []string {
	return append(w.open(pivot...), "capdrop", "--")
}

// open is a box without capdrop: whoever is root in it has root's capabilities.
func (w *world) open(pivot ...string) []string {
	chain := append([]string{"nsrun", w.namespaces(), "mkdev", w.image + "/dev", "pivot"}, pivot...)
	return append(chain, w.image, "--")
}

// host is a box over the host's own root.
func (w *world) host() []string {
	return []string{"nsrun", w.namespaces(), "overlay", "mkdev", "pivot", "--bind", w.image + "/bin:/mnt", "--tmpfs", "/tmp", "capdrop", "--"}
}

// words joins a chain and its program.
func words(chain []string, program ...string) []string {
	return append(append([]string{}, chain...), program...)
}

// command prepares a command to be run in the world, with its first word looked up among
// ours.
func (w *world) command(argv ...string) *exec.Cmd {
	name := argv[0]
	if _, err := os.Stat(filepath.Join(w.bin, name)); err == nil {
		name = filepath.Join(w.bin, name)
	}
	cmd := exec.Command(name, argv[1:]...)
	cmd.Dir = w.dir
	cmd.Env = []string{"PATH=" + w.bin + ":/usr/sbin:/usr/bin:/sbin:/bin", "SHELL=/bin/sh", "MARK=" + w.mark}
	if !w.root {
		testkit.AsUser(cmd)
	}
	return cmd
}

// run runs a command and returns all that it printed.
func (w *world) run(cmd *exec.Cmd) string {
	w.Helper()
	timer := time.AfterFunc(time.Minute, testkit.KillAll)
	defer timer.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		w.Fatal(err)
	}
	return string(out)
}

// held runs a command that tries a way out, and wants it to be held.
func (w *world) held(argv ...string) {
	w.Helper()
	w.heldAs(w.command(argv...))
}

func (w *world) heldAs(cmd *exec.Cmd) {
	w.Helper()
	out := w.run(cmd)
	if strings.Contains(out, "ESCAPED") || !strings.Contains(out, "held") {
		w.Errorf("%s:\n%s", strings.Join(cmd.Args, " "), out)
	}
}

// refused runs a command that must end in an error of ours, before its program runs.
func (w *world) refused(argv ...string) {
	w.Helper()
	cmd := w.command(argv...)
	out := w.run(cmd)
	if s := cmd.ProcessState.ExitCode(); s < 125 || s > 127 || strings.Contains(out, "ESCAPED") || strings.Contains(out, "held") {
		w.Errorf("%s: status %d:\n%s", strings.Join(cmd.Args, " "), s, out)
	}
}

// escapes runs a command that tries the way out where nothing holds it, and wants it to
// get out: else the test would prove nothing.
func (w *world) escapes(argv ...string) {
	w.Helper()
	w.escapesAs(w.command(argv...))
}

func (w *world) escapesAs(cmd *exec.Cmd) {
	w.Helper()
	if out := w.run(cmd); !strings.Contains(out, "ESCAPED") {
		w.Errorf("this was to lead out: %s:\n%s", strings.Join(cmd.Args, " "), out)
	}
}

const probe = "/bin/probe"

// handle is the mark's file handle, as two words.
func (w *world) handle() (kind, text string) {
	h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, w.mark, 0)
	if errors.Is(err, unix.EOPNOTSUPP) {
		w.Skip("needs a file system with handles for " + w.dir)
	}
	w.must(err)
	return strconv.Itoa(int(h.Type())), fmt.Sprintf("%x", h.Bytes())
}
