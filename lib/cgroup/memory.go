package cgroup

import "strconv"

// The controller memory: admin-guide/cgroup-v1/memory.rst, cgroup-v2.rst "Memory".

// bytes is a number of bytes as v2 reads it.
func bytes(n int64) string {
	if n == Max {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

// bytes1 is a number of bytes as v1 reads it, which knows no "max".
func bytes1(n int64) string {
	if n == Max {
		return "-1"
	}
	return strconv.FormatInt(n, 10)
}

// checkOf is how a number of bytes is compared with what is kept: v1 makes a number of
// no limit.
func checkOf(n int64, v2 bool) check {
	switch {
	case n != Max:
		return checkBytes
	case v2:
		return checkText
	}
	return checkNone
}

// Memory limits memory to so many bytes, swap included: once they are used up the
// kernel reclaims, then kills. (With a limit on memory alone, a group swaps.)
func Memory(n int64) Limit {
	swap := setting{file: "memory.swap.max", value: "0", optional: true}
	if n == Max {
		swap.value = "max"
	}
	return Limit{
		Controller: "memory", name: "memory.max",
		v1: []setting{
			{file: "memory.limit_in_bytes", value: bytes1(n), check: checkOf(n, false)},
			{file: "memory.memsw.limit_in_bytes", value: bytes1(n), check: checkOf(n, false), optional: true},
		},
		v2: []setting{{file: "memory.max", value: bytes(n), check: checkOf(n, true)}, swap},
	}
}

// MemoryHigh has the kernel reclaim from a group that uses more, and slow it down, but
// never kill. On v1 the soft limit stands in for it: it is heeded only when the whole
// machine is short of memory.
func MemoryHigh(n int64) Limit {
	return Limit{
		Controller: "memory", name: "memory.high",
		v1: []setting{{file: "memory.soft_limit_in_bytes", value: bytes1(n), check: checkOf(n, false)}},
		v2: []setting{{file: "memory.high", value: bytes(n), check: checkOf(n, true)}},
	}
}

// MemoryLow keeps so much of a group's memory from being reclaimed while there is other
// memory to reclaim; v2 only.
func MemoryLow(n int64) Limit { return memory2("memory.low", n) }

// MemoryMin keeps so much of a group's memory from being reclaimed at all; v2 only.
func MemoryMin(n int64) Limit { return memory2("memory.min", n) }

func memory2(file string, n int64) Limit {
	return Limit{
		Controller: "memory", name: file,
		v2: []setting{{file: file, value: bytes(n), check: checkOf(n, true)}},
	}
}

// Swap limits swap, beside the memory that [Memory] allows.
func Swap(n int64) Limit {
	l := converted("memory.swap.max", bytes(n))
	l.v2 = []setting{{file: "memory.swap.max", value: bytes(n), check: checkOf(n, true)}}
	return l
}

// OOMGroup has the kernel kill the whole group when it kills one of its processes for
// want of memory; v2 only.
func OOMGroup() Limit {
	return Limit{
		Controller: "memory", name: "memory.oom.group",
		v2: []setting{{file: "memory.oom.group", value: "1"}},
	}
}

// HugeTLB limits huge pages of a size, named as the kernel names its files: "2MB",
// "1GB" ([ParsePageSize]).
func HugeTLB(size string, n int64) Limit {
	name := "hugetlb." + size + ".max"
	return Limit{
		Controller: "hugetlb", name: name,
		v1: []setting{{file: "hugetlb." + size + ".limit_in_bytes", value: bytes1(n), check: checkOf(n, false)}},
		v2: []setting{{file: name, value: bytes(n), check: checkOf(n, true)}},
	}
}
