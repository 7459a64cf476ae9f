package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// group makes a directory of plain files, and opens it as a group.
func group(t *testing.T, files string) int {
	t.Helper()
	dir := t.TempDir()
	for kv := range strings.SplitSeq(files, ";") {
		name, text, ok := strings.Cut(kv, "=")
		if !ok {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := openDir(unix.AT_FDCWD, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// A file of one version is written on the other as the file that stands for it there.
func TestConvert(t *testing.T) {
	for _, c := range []struct {
		v2         bool
		has        string // files of the group
		key, value string
		file, want string // want "": refused
	}{
		{true, "cpu.weight=100", "cpu.shares", "1024", "cpu.weight", "100"},
		{true, "cpu.weight=100", "cpu.shares", "2", "cpu.weight", "1"},
		{true, "cpu.weight=100", "cpu.shares", "262144", "cpu.weight", "10000"},
		{false, "cpu.shares=1024", "cpu.weight", "50", "cpu.shares", "512"},
		{false, "cpu.shares=1024", "cpu.weight", "1", "cpu.shares", "10"},
		{true, "cpu.max=max 100000", "cpu.cfs_quota_us", "30000", "cpu.max", "30000 100000"},
		{true, "cpu.max=30000 100000", "cpu.cfs_period_us", "1000000", "cpu.max", "30000 1000000"},
		{true, "cpu.max=30000 50000", "cpu.cfs_quota_us", "-1", "cpu.max", "max 50000"},
		{false, "cpu.cfs_quota_us=-1;cpu.cfs_period_us=100000", "cpu.max", "max 50000", "cpu.cfs_period_us", "50000"},
		{true, "memory.max=max", "memory.limit_in_bytes", "-1", "memory.max", "max"},
		{true, "memory.max=max", "memory.limit_in_bytes", unlimited1, "memory.max", "max"},
		{true, "memory.max=max", "memory.limit_in_bytes", "10000000", "memory.max", "10000000"},
		{false, "memory.limit_in_bytes=1", "memory.max", "max", "memory.limit_in_bytes", "-1"},
		{true, "memory.max=10485760;memory.swap.max=max", "memory.memsw.limit_in_bytes", "15M", "memory.swap.max", "5242880"},
		{true, "memory.max=max;memory.swap.max=max", "memory.memsw.limit_in_bytes", "15M", "memory.swap.max", ""},
		{false, "memory.limit_in_bytes=10485760;memory.memsw.limit_in_bytes=0", "memory.swap.max", "5M", "memory.memsw.limit_in_bytes", "15728640"},
		{true, "io.max=", "blkio.throttle.read_bps_device", "8:0 1000", "io.max", "8:0 rbps=1000"},
		{true, "io.max=", "blkio.throttle.read_bps_device", "8:0 0", "io.max", "8:0 rbps=max"},
		{false, "blkio.throttle.write_iops_device=", "io.max", "8:0 wiops=5", "blkio.throttle.write_iops_device", "8:0 5"},
		{true, "io.weight=default 100", "blkio.weight", "1000", "io.weight", "10000"},
		{false, "blkio.bfq.weight=100", "io.weight", "200", "blkio.bfq.weight", "200"},
		{false, "cpu.cfs_quota_us=-1;cpu.cfs_period_us=100000", "cpu.max", "foo", "cpu.cfs_quota_us", ""},
		{true, "io.weight=default 100", "blkio.bfq.weight", "200", "io.weight", "200"},
		{true, "io.bfq.weight=default 100", "blkio.weight", "500", "io.bfq.weight", "500"},
		{true, "cgroup.freeze=0", "freezer.state", "FROZEN", "cgroup.freeze", "1"},
		{false, "freezer.state=THAWED", "cgroup.freeze", "1", "freezer.state", "FROZEN"},
		{true, "hugetlb.2MB.max=max", "hugetlb.2MB.limit_in_bytes", "4M", "hugetlb.2MB.max", "4M"},
		{true, "cpuset.cpus.partition=member", "cpuset.cpu_exclusive", "1", "cpuset.cpus.partition", "root"},
		{true, "cgroup.freeze=0", "freezer.state", "FREEZING", "cgroup.freeze", ""},
		{true, "cpu.weight=100", "cpu.shares", "many", "cpu.weight", ""},
	} {
		fd := group(t, c.has)
		l, err := Set(c.key, c.value)
		if err == nil {
			err = l.possible(nil, &Tree{V2: c.v2})
		}
		var written []Written
		if err == nil {
			written, err = l.apply(fd, "/group", c.v2, &undo{})
		}
		got := ""
		for _, w := range written { // a plain file keeps the end of what was longer
			if w.File == "/group/"+c.file {
				got = w.Value
			}
		}
		if c.want == "" && err == nil || c.want != "" && (err != nil || got != c.want) {
			t.Errorf("%s=%s in %s: %s holds %q, want %q (%v)", c.key, c.value, c.has, c.file, got, c.want, err)
		}
	}
}

// It is read as such as well.
func TestReadConverted(t *testing.T) {
	for _, c := range []struct {
		v2        bool
		has       string
		key, want string
	}{
		{true, "cpu.weight=100", "cpu.shares", "1024"},
		{true, "cpu.max=max 100000", "cpu.cfs_quota_us", "-1"},
		{true, "cpu.max=30000 1000000", "cpu.cfs_period_us", "1000000"},
		{false, "cpu.cfs_quota_us=30000;cpu.cfs_period_us=50000", "cpu.max", "30000 50000"},
		{true, "memory.max=max", "memory.limit_in_bytes", unlimited1},
		{false, "memory.limit_in_bytes=" + unlimited1, "memory.max", "max"},
		{true, "cpu.stat=usage_usec 5\nuser_usec 3", "cpuacct.usage", "5000"},
		{true, "cgroup.freeze=1", "freezer.state", "FROZEN"},
		{true, "pids.max=5", "pids.max", "5"},
		{false, "memory.usage_in_bytes=5", "memory.current", "5"},
		{false, "memory.max_usage_in_bytes=7", "memory.peak", "7"},
		{false, "cpuset.effective_cpus=0-1", "cpuset.cpus.effective", "0-1"},
		{false, "hugetlb.2MB.usage_in_bytes=0", "hugetlb.2MB.current", "0"},
		{true, "memory.current=5", "memory.usage_in_bytes", "5"},
		{false, "blkio.bfq.weight=100", "io.weight", "100"},
		{false, "pids.max=5", "memory.max", ""},
	} {
		got, err := read(group(t, c.has), c.v2, c.key)
		if got != c.want || (c.want == "") != errors.Is(err, unix.ENOENT) {
			t.Errorf("%s of %s: %q (%v), want %q", c.key, c.has, got, err, c.want)
		}
	}
}
