package cgroup

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// What is made inside a group that was made here lies in it, by root too: see nest.
func TestNest(t *testing.T) {
	if unix.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, c := range []struct {
		own  string
		req  Request
		want string
	}{
		{"/", Request{}, ""},
		{"/theirs", Request{}, ""},
		{"/theirs/x", Request{Name: "a"}, "a"},
		{"/one", Request{}, "one"},
		{"/one", Request{Name: "a/b"}, "one/a/b"},
		{"/one", Request{Parent: "a"}, "one/a"},
		{"/one", Request{Parent: "/"}, ""},
		{"/one", Request{Parent: "/", Name: "a"}, "a"},
		{"/one", Request{Name: "one/a"}, "one/a"},
		{"/one", Request{Name: "theirs"}, "theirs"},
		{"/one", Request{Name: "a", Exact: true}, "a"},
		{"/one/two", Request{Name: "two/a"}, "one/two/a"},
		{"/one/plain", Request{}, "one"},
		{"/one/two", Request{}, "one/two"},
		{"/one/waiter-staves-7", Request{}, "one"},
		{"/kept", Request{Name: "a"}, "kept/a"},
	} {
		tree := fake(t, map[string]string{
			"theirs/x/y": "", "one/plain/x": "", "one/two/x": "", "one/waiter-staves-7/x": "", "kept/x": "",
		})
		for dir, bit := range map[string]os.FileMode{
			"one": os.ModeSticky, "one/two": os.ModeSticky, "one/waiter-staves-7": os.ModeSticky, "kept": os.ModeSetgid,
		} {
			if err := os.Chmod(tree.Dir+"/"+dir, bit|0o755); err != nil {
				t.Fatal(err)
			}
		}
		tree.own = "0::" + c.own
		top := version1(t, "cpu", map[string]string{})
		if err := c.req.nest([]*Tree{top, tree}); err != nil || c.req.path() != c.want {
			t.Errorf("in %s: %q, %v; want %q", c.own, c.req.path(), err, c.want)
		}
	}
}
