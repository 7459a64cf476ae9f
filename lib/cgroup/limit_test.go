package cgroup

import (
	"fmt"
	"strings"
	"testing"
)

// files writes what a limit does to files as "FILE=VALUE FILE=VALUE".
func files(l Limit, v2 bool) string {
	var s []string
	for _, x := range l.settings(v2) {
		s = append(s, x.file+"="+x.value)
	}
	return strings.Join(s, " ")
}

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name   string
		limit  Limit
		v1, v2 string
	}{
		{
			"memory", Memory(64 << 20), "memory.limit_in_bytes=67108864 memory.memsw.limit_in_bytes=67108864",
			"memory.max=67108864 memory.swap.max=0",
		},
		{
			"memory max", Memory(Max), "memory.limit_in_bytes=-1 memory.memsw.limit_in_bytes=-1",
			"memory.max=max memory.swap.max=max",
		},
		{"cpus", CPUs(3e8), "cpu.cfs_period_us=100000 cpu.cfs_quota_us=30000", "cpu.max=30000 100000"},
		{"cpus above one", CPUs(2.5e9), "cpu.cfs_period_us=100000 cpu.cfs_quota_us=250000", "cpu.max=250000 100000"},
		{"cpus at the bound", CPUs(1e7), "cpu.cfs_period_us=100000 cpu.cfs_quota_us=1000", "cpu.max=1000 100000"},
		{"cpus below it", CPUs(5e6), "cpu.cfs_period_us=200000 cpu.cfs_quota_us=1000", "cpu.max=1000 200000"},
		{"cpus at the least", CPUs(1e6), "cpu.cfs_period_us=1000000 cpu.cfs_quota_us=1000", "cpu.max=1000 1000000"},
		{"cpus max", CPUs(Max), "cpu.cfs_quota_us=-1", "cpu.max=max"},
		{"pids", Pids(50), "pids.max=50", "pids.max=50"},
		{"pids max", Pids(Max), "pids.max=max", "pids.max=max"},
		{"cpuset", CPUSet("0-1"), "cpuset.cpus=0-1", "cpuset.cpus=0-1"},
	} {
		if got := files(c.limit, false); got != c.v1 {
			t.Errorf("%s: v1: %s, want %s", c.name, got, c.v1)
		}
		if got := files(c.limit, true); got != c.v2 {
			t.Errorf("%s: v2: %s, want %s", c.name, got, c.v2)
		}
	}
}

func TestSet(t *testing.T) {
	for _, c := range []struct{ key, value, controller string }{
		{"memory.max", "5M", "memory"},
		{"cpu.max", "max 100000", "cpu"},
		{"hugetlb.2MB.max", "0", "hugetlb"},
		{"io.max", "8:0 rbps=1", "io"},
		{"pids.max", "0100000", ""},
		{"net_cls.classid", "1", "net_cls"},
		{"cgroup.max.depth", "3", "cgroup"},
		{"memory.max", "16E", ""}, // the kernel would take it for 0
		{"memory.max", "", ""},
		{"memory.max", "1\n2", ""},
		{"memory", "1", ""},
		{".max", "1", ""},
		{"memory.", "1", ""},
		{"memory/../cpu.max", "1", ""},
		{"cgroup.procs", "1", ""},
		{"cgroup.kill", "1", ""},
		{"", "1", ""},
	} {
		l, err := Set(c.key, c.value)
		if l.Controller != c.controller || (err != nil) != (c.controller == "") {
			t.Errorf("Set(%q, %q) is of %q, %v; want %q", c.key, c.value, l.Controller, err, c.controller)
		}
	}
}

func FuzzSet(f *testing.F) {
	f.Add("memory.max", "5M")
	f.Add("a/b.c", "1")
	f.Add("cgroup.procs", "0")
	f.Fuzz(func(t *testing.T, key, value string) {
		l, err := Set(key, value)
		if err == nil && (strings.ContainsAny(key, "/\x00") || !strings.HasPrefix(key, l.Controller+".") || value == "") {
			t.Errorf("Set(%q, %q) is of %q", key, value, l.Controller)
		}
	})
}

func TestKept(t *testing.T) {
	for _, c := range []struct {
		check       check
		value, kept string
		want        bool
	}{
		{checkText, "50", "50", true},
		{checkText, "50", "49", false},
		{checkBytes, "67108864", "67108864", true},
		{checkBytes, "10000000", "9998336", true}, // rounded down to a page of 4096
		{checkBytes, "10000000", "9994240", false},
		{checkBytes, "10000000", "10002432", false},
		{checkBytes, "100", "0", false},
		{checkBytes, "67108864", "max", false},
		{checkList, "0,1", "0-1", true},
		{checkList, "0-1", "0", false},
		{checkList, "0", "", false},
		{checkNumber, "5M", "5242880", true},
		{checkNumber, "0100000", "32768", false},
		{checkNumber, "0", "2", false},
		{checkNumber, "5", "3", false},
		{checkNumber, "max 100000", "50000 100000", true}, // not a number: nothing to compare
		{checkNumber, "max", "max", true},
		{checkWeight, "500", "default 500", true},
		{checkWeight, "500", "500", true},
		{checkWeight, "5000", "1000", false},
		{checkBytes, "1048576", "0", false}, // less than one huge page
	} {
		if got := c.check.same(c.value, c.kept); got != c.want {
			t.Errorf("%d: %q was kept as %q: %v, want %v", c.check, c.value, c.kept, got, c.want)
		}
	}
}

func TestClash(t *testing.T) {
	set := func(kv string) Limit {
		k, v, _ := strings.Cut(kv, "=")
		l, err := Set(k, v)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	for _, c := range []struct {
		a, b Limit
		want string
	}{
		{Memory(1 << 20), set("memory.max=1M"), "memory.max"},
		{Memory(1 << 20), set("memory.limit_in_bytes=1M"), "memory.max"},
		{Memory(1 << 20), set("memory.swap.max=1M"), ""}, // how to allow swap all the same
		{CPUs(1e9), set("cpu.cfs_period_us=1000"), "cpu.cfs_period_us"},
		{set("cpu.idle=1"), set("cpu.idle=0"), "cpu.idle"},
		{Pids(1), CPUs(1e9), ""},
	} {
		if got := c.a.Clash(c.b); got != c.want {
			t.Errorf("%s against %s: %q, want %q", fmt.Sprint(c.a), fmt.Sprint(c.b), got, c.want)
		}
	}
}
