package layer

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// archive makes one of headers; a regular file's contents are its Linkname.
func archive(t *testing.T, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		text := ""
		if h.Typeflag == tar.TypeReg {
			text, h.Linkname = h.Linkname, ""
			h.Size = int64(len(text))
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		h.Uid, h.Gid = os.Getuid(), os.Getgid()
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func dir(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name} }
func file(name, text string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Linkname: text}
}

func link(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
}

func hard(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}
}

// list is a tree in words.
func list(t *testing.T, root string) string {
	t.Helper()
	var all []string
	err := walk(root, func(n *node) error {
		word := n.path
		switch n.stat.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			if v, _, err := n.mark("opaque"); err != nil {
				return err
			} else if v == "y" {
				word += "/!"
			} else {
				word += "/"
			}
		case unix.S_IFLNK:
			to, err := os.Readlink(filepath.Join(root, n.path))
			if err != nil {
				return err
			}
			word += "->" + to
		case unix.S_IFREG:
			text, err := os.ReadFile(filepath.Join(root, n.path))
			if err != nil {
				return err
			}
			word += "=" + string(text)
		case unix.S_IFCHR:
			word += "*"
		}
		all = append(all, word)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func TestApply(t *testing.T) {
	base := []tar.Header{dir("d"), file("d/a", "1"), file("d/b", "2"), dir("d/s"), file("d/s/c", "3"), link("l", "d"), file("f", "4")}
	const all = "d/ d/a=1 d/b=2 d/s/ d/s/c=3 f=4 l->d"
	for _, c := range []struct {
		name        string
		layer       []tar.Header
		tree, lower string
	}{
		{"a deletion", []tar.Header{file("d/.wh.a", "")}, "d/ d/b=2 d/s/ d/s/c=3 f=4 l->d", "d/ d/a*"},
		{"of a directory", []tar.Header{file(".wh.d", "")}, "f=4 l->d", "d*"},
		{"of nothing", []tar.Header{file(".wh.x", "")}, all, "x*"},
		{"deleted, then made", []tar.Header{file("d/.wh.a", ""), file("d/a", "5")}, strings.Replace(all, "a=1", "a=5", 1), "d/ d/a=5"},
		{"made, then deleted beneath", []tar.Header{file("d/a", "5"), file("d/.wh.a", "")}, strings.Replace(all, "a=1", "a=5", 1), "d/ d/a=5"},
		{"opaque first", []tar.Header{dir("d"), file("d/.wh..wh..opq", ""), file("d/x", "5")}, "d/ d/x=5 f=4 l->d", "d/! d/x=5"},
		{"opaque last", []tar.Header{file("d/s/x", "5"), file("d/.wh..wh..opq", "")}, "d/ d/s/ d/s/x=5 f=4 l->d", "d/! d/s/ d/s/x=5"},
		{"a directory that replaces one", []tar.Header{file(".wh.d", ""), dir("d"), file("d/x", "5")}, "d/ d/x=5 f=4 l->d", "d/! d/x=5"},
		{"the same, the deletion last", []tar.Header{dir("d"), file("d/x", "5"), file(".wh.d", "")}, "d/ d/x=5 f=4 l->d", "d/! d/x=5"},
		{"the same, without a word of the directory", []tar.Header{file(".wh.d", ""), file("d/s/x", "5")}, "d/ d/s/ d/s/x=5 f=4 l->d", "d/! d/s/ d/s/x=5"},
		{"a deletion in it, then of it", []tar.Header{file("d/.wh.a", ""), file(".wh.d", "")}, "f=4 l->d", "d*"},
		{"a file, then a directory", []tar.Header{file("d", "5"), dir("d"), file("d/x", "6")}, "d/ d/x=6 f=4 l->d", "d/! d/x=6"},
		{"a file for a directory", []tar.Header{file("d", "5")}, "d=5 f=4 l->d", "d=5"},
		{"a directory for a file", []tar.Header{dir("f"), file("f/x", "5")}, "d/ d/a=1 d/b=2 d/s/ d/s/c=3 f/ f/x=5 l->d", "f/ f/x=5"},
		{"a directory for a link", []tar.Header{dir("l")}, strings.Replace(all, "l->d", "l/", 1), "l/"},
		{"through a link inside", []tar.Header{file("l/x", "5")}, "d/ d/a=1 d/b=2 d/s/ d/s/c=3 d/x=5 f=4 l->d", "l/ l/x=5"},
		{"a hard link", []tar.Header{file("x", "5"), hard("y", "/x")}, all + " x=5 y=5", "x=5 y=5"},
		{"aufs's own", []tar.Header{file(".wh..wh.plnk", "")}, all, ""},
		{"absolute, and up", []tar.Header{file("/x", "5"), file("../../y", "6")}, all + " x=5 y=6", "x=5 y=6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree, lower := t.TempDir(), t.TempDir()
			if _, err := Apply(tree, archive(t, base...), Tree); err != nil {
				t.Fatal(err)
			}
			if got := list(t, tree); got != all {
				t.Fatal(got)
			}
			if _, err := Apply(tree, archive(t, c.layer...), Tree); err != nil {
				t.Fatal(err)
			}
			if got := list(t, tree); got != c.tree {
				t.Errorf("tree: %s\nwant  %s", got, c.tree)
			}
			if _, err := Apply(lower, archive(t, c.layer...), Lower); err != nil {
				t.Fatal(err)
			}
			if got := list(t, lower); got != c.lower {
				t.Errorf("lower: %s\nwant   %s", got, c.lower)
			}
			// And back: the same layer again.
			var packed bytes.Buffer
			if err := Pack(lower, &packed); err != nil {
				t.Fatal(err)
			}
			again := t.TempDir()
			if _, err := Apply(again, &packed, Lower); err != nil {
				t.Fatal(err)
			}
			if got := list(t, again); got != c.lower {
				t.Errorf("packed and unpacked: %s\nwant %s", got, c.lower)
			}
		})
	}
}

// A name that is no directory is said, and what it is.
func TestApplyNoDirectory(t *testing.T) {
	for _, form := range []Form{Tree, Lower} {
		for want, layer := range map[string][]tar.Header{
			"unpack l/s/x: l is a link that leads to no directory of the tree: no such file or directory": {link("l", "nowhere"), file("l/s/x", "1")},
			"unpack m/x: m is a link that leads to no directory of the tree: no such file or directory":   {file("f", "1"), link("m", "f"), file("m/x", "1")},
			"unpack f/s/x: f: not a directory": {file("f", "1"), file("f/s/x", "1")},
		} {
			if _, err := Apply(t.TempDir(), archive(t, layer...), form); err == nil || err.Error() != want {
				t.Errorf("form %d: %v\nwant %s", form, err, want)
			}
		}
	}
}

// A device that an ordinary user may not make hides what it replaces all the same.
func TestDeviceLeftOut(t *testing.T) {
	root := t.TempDir()
	h := tar.Header{Typeflag: tar.TypeChar, Name: "f", Devmajor: 1, Devminor: 3}
	if _, err := Apply(root, archive(t, h), Lower); err != nil {
		t.Fatal(err)
	}
	if got := list(t, root); got != "f*" { // it, or a whiteout
		t.Error(got)
	}
}

// A hostile archive writes nothing outside, whatever it says.
func TestApplyHostile(t *testing.T) {
	for i, layer := range [][]tar.Header{
		{link("x", "VICTIM"), file("x/new", "1")},
		{link("x", "VICTIM"), file("x", "1")},
		{link("x", "VICTIM"), dir("x"), file("x/new", "1")},
		{link("x", "VICTIM/f"), file("x", "1")},
		{link("x", "VICTIM/f"), hard("y", "x"), file("y", "1")},
		{hard("y", "VICTIM/f"), file("y", "1")},
		{link("x", "VICTIM"), hard("y", "x/f"), file("y", "1")},
		{link("x", "VICTIM"), file("x/.wh.f", "")},
		{link("x", "VICTIM"), file("x/.wh..wh..opq", "")},
		{link("x", "UP/VICTIM"), file("x/new", "1")},
		{link("x", "UP"), link("y", "x/VICTIM"), file("y/new", "1"), file("y/.wh.f", "")},
		{file("UP/VICTIM/new", "1")},
		{file("UP/VICTIM/.wh.f", "")},
		{link("x", "/proc/self/root/VICTIM"), file("x/new", "1")},
		{link("x", "/proc/self/cwd"), file("x/new", "1")},
		{dir("d"), link("d", "VICTIM"), file("d/new", "1")},
		{dir("d"), link("d", "VICTIM"), {Typeflag: tar.TypeDir, Name: "d/f", Mode: 0o777}},
		{dir("d"), file(".wh...", "")},
		{dir("d"), file("d/.wh...", "")},
		{file("d/.wh..", "")},
		{link("/", "VICTIM"), file("new", "1")},
		{{Typeflag: tar.TypeDir, Name: "d", Mode: 0o777}, link("d", "VICTIM")},
	} {
		for _, form := range []Form{Tree, Lower} {
			t.Run(fmt.Sprint(i, form), func(t *testing.T) {
				victim := t.TempDir()
				if err := os.WriteFile(victim+"/f", []byte("safe"), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(victim, 0o700); err != nil {
					t.Fatal(err)
				}
				t.Chdir(victim)
				for j := range layer {
					for _, s := range []*string{&layer[j].Name, &layer[j].Linkname} {
						*s = strings.NewReplacer("UP", strings.Repeat("../", 40), "VICTIM", victim).Replace(*s)
					}
				}
				_, err := Apply(t.TempDir(), archive(t, layer...), form)
				st, statErr := os.Stat(victim)
				if statErr != nil {
					t.Fatal(statErr)
				}
				if got := list(t, victim); got != "f=safe" || st.Mode().Perm() != 0o700 {
					t.Errorf("%v (%v): outside is now %s %v", layer, err, got, st.Mode())
				}
			})
		}
	}
}

func TestXattrs(t *testing.T) {
	h := file("f", "x")
	h.PAXRecords = map[string]string{}
	for _, name := range []string{"user.mine", "user.overlay.redirect", "trusted.overlay.redirect", "trusted.other", "security.selinux"} {
		h.PAXRecords[paxXattr+name] = "value"
	}
	root := t.TempDir()
	lost, err := Apply(root, archive(t, h), Lower)
	if err != nil || lost.Xattrs != 0 {
		t.Fatal(lost, err)
	}
	buf := make([]byte, 1<<10)
	n, err := unix.Llistxattr(root+"/f", buf)
	if err != nil {
		t.Fatal(err)
	}
	names := slices.DeleteFunc(strings.Split(string(buf[:n]), "\x00"), func(s string) bool { return s == "" })
	if len(names) != 1 || names[0] != "user.mine" {
		t.Errorf("%q", names)
	}
}

func TestHoles(t *testing.T) {
	root := t.TempDir()
	if _, err := Apply(root, archive(t, file("f", "x"+strings.Repeat("\x00", 8<<20))), Tree); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(root+"/f", &st); err != nil {
		t.Fatal(err)
	}
	if st.Size != 8<<20+1 || st.Blocks*512 > 1<<20 {
		t.Errorf("%d bytes take %d", st.Size, st.Blocks*512)
	}
}

func TestPackRefuses(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(root+"/.wh.f", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Pack(root, &b); err == nil || !strings.Contains(err.Error(), "means a deletion") {
		t.Error(err)
	}
}

func TestRemove(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(root+"/x/work/work", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root+"/x/work/work", 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", root+"/x/l"); err != nil {
		t.Fatal(err)
	}
	if err := Remove(root + "/x"); err != nil {
		t.Fatal(err)
	}
	if got := list(t, root); got != "" {
		t.Error(got)
	}
}

// An archive that was cut off is none, wherever: but where a file ends, since the mark of
// the end may be missing (tar(1) takes such ones too).
func TestCutOff(t *testing.T) {
	long := file(strings.Repeat("n", 150), "5")
	long.PAXRecords = map[string]string{paxXattr + "user.mine": "value"}
	long.Format = tar.FormatPAX
	parts := [][]tar.Header{{dir("BZh"), file("BZh/f", strings.Repeat("x", 700))}, {long}, {link("l", "d")}}
	ends := map[int]bool{}
	var whole []tar.Header
	const mark = 1024
	for _, p := range parts {
		for _, h := range p {
			whole = append(whole, h)
			ends[archive(t, whole...).Len()-mark] = true
		}
	}
	text := archive(t, whole...).Bytes()
	ends[len(text)-mark/2] = true // one block of zeros
	for n := 1; n < len(text); n++ {
		if n%32 > 1 {
			continue
		}
		_, err := Apply(t.TempDir(), bytes.NewReader(text[:n]), Tree)
		if (err == nil) != ends[n] || err != nil && !strings.HasSuffix(err.Error(), "read the archive: unexpected EOF") {
			t.Errorf("%d of %d bytes: %v", n, len(text), err)
		}
	}
}

func TestNotAnArchive(t *testing.T) {
	for text, want := range map[string]string{
		"":                   "it is empty",
		"\x28\xb5\x2f\xfd":   "compressed with zstd",
		"\xfd7zXZ\x00":       "compressed with xz",
		"BZh91AY&SY":         "compressed with bzip2",
		"\x1f\x8b":           "read the archive",
		"no tar, but a text": "read the archive",
	} {
		if _, err := Apply(t.TempDir(), strings.NewReader(text), Tree); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
