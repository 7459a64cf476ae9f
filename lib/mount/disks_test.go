package mount

import "testing"

func TestMountLine(t *testing.T) {
	for _, c := range []struct {
		line, path, fstype string
		id                 uint64
	}{
		{"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw", "/", "ext4", 27},
		{"28 27 0:25 / /mnt/a\\040b\\134c ro,nosuid - tmpfs none ro", `/mnt/a b\c`, "tmpfs", 28},
		{"29 27 8:1 / /home rw shared:1 master:2 - xfs /dev/sda1 rw", "/home", "xfs", 29},
		{"30 27 8:1 / /x\\04 rw - xfs a rw", `/x\04`, "xfs", 30},
		{"", "", "", 0},
		{"x y z", "", "", 0},
		{"no 1 2 3 4 - ext4", "", "", 0},
	} {
		id, path, fstype := mountLine(c.line)
		if id != c.id || path != c.path || fstype != c.fstype {
			t.Errorf("%q: %d %q %q", c.line, id, path, fstype)
		}
	}
}

func FuzzMountLine(f *testing.F) {
	f.Add("28 27 0:25 / /mnt/a\\040b ro - tmpfs none ro")
	f.Fuzz(func(t *testing.T, line string) {
		if id, path, fstype := mountLine(line); fstype == "" && id != 0 && path == "" {
			t.Errorf("%q: %d %q %q", line, id, path, fstype)
		}
	})
}

func TestPrivate(t *testing.T) {
	for path, want := range map[string]bool{"/proc": true, "/run/user/5": true, "/runs": false, "/home": false, "/": false} {
		if private(path) != want {
			t.Errorf("%s: %v", path, !want)
		}
	}
}
