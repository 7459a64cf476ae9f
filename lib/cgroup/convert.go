package cgroup

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// A pair is a file of v1 and the file of v2 that stands for the same thing. A file may
// be in several pairs: cpu.max is quota and period, io.max four files.
type pair struct {
	v1, v2 string // "*" stands for any word, the same in both
	// up makes the text for v2's file of a value of v1's, and of what v2's file holds;
	// nil where the file is only read.
	up func(value, old string, now reader) (string, error)
	// down makes a value for v1's file of the text of v2's; "" if the text says nothing
	// about it.
	down func(text string, now reader) (string, error)
	// shown tells that both files can only be read.
	shown bool
	// live tells that what the group has takes part in it.
	live bool
	// or tells that the pair is for kernels without the file of the pair before it.
	or bool
}

// pairs are the files that both versions have under different names, or with different
// values: cgroup-v1/*.rst and cgroup-v2.rst.
var pairs = []pair{
	{v1: "cpu.shares", v2: "cpu.weight", up: sharesToWeight, down: weightToShares},
	{v1: "cpu.cfs_quota_us", v2: "cpu.max", up: quotaToMax, down: maxToQuota, live: true},
	{v1: "cpu.cfs_period_us", v2: "cpu.max", up: periodToMax, down: maxToPeriod, live: true},
	{v1: "cpu.cfs_burst_us", v2: "cpu.max.burst", up: sameUp, down: sameDown},
	{v1: "cpuset.cpu_exclusive", v2: "cpuset.cpus.partition", up: words("1", "root", "0", "member"), down: wordsDown("root", "1", "isolated", "1", "member", "0")},
	{v1: "cpuset.effective_cpus", v2: "cpuset.cpus.effective", up: sameUp, down: sameDown, shown: true},
	{v1: "cpuset.effective_mems", v2: "cpuset.mems.effective", up: sameUp, down: sameDown, shown: true},
	{v1: "cpuacct.usage", v2: "cpu.stat", down: statToUsage},
	{v1: "memory.limit_in_bytes", v2: "memory.max", up: bytesUp, down: bytesDown},
	{v1: "memory.soft_limit_in_bytes", v2: "memory.high", up: bytesUp, down: bytesDown},
	{v1: "memory.memsw.limit_in_bytes", v2: "memory.swap.max", up: memswToSwap, down: swapToMemsw, live: true},
	{v1: "memory.usage_in_bytes", v2: "memory.current", up: sameUp, down: sameDown, shown: true},
	{v1: "memory.max_usage_in_bytes", v2: "memory.peak", up: sameUp, down: sameDown, shown: true},
	{v1: "blkio.bfq.weight", v2: "io.bfq.weight", up: sameUp, down: lastDown},
	{v1: "blkio.bfq.weight", v2: "io.weight", up: sameUp, down: lastDown, or: true},
	{v1: "blkio.weight", v2: "io.bfq.weight", up: sameUp, down: lastDown, or: true},
	{v1: "blkio.weight", v2: "io.weight", up: weightUp, down: weightDown, or: true},
	throttle(0), throttle(1), throttle(2), throttle(3),
	{v1: "freezer.state", v2: "cgroup.freeze", up: words("FROZEN", "1", "THAWED", "0"), down: wordsDown("1", "FROZEN", "0", "THAWED")},
	{v1: "hugetlb.*.limit_in_bytes", v2: "hugetlb.*.max", up: bytesUp, down: bytesDown},
	{v1: "hugetlb.*.rsvd.limit_in_bytes", v2: "hugetlb.*.rsvd.max", up: bytesUp, down: bytesDown},
	{v1: "hugetlb.*.usage_in_bytes", v2: "hugetlb.*.current", up: sameUp, down: sameDown, shown: true},
}

