package entry

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFormat(t *testing.T) {
	dir := t.TempDir()
	for n, want := range map[int]string{0: "0", 7: "7", 10: "10", 4294967295: "4294967295"} {
		var b Builder
		r := b.reg()
		b.Again(r, "a number", unix.SYS_LSEEK, mustOpen(t), n, unix.SEEK_SET)
		b.Do("mkdir", unix.SYS_MKDIRAT, unix.AT_FDCWD, b.Format(dir+"/a", r, "b"), 0o700)
		if err := b.Run(); err != nil {
			t.Fatal(err)
		}
		if err := unix.Rmdir(dir + "/a" + want + "b"); err != nil {
			t.Errorf("%d: %v", n, err)
		}
	}
}

// mustOpen opens a file that can be sought in.
func mustOpen(t *testing.T) int {
	t.Helper()
	fd, err := unix.MemfdCreate("staves-test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// A call that fails has what was done before it undone.
func TestUndo(t *testing.T) {
	dir := t.TempDir()
	for name, fails := range map[string]bool{"/": false, dir + "/nothing": true} {
		var b Builder
		b.Undo("open "+name, func() {
			b.Do("mark", unix.SYS_MKDIRAT, unix.AT_FDCWD, dir+"/undone", 0o700)
		}, unix.SYS_FACCESSAT, unix.AT_FDCWD, name, unix.F_OK)
		b.Do("mark", unix.SYS_MKDIRAT, unix.AT_FDCWD, dir+"/after", 0o700)
		err := b.Run()
		var op *OpError
		if fails != (errors.As(err, &op) && op.Label == "open "+name && op.Errno == unix.ENOENT) {
			t.Errorf("%s: %v", name, err)
		}
		for mark, want := range map[string]bool{"/undone": fails, "/after": !fails} {
			if got := unix.Rmdir(dir+mark) == nil; got != want {
				t.Errorf("%s: %s is %v", name, mark, got)
			}
		}
	}
}
