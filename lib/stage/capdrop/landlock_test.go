package capdrop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"staves/lib/landlock"
	"staves/lib/testkit"
)

// Landlock looks at what is accessed, not at how: by a 32-bit program or a 64-bit one, by
// root or by an ordinary user.
func TestLandlockIn32Bit(t *testing.T) {
	if _, err := landlock.ABI(); err != nil {
		t.Skip("needs Landlock: ", err)
	}
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && len(d) > 1; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"ro", "rw", "bin"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, d), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, d, "file"), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, arch := range []string{"amd64", "386"} {
		opener := filepath.Join(dir, "bin", "opener-"+arch)
		buildFor(t, arch, opener, "testdata/opener/main.go")
		for _, uid := range []uint32{0, testkit.UID} {
			if uid == 0 && os.Geteuid() != 0 {
				continue
			}
			cmd := command(uid, nil, "capdrop", "--preset", "all", "--landlock", "fs:ro:"+dir+"/bin", "--landlock", "fs:read-file:"+dir+"/ro",
				"--landlock", "fs::"+dir+"/rw", "--", opener, dir+"/ro/file", ">"+dir+"/ro/new", ">"+dir+"/rw/"+arch, dir+"/rw/file", "/etc/passwd")
			want := "opened\npermission denied\nopened\nopened\npermission denied\n"
			if out, err := cmd.Output(); err != nil || string(out) != want {
				t.Errorf("%s, user %d: %q, want %q (%v)", arch, uid, strings.Fields(string(out)), want, err)
			}
			_ = os.Remove(dir + "/rw/" + arch)
		}
	}
}
