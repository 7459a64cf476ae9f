package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"staves/lib/testkit"
)

const applets = "sh cat chmod dd df echo env find grep head hostname id ln ls mkdir mount mv ps readlink rm script sed sort stat test touch true tty umount wc"

// busyboxRoot makes root directories that belong to whoever runs the script. A script
// that calls it says [!exec:busybox] skip 'needs the program busybox'.
func busyboxRoot(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: busybox-root DIR...")
	}
	busybox, err := exec.LookPath("busybox")
	ts.Check(err)
	for _, arg := range args {
		dir := ts.MkAbs(arg)
		for _, d := range []string{"bin", "dev", "etc"} {
			ts.Check(os.MkdirAll(filepath.Join(dir, d), 0o755))
		}
		ts.Check(testkit.CopyFile(filepath.Join(dir, "bin/busybox"), busybox))
		for _, a := range strings.Fields(applets) {
			ts.Check(os.Symlink("busybox", filepath.Join(dir, "bin", a)))
		}
		ts.Check(os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte("root:x:0:0::/:/bin/sh\n"), 0o644))
	}
}

// ociLayout makes an OCI image layout of tar archives.
func ociLayout(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: oci-layout DIR TAR...")
	}
	var layers [][]byte
	for _, arg := range args[1:] {
		layers = append(layers, []byte(ts.ReadFile(arg)))
	}
	ts.Check(testkit.OCILayout(ts.MkAbs(args[0]), layers))
}
