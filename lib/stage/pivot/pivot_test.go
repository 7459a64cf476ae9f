package pivot

import (
	"path"
	"strings"
	"testing"

	"staves/lib/mount"
)

func TestParseBind(t *testing.T) {
	for arg, want := range map[string]mount.Bind{
		"/a:/b":            {Source: "/a", Target: "/b"},
		"a:/b:ro":          {Source: "a", Target: "/b", ReadOnly: true},
		"a:/b:rw":          {Source: "a", Target: "/b"},
		".://b///c/":       {Source: ".", Target: "/b/c"},
		"/a b:/c d":        {Source: "/a b", Target: "/c d"},
		"/a:/b/../c":       {Source: "/a", Target: "/c"},
		"/a:/../../../b":   {Source: "/a", Target: "/b"},
		"/a:/ro:ro":        {Source: "/a", Target: "/ro", ReadOnly: true},
		"/dev/null:/x/..y": {Source: "/dev/null", Target: "/x/..y"},
	} {
		if got, err := parseBind(arg); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", arg, got, err, want)
		}
	}
	for _, arg := range []string{"", ":", "a", "a:", ":/b", "a:b", "a:./b", "a:/", "a://", "a:/.", "a:/..", "a:/x/..", "a:/b:", "a:/b:RO", "a:/b:ro:ro", "a:/b:c:d", "::", ":::"} {
		if got, err := parseBind(arg); err == nil {
			t.Errorf("%q: %+v, no error", arg, got)
		}
	}
}

func FuzzParseBind(f *testing.F) {
	for _, s := range []string{"/a:/b", "a:/b:ro", "a:/b:rw", "a:/../..", ":::", "a:/b/../c:ro"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		d, err := parseBind(arg)
		if err != nil {
			if strings.ContainsRune(err.Error(), '\n') != strings.ContainsRune(arg, '\n') {
				t.Errorf("%q: more than one line: %v", arg, err)
			}
			return
		}
		if d.Source == "" || d.Target == "/" || d.Target[0] != '/' || path.Clean(d.Target) != d.Target || strings.Contains(d.Target, "/../") {
			t.Errorf("%q: %+v", arg, d)
		}
		again := d.Source + ":" + d.Target
		if d.ReadOnly {
			again += ":ro"
		}
		if d2, err := parseBind(again); err != nil || d2 != d {
			t.Errorf("%q: %+v, then %q: %+v, %v", arg, d, again, d2, err)
		}
	})
}

func TestOneOf(t *testing.T) {
	for value, ok := range map[string]bool{"auto": true, "yes": true, "none": true, "": false, "no": false, "Auto": false} {
		if err := oneOf("proc", value); (err == nil) != ok {
			t.Errorf("%q: %v", value, err)
		}
	}
}
