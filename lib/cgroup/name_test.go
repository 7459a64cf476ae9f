package cgroup

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	long := strings.Repeat("x", maxName)
	for _, name := range []string{"a", "a/b/c", "staves-1", "job.1", "my memory", "..a", "a..b", "ü", "memory", long, long + "/" + long} {
		if err := CheckName(name); err != nil {
			t.Errorf("CheckName(%q): %v", name, err)
		}
	}
	for _, name := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a/.", "a\nb", "a\x00", "a\x7f",
		"cgroup.procs", "cgroup.x", "memory.max", "a/cpu.shares", "tasks", "a/tasks/b", "notify_on_release", long + "x",
	} {
		if CheckName(name) == nil {
			t.Errorf("CheckName(%q): no error", name)
		}
	}
}

func FuzzCheckName(f *testing.F) {
	for _, s := range []string{"a/b", "../a", "a/..", "/a", "memory.max", "a\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) != nil {
			return
		}
		if got := filepath.Join("/tree/group", name); got != "/tree/group/"+name || strings.ContainsAny(name, "\x00\n\x1b") {
			t.Errorf("%q is allowed, and leads to %q", name, got)
		}
	})
}
