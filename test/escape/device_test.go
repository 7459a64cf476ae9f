package escape

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Root inside may make device nodes, and can open none.
func TestMadeDevice(t *testing.T) {
	each(t, func(w *world) {
		dirs := []string{probe, "mknod", "/", "/tmp", "/dev", "/dev/shm", "/bin"}
		w.held(words(w.box(), dirs...)...)
		w.held(words(w.open("--tmpfs", "/tmp"), dirs...)...)
		w.held(words(w.open("--bind", w.dir+":/tmp"), dirs...)...)
		w.held(words(w.host(), append([]string{"/mnt/probe"}, dirs[1:]...)...)...)
		if w.root {
			w.escapes(words(w.open("--tmpfs", "/tmp:dev"), dirs...)...)
		}
	})
}

// A device that an image brings along is none.
func TestPlantedDevice(t *testing.T) {
	each(t, func(w *world) {
		if !w.root {
			return // an ordinary user plants none
		}
		for _, at := range []string{"/etc/zero", "/dev/zero", "/bin/zero"} {
			w.must(unix.Mknod(w.image+at, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))))
		}
		w.held("nsrun", "-muipCn", "pivot", w.image, "--", probe, "write-device", "/etc/zero", "/dev/zero", "/bin/zero")
		w.held(words(w.box(), probe, "write-device", "/etc/zero", "/bin/zero")...)
		w.escapes("nsrun", "-m", "chroot", w.image, probe, "write-device", "/etc/zero")
	})
}

// The nodes of the host keep mode, owner and times, whatever is done inside: to nodes of
// one's own, or to the host's.
func TestSharedDevices(t *testing.T) {
	nodes := func() string {
		paths, _ := filepath.Glob("/dev/*")
		var s strings.Builder
		for _, p := range paths {
			var st unix.Stat_t
			if unix.Lstat(p, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && !strings.HasPrefix(p, "/dev/tty") && p != "/dev/ptmx" && p != "/dev/null" {
				fmt.Fprintln(&s, p, st.Mode, st.Uid, st.Gid, st.Mtim.Sec)
			}
		}
		var st unix.Stat_t
		if err := unix.Stat(os.DevNull, &st); err != nil {
			t.Fatal(err)
		}
		return s.String() + fmt.Sprint(st.Mode, st.Uid, st.Gid) // its time changes with every write
	}
	before := nodes()
	each(t, func(w *world) {
		bind := []string{"nsrun", w.namespaces(), "mkdev", "--nodes=bind", w.image + "/dev", "pivot", w.image, "--"}
		w.held(words(w.box(), probe, "devices")...)
		w.held(words(bind, probe, "devices")...)
		if w.root {
			w.held(words([]string{"nsrun", "-UrmuipCn", "mkdev", w.image + "/dev", "pivot", w.image, "--"}, probe, "devices")...)
		}
		if now := nodes(); now != before {
			t.Errorf("the host's devices were\n%s\nand are\n%s", before, now)
		}
	})
}
