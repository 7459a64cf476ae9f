package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
	"staves/lib/testkit"
)

// The main thread's namespaces are those that /proc/self shows, and it does not end before
// the process: no test runs on it.
func init() { runtime.LockOSThread() }

// isolated runs f in a mount namespace of its own.
func isolated(t *testing.T, f func()) {
	t.Helper()
	testkit.NeedRoot(t)
	testkit.Check(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the runtime ends the thread, and with it the namespace.
		runtime.LockOSThread()
		var b entry.Builder
		OwnNamespace(&b)
		if err := b.Run(); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

// run runs a program and returns the error of an operation, nil if all went well.
func run(b *entry.Builder) *entry.OpError {
	var op *entry.OpError
	errors.As(b.Run(), &op)
	return op
}

func TestMountpointStaysInside(t *testing.T) {
	isolated(t, func() {
		dir := t.TempDir()
		victim := filepath.Join(dir, "victim")
		root := filepath.Join(dir, "root")
		for _, d := range []string{victim, root + "/real"} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for name, to := range map[string]string{
			"abs": victim, "rel": "../../../../../../../.." + victim, "up": "..", "slash": "/", "in": "real", "magic": "/proc/self/root",
		} {
			if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			path, made string // what is there in root afterwards, "" for an error
			dir        bool
		}{
			{"/real", "real", true},
			{"/new/deep/er", "new/deep/er", true},
			{"/in/x", "real/x", true},
			{"/in/file", "real/file", false},
			{"/up/up/y", "y", true},
			{"/../../z", "z", true},
			{"/slash/slash/s", "s", false},
			{"/abs", "", true},
			{"/abs/x", "", true},
			{"/abs/f", "", false},
			{"/rel", "", true},
			{"/rel/f", "", false},
			{"/magic/f", "", false},
		} {
			var b entry.Builder
			tree := OpenTree(&b, root)
			b.Close(tree.Mountpoint(&b, c.path, c.dir))
			b.Close(tree.FD)
			op := run(&b)
			st, err := os.Stat(filepath.Join(root, c.made))
			switch {
			case c.made == "" && op == nil:
				t.Errorf("%s: no error", c.path)
			case c.made != "" && (op != nil || err != nil || st.IsDir() != c.dir):
				t.Errorf("%s: %v, %v", c.path, op, err)
			}
		}
		if left, err := os.ReadDir(victim); err != nil || len(left) > 0 {
			t.Errorf("outside the tree: %v, %v", left, err)
		}
		// Where no link has any business, none is followed, not even one that stays inside.
		for _, path := range []string{"in", "abs", "magic"} {
			var b entry.Builder
			tree := OpenTree(&b, root)
			tree.RealDir(&b, path)
			if op := run(&b); op == nil || op.Errno != unix.ELOOP {
				t.Errorf("RealDir(%s): %v", path, op)
			}
		}
	})
}

func TestMountpointModes(t *testing.T) {
	isolated(t, func() {
		root := t.TempDir()
		// The umask is the process's: that it is put back is tested by it being odd.
		old := unix.Umask(0o137)
		defer unix.Umask(old)
		var b entry.Builder
		tree := OpenTree(&b, root)
		b.Close(tree.Mountpoint(&b, "/a/b/f", false))
		b.Close(tree.FD)
		if op := run(&b); op != nil {
			t.Error(op)
		}
		if now := unix.Umask(0o137); now != 0o137 {
			t.Errorf("umask %o", now)
		}
		for name, want := range map[string]os.FileMode{"a": 0o755, "a/b": 0o755, "a/b/f": 0o644} {
			if st, err := os.Stat(filepath.Join(root, name)); err != nil || st.Mode().Perm() != want {
				t.Errorf("%s: %v, %v", name, st.Mode(), err)
			}
		}
	})
}

// A / with many directories wants one overlay each, one after the other.
func TestSplitRootManyDirectories(t *testing.T) {
	var entries []RootEntry
	for i := range 100 {
		entries = append(entries, RootEntry{Name: fmt.Sprintf("dir%d", i), Mode: unix.S_IFDIR | 0o755})
	}
	isolated(t, func() {
		var b entry.Builder
		SplitRoot(&b, "10%", entries)
		op := run(&b)
		// None of them exists, so the first is where it fails: when carried out, not before.
		if op == nil || op.Errno != unix.ENOENT || !strings.Contains(op.Label, "/dir0") {
			t.Errorf("%v", op)
		}
	})
}

func TestListRoot(t *testing.T) {
	got, err := ListRoot()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadDir("/")
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, func(a, b RootEntry) int { return strings.Compare(a.Name, b.Name) })
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d", len(got), len(want))
	}
	for i, e := range want {
		if got[i].Name != e.Name() || (got[i].Mode&unix.S_IFMT == unix.S_IFLNK) != (e.Type() == os.ModeSymlink) {
			t.Errorf("%+v, want %v", got[i], e)
		}
		if link, err := os.Readlink("/" + e.Name()); err == nil && got[i].Link != link {
			t.Errorf("%s: %q, want %q", e.Name(), got[i].Link, link)
		}
	}
}

