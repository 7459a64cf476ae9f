package dev

import (
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
	"staves/lib/mount"
	"staves/lib/testkit"
)

// The main thread's namespaces are those that /proc/self shows, and it does not end before
// the process: no test runs on it.
func init() { runtime.LockOSThread() }

// Both ways to make the nodes give the same devices; a bound one shares the host's inode
// and so is read-only.
func TestMount(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.Check(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends, and its mounts
		var b entry.Builder
		mount.OwnNamespace(&b)
		if err := b.Run(); err != nil {
			t.Error(err)
			return
		}
		for _, bind := range []bool{false, true} {
			dir := t.TempDir()
			at := b.Get("open", unix.SYS_OPENAT, unix.AT_FDCWD, dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			Mount(&b, at, Options{ShmSize: "1M", Bind: bind})
			b.Close(at)
			if err := b.Run(); err != nil {
				t.Errorf("bind %v: %v", bind, err)
				return
			}
			for _, n := range Nodes {
				path := filepath.Join(dir, n.Name)
				var st, host unix.Stat_t
				if err := unix.Lstat(path, &st); err != nil || st.Mode != unix.S_IFCHR|0o666 || st.Rdev != unix.Mkdev(n.Major, n.Minor) {
					t.Errorf("%s: mode %o, device %x: %v", n.Name, st.Mode, st.Rdev, err)
				}
				if err := unix.Stat("/dev/"+n.Name, &host); err == nil && (st.Dev == host.Dev) != bind {
					t.Errorf("bind %v: %s is the host's: %v", bind, n.Name, st.Dev == host.Dev)
				}
				if err := unix.Chmod(path, 0o666); (err == unix.EROFS) != bind {
					t.Errorf("bind %v: chmod %s: %v", bind, n.Name, err)
				}
			}
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	}()
	<-done
}
