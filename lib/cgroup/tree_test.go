package cgroup

import (
	"strings"
	"testing"
)

const (
	v1Mounts = `23 1 0:20 / / rw - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory,clone_children
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
`
	hybridMounts = v1Mounts + `41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
`
	v2Mounts = `23 1 0:20 / / rw - ext4 /dev/vda rw
30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
31 23 0:27 / /mnt/cgroup2x rw - cgroup2x x rw
`
	containerMounts = `30 23 0:26 /docker/f00 /a\040b/cgroup ro - cgroup2 cgroup rw
truncated line - cgroup
`
)

func TestParseMounts(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"v1", v1Mounts, "/sys/fs/cgroup/cpu,cpuacct cpu+cpuacct;/sys/fs/cgroup/memory memory;/sys/fs/cgroup/systemd "},
		{"hybrid", hybridMounts, "/sys/fs/cgroup/cpu,cpuacct cpu+cpuacct;/sys/fs/cgroup/memory memory;/sys/fs/cgroup/systemd ;/sys/fs/cgroup/unified v2"},
		{"v2", v2Mounts, "/sys/fs/cgroup v2"},
		{"container", containerMounts, "/a b/cgroup v2"},
		{"none", "23 1 0:20 / / rw - ext4 /dev/vda rw\n", ""},
		{"empty", "", ""},
	} {
		var got []string
		for _, tree := range parseMounts(c.in) {
			what := strings.Join(tree.Controllers, "+")
			if tree.V2 {
				what = "v2"
			}
			got = append(got, tree.Dir+" "+what)
		}
		if s := strings.Join(got, ";"); s != c.want {
			t.Errorf("%s: %s\nwant %s", c.name, s, c.want)
		}
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add(hybridMounts)
	f.Add(v2Mounts)
	f.Add(containerMounts)
	f.Fuzz(func(t *testing.T, s string) {
		for _, tree := range parseMounts(s) {
			if tree.Dir == "" || tree.V2 && tree.Controllers != nil {
				t.Errorf("%+v", tree)
			}
		}
	})
}

func TestOwnGroup(t *testing.T) {
	const own = `4:memory:/process/x
1:cpu,cpuacct:/
9:name=systemd:/user.slice
0::/user.slice/user-1000.slice/session-1.scope`
	for _, c := range []struct {
		name string
		tree Tree
		own  string
		want string
		ok   bool
	}{
		{"v2", Tree{V2: true, root: "/"}, own, "user.slice/user-1000.slice/session-1.scope", true},
		{"v1", Tree{Controllers: []string{"memory"}, root: "/"}, own, "process/x", true},
		{"co-mounted, topmost", Tree{Controllers: []string{"cpu", "cpuacct"}, root: "/"}, own, "", true},
		{"a part is mounted", Tree{V2: true, root: "/user.slice"}, own, "user-1000.slice/session-1.scope", true},
		{"the group itself is mounted", Tree{Controllers: []string{"memory"}, root: "/process/x"}, own, "", true},
		{"another part is mounted", Tree{V2: true, root: "/user"}, own, "", false},
		{"outside the cgroup namespace", Tree{V2: true, root: "/"}, "0::/../../a", "", false},
		{"outside, at its top", Tree{V2: true, root: "/"}, "0::/..", "", false},
		{"no such hierarchy", Tree{Controllers: []string{"pids"}, root: "/"}, own, "", false},
	} {
		c.tree.own = c.own
		got, ok, err := c.tree.ownGroup()
		if err != nil || ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %q, %v, %v; want %q, %v", c.name, got, ok, err, c.want, c.ok)
		}
	}
}
