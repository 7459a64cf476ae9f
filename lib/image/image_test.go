package image

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"staves/lib/testkit"
)

// archive is a tar archive of files with their own names in them.
func archive(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(name)), Uid: os.Getuid(), Gid: os.Getgid()}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func layout(t *testing.T, layers ...[]byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := testkit.OCILayout(dir, layers); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestUnpack(t *testing.T) {
	dir := layout(t, archive(t, "a"), archive(t, "b"), archive(t, "c"))
	all, err := Layers(dir, "latest")
	if err != nil || len(all) != 3 {
		t.Fatal(all, err)
	}
	s := Store{t.TempDir()}
	var wait sync.WaitGroup
	for range 4 { // containers that start at the same time
		wait.Go(func() {
			for i, l := range all {
				d, _, err := s.Unpack(l)
				if err != nil {
					t.Error(err)
					return
				}
				if text, err := os.ReadFile(d + "/" + "abc"[i:i+1]); err != nil || string(text) != "abc"[i:i+1] {
					t.Error(string(text), err)
				}
			}
		})
	}
	wait.Wait()
	if left, err := os.ReadDir(s.Dir); err != nil || len(left) != 2 {
		t.Error(left, err) // the lock, and sha256
	}
}

// An image that is not what its digests say is refused, and nothing of it stays.
func TestTampered(t *testing.T) {
	for name, change := range map[string]func(text []byte) []byte{
		"a byte":  func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"the end": func(b []byte) []byte { return b[:len(b)-1] },
		"more":    func(b []byte) []byte { return append(b, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := layout(t, archive(t, "a"), archive(t, "b"))
			all, err := Layers(dir, "")
			if err != nil {
				t.Fatal(err)
			}
			s := Store{t.TempDir()}
			for _, l := range all {
				text, err := os.ReadFile(l.File)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(l.File, change(text), 0o644); err != nil {
					t.Fatal(err)
				}
				if _, _, err := s.Unpack(l); err == nil {
					t.Error("taken")
				}
				if left, err := filepath.Glob(s.Dir + "/sha256/*"); err != nil || len(left) != 0 {
					t.Error(left, err)
				}
				if _, err := os.Stat(s.Dir + "/unpacking"); err == nil {
					t.Error("a half of it is left")
				}
			}
		})
	}
}

// one is a manifest in an index.
func one(digest, name string) string {
	return `{"digest":"` + digest + `","annotations":{"org.opencontainers.image.ref.name":"` + name + `"}}`
}

func TestBadImages(t *testing.T) {
	const digest = `sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef`
	for _, c := range []struct{ index, want string }{
		{`{}`, "no image for linux/"},
		{`{"manifests":[]}`, "no image for linux/"},
		{`{"manifests":[{"digest":"sha256:../../../../etc/passwd"}]}`, "is no digest"},
		{`{"manifests":[{"digest":"sha512:00"}]}`, "is no digest"},
		{`{"manifests":[{"digest":"` + digest + `"}]}`, "no such file"},
		{`{"manifests":[{"digest":"` + digest + `"},{"digest":"` + digest + `"}]}`, "several images"},
		{`{"manifests":[{"digest":"` + digest + `","platform":{"architecture":"pdp11","os":"linux"}}]}`, "no image for"},
		{`{"manifests":`, "unexpected end"},
		{`{"manifests":[` + one(digest, "") + `,` + one(digest, "") + `]}`, "several images for linux/" + runtime.GOARCH + ", and no names to tell them apart"},
		{`{"manifests":[` + one(digest, "") + `,` + one(digest, "a") + `,` + one(digest, "b") + `]}`, "several images for linux/" + runtime.GOARCH + ": name one of them: a, b"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/index.json", []byte(c.index), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Layers(dir, ""); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.index, err)
		}
	}
	for index, want := range map[string]string{
		one(digest, ""):                           "no image x for linux/" + runtime.GOARCH + ": what it has bears no name",
		one(digest, "a") + "," + one(digest, ""):  "no image x for linux/" + runtime.GOARCH + ": it has a",
		one(digest, "x") + "," + one(digest, "x"): "2 images are named x",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/index.json", []byte(`{"manifests":[`+index+`]}`), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Layers(dir, "x"); err == nil || err.Error() != dir+": "+want {
			t.Errorf("%s: %v", index, err)
		}
	}
	if _, err := Layers(t.TempDir(), ""); err == nil || !strings.Contains(err.Error(), "is no image") {
		t.Error(err)
	}
	// A blob that is a link leads to no file outside, whatever is in it.
	dir := layout(t, archive(t, "a"))
	all, err := Layers(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(all[0].File, dir+"/moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir+"/moved", all[0].File); err != nil {
		t.Fatal(err)
	}
	if _, _, err := (Store{t.TempDir()}).Unpack(all[0]); err == nil {
		t.Error("a link was followed")
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"manifests":[{"digest":"sha256:00","annotations":{"org.opencontainers.image.ref.name":"x"}}]}`), "x")
	f.Fuzz(func(t *testing.T, index []byte, ref string) {
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/index.json", index, 0o644); err != nil {
			t.Fatal(err)
		}
		if all, err := Layers(dir, ref); err == nil {
			t.Errorf("%d layers of a layout without files", len(all))
		}
	})
}