// match returns the pairs in which a key stands, on v1's side or on v2's, with their
// stars replaced.
func match(key string, v2 bool) []pair {
	var found []pair
	for _, p := range pairs {
		pattern := p.v1
		if v2 {
			pattern = p.v2
		}
		head, tail, star := strings.Cut(pattern, "*")
		switch {
		case pattern == key:
		case star && strings.HasPrefix(key, head) && strings.HasSuffix(key, tail) && len(key) > len(head)+len(tail):
			word := key[len(head) : len(key)-len(tail)]
			if strings.Contains(word, ".") {
				continue
			}
			p.v1, p.v2 = strings.Replace(p.v1, "*", word, 1), strings.Replace(p.v2, "*", word, 1)
		default:
			continue
		}
		found = append(found, p)
	}
	return found
}

// none is for a value that the other version has nothing for.
func none(err error) []setting { return []setting{{err: err}} }

// upSettings are what stands on v2 for a value of v1's file key, nil if key is none.
func upSettings(key, value string) []setting {
	var first *setting
	var next **setting
	for _, p := range match(key, false) {
		if p.up == nil || p.shown {
			return nil
		}
		text, err := p.up(value, "", func(string) string { return "" })
		if err != nil && !p.live {
			return none(err)
		}
		s := &setting{file: p.v2, value: text, check: checkNumber}
		if p.live {
			s.from = func(now reader) (string, error) { return p.up(value, now(p.v2), now) }
		}
		if first == nil {
			first = s
		} else {
			*next = s
		}
		next = &s.or
	}
	if first == nil {
		return nil
	}
	return []setting{*first}
}

// downSettings are what stands on v1 for a value of v2's file key, nil if key is none.
func downSettings(key, value string) []setting {
	var all []setting
	found := match(key, true)
	for _, p := range found {
		if p.up == nil || p.shown {
			return nil
		}
		text, err := p.down(value, func(string) string { return "" })
		live := p.v1 == memsw
		if err != nil && !live {
			return none(err)
		}
		if text == "" && err == nil {
			continue
		}
		s := setting{file: p.v1, value: text, check: checkNumber}
		if text == "-1" {
			s.check = checkNone // v1 shows a number for it
		}
		if live {
			s.from = func(now reader) (string, error) { return p.down(value, now) }
			s.check = checkNone
		}
		if p.or && len(all) > 0 {
			last := &all[len(all)-1]
			for last.or != nil {
				last = last.or
			}
			last.or = &s
		} else {
			all = append(all, s)
		}
	}
	if len(found) > 0 && len(all) == 0 {
		return none(errNotConverted)
	}
	return all
}

// converted is a limit by the name and the value that v2 has for it, without v2's own
// settings.
func converted(key, value string) Limit {
	controller, _, _ := strings.Cut(key, ".")
	return Limit{Controller: controller, name: key, v1: downSettings(key, value)}
}

// read returns what the file called key holds in the group that is open as fd. Where the
// group's version has it under another name, it is made of what that one holds. The
// error is the bare errno.
func read(fd int, v2 bool, key string) (string, error) {
	text, err := readFile(fd, key)
	if !errors.Is(err, unix.ENOENT) {
		return text, err
	}
	now := readerOf(fd)
	if v2 {
		for _, p := range match(key, false) {
			text, err := readFile(fd, p.v2)
			if err != nil {
				continue
			}
			value, err := p.down(text, now)
			if err != nil {
				return "", unix.EINVAL
			}
			if value == "-1" && strings.HasSuffix(key, "limit_in_bytes") {
				value = unlimited1
			}
			return value, nil
		}
		return "", unix.ENOENT
	}
	found := false
	made := ""
	for _, p := range match(key, true) {
		text, err := readFile(fd, p.v1)
		if err != nil || p.up == nil || found && p.or {
			continue
		}
		if made, err = p.up(text, made, now); err != nil {
			return "", unix.EINVAL
		}
		found = true
	}
	if !found {
		return "", unix.ENOENT
	}
	return made, nil
}
