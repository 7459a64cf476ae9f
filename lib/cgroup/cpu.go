package cgroup

import "strconv"

// The controllers cpu, cpuset and pids: scheduler/sched-bwc.rst, cpuset(7), cgroup-v2.rst.

// CPUs limits CPU time to so many billionths of one CPU ([ParseCPUs]): a quota in each
// period of 100 ms. Below 0.01 the period is stretched, since a quota has at least 1 ms.
func CPUs(nano int64) Limit {
	const period = 100_000 // µs
	l := Limit{Controller: "cpu", name: "cpu.max"}
	if nano == Max {
		l.v1 = []setting{{file: "cpu.cfs_quota_us", value: "-1"}}
		l.v2 = []setting{{file: "cpu.max", value: "max", check: checkNone}}
		return l
	}
	p, q := int64(period), nano/(1e9/period)
	if q < 1000 {
		p, q = 1000*1e9/nano, 1000
	}
	ps, qs := strconv.FormatInt(p, 10), strconv.FormatInt(q, 10)
	l.v1 = []setting{{file: "cpu.cfs_period_us", value: ps}, {file: "cpu.cfs_quota_us", value: qs}}
	l.v2 = []setting{{file: "cpu.max", value: qs + " " + ps}}
	return l
}

// The bounds of cpu.weight.
const (
	MinWeight = 1
	MaxWeight = 10000
)

// CPUWeight is the group's share of CPU time beside its siblings, 1 to 10000; 100 is
// what a group begins with. On v1 it is cpu.shares, 1024 for 100: the scheduler's own
// measure, so that the ratio between two groups is the same.
func CPUWeight(n int64) Limit {
	l := converted("cpu.weight", strconv.FormatInt(n, 10))
	l.v2 = []setting{{file: "cpu.weight", value: strconv.FormatInt(n, 10)}}
	return l
}

// CPUBurst lets a group save up so many microseconds of a quota that it has not used, at
// most the quota itself; Linux 5.14.
func CPUBurst(us int64) Limit {
	n := strconv.FormatInt(us, 10)
	return Limit{
		Controller: "cpu", name: "cpu.max.burst",
		v1: []setting{{file: "cpu.cfs_burst_us", value: n, check: checkNone}},
		v2: []setting{{file: "cpu.max.burst", value: n, check: checkNone}}, // it is shown in other units before 6.6
	}
}

// CPUIdle gives the group CPU time that nobody else wants; Linux 5.15.
func CPUIdle() Limit {
	s := []setting{{file: "cpu.idle", value: "1"}}
	return Limit{Controller: "cpu", name: "cpu.idle", v1: s, v2: s}
}

// Pids limits the number of processes, threads counted. More than PID_MAX_LIMIT is
// refused by the kernel.
func Pids(n int64) Limit {
	s := []setting{{file: "pids.max", value: bytes(n)}}
	return Limit{Controller: "pids", name: "pids.max", v1: s, v2: s}
}

// CPUSet limits the group to the CPUs of a list: see [ParseList].
func CPUSet(list string) Limit { return cpuset("cpuset.cpus", list) }

// MemSet limits the group to the memory nodes of a list: see [ParseList].
func MemSet(list string) Limit { return cpuset("cpuset.mems", list) }

func cpuset(file, list string) Limit {
	s := []setting{{file: file, value: list, check: checkList}}
	return Limit{Controller: "cpuset", name: file, v1: s, v2: s}
}

// Freeze stops what is in the group: freezer of v1, cgroup.freeze of v2.
func Freeze() Limit {
	return Limit{
		Controller: Core, name: "cgroup.freeze",
		v1: []setting{{file: "freezer.state", value: "FROZEN", check: checkNone}},
		v2: []setting{{file: "cgroup.freeze", value: "1"}},
	}
}
