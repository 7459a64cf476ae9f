package overlay

import (
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
		{"/l /l/m", "/l/u", "/l/w", ""},
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
