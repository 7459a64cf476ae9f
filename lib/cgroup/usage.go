package cgroup

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Usage is what a group has used since it was made, or uses now; -1 stands for what this
// kernel, or this group without the controller, does not tell.
type Usage struct {
	Memory, MemoryPeak, SwapPeak    int64 // bytes
	OOMKills                        int64 // processes killed for want of memory
	CPU, CPUUser, CPUSystem         int64 // microseconds
	Throttled                       int64 // microseconds in which the CPU quota was used up
	ThrottledPeriods                int64
	Pids, PidsPeak                  int64 // processes, threads counted
	ReadBytes, WrittenBytes         int64
	ReadOperations, WriteOperations int64
}

// ReadUsage reads the statistics of a group from its directories in all hierarchies.
// MemoryPeak wants Linux 5.19 on v2, PidsPeak 6.11, SwapPeak 6.5 and v2: v1 keeps a peak of
// memory and swap together only, and those of the two are not at the same time.
func ReadUsage(dirs []string) Usage {
	g := statistics(dirs)
	u := Usage{
		Memory:     g.number("memory.current", "memory.usage_in_bytes"),
		MemoryPeak: g.number("memory.peak", "memory.max_usage_in_bytes"),
		SwapPeak:   g.number("memory.swap.peak"),
		OOMKills:   g.field("oom_kill", "memory.events", "memory.oom_control"),
		CPU:        g.field("usage_usec", "cpu.stat"),
		CPUUser:    g.field("user_usec", "cpu.stat"),
		CPUSystem:  g.field("system_usec", "cpu.stat"),
		Throttled:  g.field("throttled_usec", "cpu.stat"),
		Pids:       g.number("pids.current"),
		PidsPeak:   g.number("pids.peak"),
	}
	u.ThrottledPeriods = g.field("nr_throttled", "cpu.stat")
	if ns := g.field("throttled_time", "cpu.stat"); ns >= 0 {
		u.Throttled = ns / 1000
	}
	for _, v1 := range []struct {
		into *int64
		file string
	}{{&u.CPU, "cpuacct.usage"}, {&u.CPUUser, "cpuacct.usage_user"}, {&u.CPUSystem, "cpuacct.usage_sys"}} {
		if ns := g.number(v1.file); ns >= 0 {
			*v1.into = ns / 1000
		}
	}
	u.ReadBytes, u.WrittenBytes = g.disk("rbytes", "Read", "blkio.throttle.io_service_bytes"), g.disk("wbytes", "Write", "blkio.throttle.io_service_bytes")
	u.ReadOperations, u.WriteOperations = g.disk("rios", "Read", "blkio.throttle.io_serviced"), g.disk("wios", "Write", "blkio.throttle.io_serviced")
	return u
}

// statistics reads files of a group from the directory that has them.
type statistics []string

func (g statistics) text(file string) (string, bool) {
	for _, dir := range g {
		if text, err := readFile(unix.AT_FDCWD, dir+"/"+file); err == nil {
			return text, true
		}
	}
	return "", false
}

// number is what the first of files that there is holds.
func (g statistics) number(files ...string) int64 {
	for _, f := range files {
		if text, ok := g.text(f); ok {
			if n, err := parseNumber(text, ""); err == nil {
				return n
			}
		}
	}
	return -1
}

// field is the number after a key in the first of files that has it.
func (g statistics) field(key string, files ...string) int64 {
	for _, dir := range g {
		for _, f := range files {
			text, err := readFile(unix.AT_FDCWD, dir+"/"+f)
			if err == nil && strings.Contains("\n"+text, "\n"+key+" ") {
				return field(text, key)
			}
		}
	}
	return -1
}

// disk adds up what all disks have under a key of io.stat, or on v1 under a word of
// the file v1.
func (g statistics) disk(key, word, v1 string) int64 {
	text, ok := g.text("io.stat")
	sum := int64(0)
	if ok {
		for kv := range strings.FieldsSeq(text) {
			if v, ok := strings.CutPrefix(kv, key+"="); ok {
				n, _ := parseNumber(v, "")
				sum += n
			}
		}
		return sum
	}
	if text, ok = g.text(v1); !ok {
		return -1
	}
	for line := range strings.SplitSeq(text, "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[1] == word { // "8:0 Read 4096"
			n, _ := parseNumber(f[2], "")
			sum += n
		}
	}
	return sum
}
