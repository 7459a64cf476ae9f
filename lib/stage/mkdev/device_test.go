package mkdev

import (
	"strings"
	"testing"

	"staves/lib/dev"
)

func TestParseDevice(t *testing.T) {
	for arg, want := range map[string]dev.Node{
		"/dev/fuse":                {Host: "/dev/fuse", Name: "fuse"},
		"/dev//net/../net/tun":     {Host: "/dev//net/../net/tun", Name: "net/tun"},
		"dev/x":                    {Host: "dev/x", Name: "x"},
		"/srv/nought:666":          {Host: "/srv/nought", Name: "nought", Mode: 0o666},
		"/dev/zero:/dev/a/b":       {Host: "/dev/zero", Name: "a/b"},
		"/dev/zero:/dev/a/../b:60": {Host: "/dev/zero", Name: "b", Mode: 0o60},
		"/dev/zero:/dev/b:0":       {Host: "/dev/zero", Name: "b"},
	} {
		if got, mode, err := parseDevice(arg); err != nil || got != want || mode != (strings.Count(arg, ":") == 2 || got.Mode != 0) {
			t.Errorf("%q: %+v, %v, %v; want %+v", arg, got, mode, err, want)
		}
	}
	for _, arg := range []string{
		"", ":", "/dev/fuse:", "/dev/fuse:rwm", "/dev/fuse:888", "/dev/fuse:1777", "/dev/fuse:/etc/passwd", "/dev/fuse:/dev",
		"/dev/fuse:/dev/../etc/x", "/dev/fuse:/dev/x:6:6", "/dev/fuse:/dev/null", "/dev/fuse:/dev/shm/x", "/dev/zero", "/dev/x:fuse", "..", "/", "/dev/fuse:-1",
	} {
		if got, _, err := parseDevice(arg); err == nil {
			t.Errorf("%q: %+v, no error", arg, got)
		}
	}
}

func FuzzParseDevice(f *testing.F) {
	for _, s := range []string{"/dev/fuse", "/dev/zero:/dev/a/b:666", "a:b", "/dev/..:/dev/x", ":::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		n, _, err := parseDevice(arg)
		if err != nil {
			return
		}
		if n.Host == "" || n.Name == "" || n.Mode > 0o777 || strings.HasPrefix(n.Name, "/") || strings.Contains("/"+n.Name+"/", "/../") {
			t.Errorf("%q: %+v", arg, n)
		}
	})
}
