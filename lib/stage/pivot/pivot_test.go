package pivot

import (
	"path"
	"slices"
	"strings"
	"testing"

	"staves/lib/mount"
)

func TestParseBind(t *testing.T) {
	const safe = mount.NoSuid | mount.NoDev
	for arg, want := range map[string]mount.Bind{
		"/a:/b":                      {Source: "/a", Target: "/b", Attr: safe},
		"a:/b:ro":                    {Source: "a", Target: "/b", Attr: safe | mount.ReadOnly},
		"a:/b:rw":                    {Source: "a", Target: "/b", Attr: safe},
		".://b///c/":                 {Source: ".", Target: "/b/c", Attr: safe},
		"/a b:/c d":                  {Source: "/a b", Target: "/c d", Attr: safe},
		"/a:/b/../c":                 {Source: "/a", Target: "/c", Attr: safe},
		"/a:/../../../b":             {Source: "/a", Target: "/b", Attr: safe},
		"/a:/ro:ro":                  {Source: "/a", Target: "/ro", Attr: safe | mount.ReadOnly},
		"/dev/null:/x/..y":           {Source: "/dev/null", Target: "/x/..y", Attr: safe},
		"/a:/b:ro,noexec,norec":      {Source: "/a", Target: "/b", Attr: safe | mount.ReadOnly | mount.NoExec, Alone: true},
		"/a:/b:ro,rw,norec,rec":      {Source: "/a", Target: "/b", Attr: safe},
		"/a:/b:dev,suid":             {Source: "/a", Target: "/b"},
		"/a:/b:dev,suid,nodev":       {Source: "/a", Target: "/b", Attr: mount.NoDev},
		`/a\:b:/c\:d:ro`:             {Source: "/a:b", Target: "/c:d", Attr: safe | mount.ReadOnly},
		`/a\b:/c\\:ro`:               {Source: `/a\b`, Target: `/c\:ro`, Attr: safe},
		`/a\::/b`:                    {Source: "/a:", Target: "/b", Attr: safe},
		"/a:/b:exec,suid,nosuid,dev": {Source: "/a", Target: "/b", Attr: mount.NoSuid},
	} {
		if got, err := parseBind(arg); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", arg, got, err, want)
		}
	}
	for _, arg := range []string{
		"", ":", "a", "a:", ":/b", "a:b", "a:./b", "a:/", "a://", "a:/.", "a:/..", "a:/x/..", "a:/b:", "a:/b:RO", "a:/b:ro:ro",
		"a:/b:c:d", "::", ":::", "a:/b:ro,", "a:/b:,ro", `a\:/b`, `a:/b\:ro:`, "a:/b:mode=755",
	} {
		if got, err := parseBind(arg); err == nil {
			t.Errorf("%q: %+v, no error", arg, got)
		}
	}
}

func TestParseTmpfs(t *testing.T) {
	const safe = mount.NoSuid | mount.NoDev
	for arg, want := range map[string]mount.Tmpfs{
		"/t":                        {Target: "/t", Attr: safe, Like: true},
		"/t/../u/":                  {Target: "/u", Attr: safe, Like: true},
		`/t\:x`:                     {Target: "/t:x", Attr: safe, Like: true},
		"/t:size=1M,noexec":         {Target: "/t", Attr: safe | mount.NoExec, Like: true, Opts: []mount.Option{{Key: "size", Value: "1M"}}},
		"/t:mode=1777,nr_inodes=10": {Target: "/t", Attr: safe, Opts: []mount.Option{{Key: "mode", Value: "1777"}, {Key: "nr_inodes", Value: "10"}}},
		"/t:ro,suid,dev":            {Target: "/t", Attr: mount.ReadOnly, Like: true},
	} {
		got, err := parseTmpfs(arg)
		if err != nil || got.Target != want.Target || got.Attr != want.Attr || got.Like != want.Like || !slices.Equal(got.Opts, want.Opts) {
			t.Errorf("%q: %+v, %v; want %+v", arg, got, err, want)
		}
	}
	for _, arg := range []string{
		"", "t", "/", "/..", "/t:", "/t:size", "/t:size=0", "/t:size=x", "/t:mode=9", "/t:mode=17777", "/t:mode=", "/t:nr_inodes=-1",
		"/t:x=y", "/t:size=1M:ro", "/t:norec", "/t:,",
	} {
		if got, err := parseTmpfs(arg); err == nil {
			t.Errorf("%q: %+v, no error", arg, got)
		}
	}
}

func FuzzPlaces(f *testing.F) {
	for _, s := range []string{"/a:/b", "a:/b:ro", "a:/b:rw,norec", "a:/../..", ":::", `a\:b:/b/../c:ro`, "/t:size=1M,mode=755", `\`, `\:`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		inside := func(dst string) bool {
			return dst != "/" && strings.HasPrefix(dst, "/") && path.Clean(dst) == dst && !strings.Contains(dst, "/../")
		}
		if d, err := parseBind(arg); err == nil && (d.Source == "" || !inside(d.Target)) {
			t.Errorf("%q: %+v", arg, d)
		}
		if d, err := parseTmpfs(arg); err == nil && (!inside(d.Target) || d.Attr < 0) {
			t.Errorf("%q: %+v", arg, d)
		}
		// No character but a backslash before a colon is lost.
		if got := strings.Join(split(arg), ":"); strings.ReplaceAll(got, ":", "") != strings.ReplaceAll(strings.ReplaceAll(arg, `\:`, ""), ":", "") {
			t.Errorf("%q: %q", arg, split(arg))
		}
	})
}

func TestByDefault(t *testing.T) {
	for words, want := range map[string]bool{
		"": true, "/x": true, "none": false, "default": true, "none,/x": false, "/x,none": false, "none,default": true, "default,none": false,
	} {
		w := strings.FieldsFunc(words, func(r rune) bool { return r == ',' })
		if got := byDefault(w); got != want {
			t.Errorf("%s: %v", words, got)
		}
	}
}
