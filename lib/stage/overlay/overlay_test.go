package overlay

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestWithin(t *testing.T) {
	t.Chdir("/")
	for _, c := range []struct {
		path, dir string
		want      bool
	}{
		{"/a", "/a", true},
		{"/a/b", "/a", true},
		{"/a/", "/a", true},
		{"/a", "/a/b", false},
		{"/ab", "/a", false},
		{"/a/../b", "/a", false},
		{"/a/..b", "/a", true},
		{"a/b", "/a", true},
		{"./a//b/.", "a", true},
		{"/a", "/", true},
		{"/", "/a", false},
		{"/a b/c", "/a b", true},
	} {
		if got := within(c.path, c.dir); got != c.want {
			t.Errorf("within(%q, %q) = %v", c.path, c.dir, got)
		}
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
