package overlay

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWithin(t *testing.T) {
	for _, c := range []struct {
		path, dir string
		want      bool
	}{
		{"/a", "/a", true},
		{"/a/b", "/a", true},
		{"/a", "/a/b", false},
		{"/ab", "/a", false},
		{"/a/..b", "/a", true},
		{"/a", "/", true},
		{"/", "/", true},
		{"/", "/a", false},
		{"/a b/c", "/a b", true},
	} {
		if got := within(c.path, c.dir); got != c.want {
			t.Errorf("within(%q, %q) = %v", c.path, c.dir, got)
		}
	}
}

func TestReal(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir+"/real/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"link": "real/sub", "abs": dir + "/real", "nowhere": "no", "loop": "loop"} {
		if err := os.Symlink(to, dir+"/"+from); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("PWD", "/nonsense")
	r := newResolver()
	for path, want := range map[string]string{
		"real":             dir + "/real",
		"./real//sub/.":    dir + "/real/sub",
		"link":             dir + "/real/sub",
		"link/":            dir + "/real/sub",
		"link/..":          dir + "/real", // not what lexical cleaning says
		"link/../sub":      dir + "/real/sub",
		"abs/sub":          dir + "/real/sub",
		"abs/new":          dir + "/real/new",
		"abs/new/deep":     dir + "/real/new/deep",
		dir + "/link/new/": dir + "/real/sub/new",
		".":                dir,
		"..":               filepath.Dir(dir),
		"/":                "/",
		"//":               "/",
		"/no-such":         "/no-such",
		"loop":             "",
		"loop/x":           "",
		"nowhere":          dir + "/no",
		"nowhere/x":        dir + "/no/x",
	} {
		got, err := r.real(path)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("real(%q) = %q, %v, want %q", path, got, err, want)
		}
	}
}

// What is found among neighbours is found among all pairs, and the other way round.
func TestNested(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		var paths []string
		for range random.IntN(6) {
			path := "/"
			for range random.IntN(4) {
				path = strings.TrimSuffix(path, "/") + "/" + []string{"a", "b", "a!", "a0", "\x01"}[random.IntN(5)]
			}
			paths = append(paths, path)
		}
		any := false
		for i := range paths {
			for j := range i {
				any = any || within(paths[i], paths[j]) || within(paths[j], paths[i])
			}
		}
		i, j, ok := nested(paths)
		if ok != any || ok && (i >= j || !within(paths[i], paths[j]) && !within(paths[j], paths[i])) {
			t.Fatalf("%q: %d, %d, %v", paths, i, j, ok)
		}
	}
}

// Layers that lie side by side are found with one look at each: the directory that holds
// them is followed once.
func TestRealOfSiblings(t *testing.T) {
	dir := t.TempDir()
	r := newResolver()
	for i := range 500 {
		if _, err := r.real(fmt.Sprintf("%s/%d", dir, i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.known) != 1 {
		t.Errorf("%d directories were followed", len(r.known))
	}
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		lower       string
		upper, work string
		want        string // in the error, "" for none
	}{
		{"/l", "", "", ""},
		{"/l", "/u", "/w", ""},
		{"/", "/u", "/w", ""}, // the layer may hold the upper directory
		{"/l /k", "/l/u", "/l/w", ""},
		{"/l /l/m", "/u", "/w", "--lower /l and --lower /l/m: one lies in the other"},
		{"/l/m /l", "", "", "one lies in the other"},
		{"/l //l/.", "", "", "is given twice"},
		{"/l", "/u", "/u", "one lies in the other"},
		{"/l", "/u/x", "/u", "one lies in the other"},
		{"/l", "/u", "/u/x", "one lies in the other"},
		{"/l /u/x", "/u", "/w", "--lower /u/x lies in --upper /u"},
		{"/u", "/u", "/w", "--lower /u lies in --upper /u"},
		{"/w/x", "/u", "/w", "--lower /w/x lies in --work /w"},
	} {
		err := (&stage{lower: strings.Fields(c.lower), upper: c.upper, work: c.work}).overlap()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestIsRoot(t *testing.T) {
	for path, want := range map[string]bool{"/": true, "//": true, "/.": true, "/a/..": true, "/a": false, ".": false, "": false} {
		if isRoot(path) != want {
			t.Errorf("isRoot(%q) = %v", path, !want)
		}
	}
}

func TestWords(t *testing.T) {
	for _, c := range []struct {
		o, want string // want: what was read, or in the error
	}{
		{`lowerdir=a:b,upperdir=c,workdir=d`, `[a b] c d [] 0`},
		{`lowerdir=a\:b\,c\\:d`, `[a:b,c\ d]   [] 0`},
		{`ro,nosuid,lowerdir=a:b`, `[a b]   [] 3`},
		{`lowerdir=a:b,ro,nosuid,rw,noatime,x-systemd.automount,_netdev,nofail`, `[a b]   [] 18`},
		{`lowerdir=a:b,noatime,strictatime,user,dev,exec,suid`, `[a b]   [] 32`},
		{`lowerdir=a,upperdir=c,workdir=d,index=off,volatile`, `[a] c d [{index off} {volatile }] 0`},
		{`lowerdir+=a,lowerdir+=b`, `[a b]   [] 0`},
		{`lowerdir=a::b`, `an empty layer`},
		{`lowerdir=a:`, `an empty layer`},
		{`lowerdir=a,,ro`, `no option`},
		{``, `no option`},
	} {
		s := stage{o: []string{c.o}}
		err := s.readWords()
		got := fmt.Sprintf("%v %s %s %v %d", s.lower, s.upper, s.work, s.params, s.attr)
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%s: %s, want %s", c.o, got, c.want)
		}
	}
}

func FuzzWords(f *testing.F) {
	f.Add(`lowerdir=a\:b:c,upperdir=d,workdir=e\`)
	f.Fuzz(func(t *testing.T, o string) {
		s := stage{o: []string{o}}
		if s.readWords() == nil && slices.Contains(s.lower, "") {
			t.Errorf("%q: %q", o, s.lower)
		}
	})
}

func TestQuote(t *testing.T) {
	for _, s := range []string{"", "/a b", "\"\\\n\x01\x7f", "é\u2028"} {
		var back string
		if err := json.Unmarshal([]byte(quote(s)), &back); err != nil || back != s {
			t.Errorf("%q: %s, %q, %v", s, quote(s), back, err)
		}
	}
	if got := quote("a\xff"); got != "\"a\ufffd\"" {
		t.Error(got)
	}
}
