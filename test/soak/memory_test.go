package soak

import (
	"archive/tar"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"staves/lib/testkit"
)

// What reads an archive collects its garbage: the tools' runtime does not by itself
// (entry.Collect), and 15,000 files would come to 80 MB.
func TestCollected(t *testing.T) {
	const files, most = 15000, 48 << 10 // kB
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	layer := filepath.Join(dir, "layer.tar")
	out, err := os.Create(layer)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(out)
	for i := range files {
		h := &tar.Header{Name: fmt.Sprintf("%d", i), Mode: 0o644, Size: 1, Typeflag: tar.TypeReg}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte{'x'}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "overlay"), "--apply", layer, t.TempDir())
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if got := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss; got > most {
		t.Errorf("%d kB resident, for %d small files", got, files)
	}
}