func TestOnTmpfsTakesModeAndOwner(t *testing.T) {
	isolated(t, func() {
		dir := t.TempDir()
		lower, at := dir+"/lower", dir+"/at"
		for _, d := range []string{lower, at} {
			if err := os.Mkdir(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, mode := range []uint32{0o755, 0o700, 0o1777, 0o2750} {
			if err := errors.Join(unix.Chown(lower, 12, 34), unix.Chmod(lower, mode)); err != nil {
				t.Fatal(err)
			}
			var top, st unix.Stat_t
			if err := unix.Stat(lower, &top); err != nil {
				t.Fatal(err)
			}
			var b entry.Builder
			fd := OnTmpfs(&b, Overlay{Lower: []string{lower}}, "1M", &top)
			AttachPath(&b, "attach", fd, at)
			b.Close(fd)
			if op := run(&b); op != nil {
				t.Fatal(op)
			}
			if err := unix.Stat(at, &st); err != nil || st.Mode&0o7777 != mode || st.Uid != 12 || st.Gid != 34 {
				t.Errorf("mode %o, owner %d:%d, want %o 12:34 (%v)", st.Mode, st.Uid, st.Gid, mode, err)
			}
			if err := unix.Unmount(at, 0); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestCheckDevice(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]unix.Errno{"/dev/null": 0, "/dev/zero": unix.ENODEV, file: unix.ENODEV, "/": unix.ENODEV} {
		var b entry.Builder
		fd := b.Get("open", unix.SYS_OPENAT, unix.AT_FDCWD, path, unix.O_PATH|unix.O_CLOEXEC, 0)
		CheckDevice(&b, path, fd, false, 1, 3)
		b.Close(fd)
		op := run(&b)
		if want == 0 && op != nil || want != 0 && (op == nil || op.Errno != want) {
			t.Errorf("%s: %v, want %v", path, op, want)
		}
	}
}

// Here is for a mount that stays: in the caller's namespace, on one directory.
func TestHere(t *testing.T) {
	isolated(t, func() {
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/old", nil, 0o644); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile("/proc/thread-self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		wd, _ := os.Getwd()
		err = Here(dir, func(b *entry.Builder) entry.Reg { return New(b, "tmpfs", NoDev, Option{"mode", "700"}) })
		if err != nil {
			t.Fatal(err)
		}
		after, _ := os.ReadFile("/proc/thread-self/mountinfo")
		if n := strings.Count(string(after), "\n") - strings.Count(string(before), "\n"); n != 1 {
			t.Errorf("%d mounts more", n)
		}
		if _, err := os.Stat(dir + "/old"); err == nil {
			t.Error("nothing is mounted there")
		}
		if now, _ := os.Getwd(); now != wd {
			t.Errorf("working directory %s, was %s", now, wd)
		}
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
		err = Here(dir, func(b *entry.Builder) entry.Reg { return New(b, "nosuchfs", 0) })
		if !errors.Is(err, unix.ENODEV) {
			t.Errorf("no file system of that type: %v", err)
		}
		if err := Here(dir+"/none", nil); !errors.Is(err, unix.ENOENT) {
			t.Errorf("no target: %v", err)
		}
	})
}

// The kernel's own explanation of an error reaches the user.
func TestKernelLog(t *testing.T) {
	isolated(t, func() {
		var b entry.Builder
		New(&b, "tmpfs", 0, Option{"size", "nonsense"})
		op := run(&b)
		if op == nil || op.Detail == "" {
			t.Errorf("%+v", op)
		}
	})
}
