package cgroup

import (
	"errors"
	"strconv"
	"strings"
)

// How the values of one version become those of the other: see pairs.

const (
	memsw = "memory.memsw.limit_in_bytes"
	// unlimited1 is how v1 shows a number of bytes that is not limited: PAGE_COUNTER_MAX
	// pages of 4096 bytes.
	unlimited1 = "9223372036854771712"
)

var errNotConverted = errors.New("this value has no counterpart in the version of cgroups that the other name is of")

func sameUp(value, _ string, _ reader) (string, error) { return value, nil }
func sameDown(text string, _ reader) (string, error)   { return text, nil }

// words makes a function of pairs FROM, TO.
func words(list ...string) func(string, string, reader) (string, error) {
	down := wordsDown(list...)
	return func(value, _ string, now reader) (string, error) { return down(value, now) }
}

func wordsDown(list ...string) func(string, reader) (string, error) {
	return func(text string, _ reader) (string, error) {
		for i := 0; i < len(list); i += 2 {
			if list[i] == text {
				return list[i+1], nil
			}
		}
		return "", errNotConverted
	}
}

func bytesUp(value, _ string, _ reader) (string, error) {
	if value == "-1" {
		return "max", nil
	}
	n, err := parseNumber(value, kernelSuffixes)
	if err != nil {
		return "", err
	}
	if n >= Max&^0xffff { // with pages of 64 KiB v1 shows less than with those of 4 KiB
		return "max", nil
	}
	return value, nil
}

func bytesDown(text string, _ reader) (string, error) {
	if text == "max" {
		return "-1", nil
	}
	return text, nil
}

// v1's limit on memory and swap together is v2's on swap, beside that on memory.
func memswToSwap(value, _ string, now reader) (string, error) {
	text, err := bytesUp(value, "", now)
	if text == "max" || err != nil {
		return text, err
	}
	sum, err := parseNumber(value, kernelSuffixes)
	if err != nil {
		return "", err
	}
	memory, err := parseNumber(now("memory.max"), "")
	switch {
	case err != nil:
		return "", errors.New("memory.limit_in_bytes must be set first, to less")
	case memory-sum > pageSlack:
		return "", errors.New("it is less than memory.limit_in_bytes")
	}
	return strconv.FormatInt(max(0, sum-memory), 10), nil
}

// pageSlack is the most that the kernel rounds a number of bytes down by.
const pageSlack = 64 << 10

func swapToMemsw(text string, now reader) (string, error) {
	if text == "max" {
		return "-1", nil
	}
	swap, err := parseNumber(text, kernelSuffixes)
	if err != nil {
		return "", err
	}
	memory, err := parseNumber(now("memory.limit_in_bytes"), "")
	if err != nil || memory > Max-pageSlack-swap {
		return "", errors.New("on cgroup v1 swap is limited together with memory: set a limit on memory first")
	}
	return strconv.FormatInt(memory+swap, 10), nil
}

// The scheduler's own measure: 1024 shares weigh 100. It is linear, and so keeps the
// ratio of two groups.
func sharesToWeight(value, _ string, _ reader) (string, error) {
	n, err := parseNumber(value, "")
	if err != nil {
		return "", errNotConverted
	}
	n = min(n, 1<<20) // far beyond what has a meaning
	return strconv.FormatInt(max(MinWeight, min(n*100/1024, MaxWeight)), 10), nil
}

func weightToShares(text string, _ reader) (string, error) {
	n, err := parseNumber(text, "")
	if err != nil {
		return "", errNotConverted
	}
	return strconv.FormatInt(max(2, min(n, MaxWeight)*1024/100), 10), nil
}

// splitMax is cpu.max: a quota, and a period.
func splitMax(text string) (quota, period string) {
	quota, period = "max", "100000"
	f := strings.Fields(text)
	if len(f) > 0 {
		quota = f[0]
	}
	if len(f) > 1 {
		period = f[1]
	}
	return quota, period
}

func quotaToMax(value, old string, _ reader) (string, error) {
	_, period := splitMax(old)
	if value == "-1" {
		return "max " + period, nil
	}
	if !digits(value) {
		return "", errNotConverted
	}
	return value + " " + period, nil
}

func maxToQuota(text string, _ reader) (string, error) {
	quota, _ := splitMax(text)
	if quota == "max" {
		return "-1", nil
	}
	if !digits(quota) {
		return "", errNotConverted
	}
	return quota, nil
}

func periodToMax(value, old string, _ reader) (string, error) {
	quota, _ := splitMax(old)
	if !digits(value) {
		return "", errNotConverted
	}
	return quota + " " + value, nil
}

func maxToPeriod(text string, _ reader) (string, error) {
	if len(strings.Fields(text)) < 2 {
		return "", nil // it stays as it is
	}
	_, period := splitMax(text)
	return period, nil
}

// statToUsage is the CPU time of cpu.stat, in nanoseconds.
func statToUsage(text string, _ reader) (string, error) {
	return strconv.FormatInt(field(text, "usage_usec")*1000, 10), nil
}

// lastDown takes the number of "default 100".
func lastDown(text string, _ reader) (string, error) {
	first, _, _ := strings.Cut(text, "\n")
	f := strings.Fields(first)
	if len(f) == 0 || !digits(f[len(f)-1]) {
		return "", errNotConverted
	}
	return f[len(f)-1], nil
}

// The weights of disks, 10 to 1000 and 1 to 10000: the runtime specification's formula.
func weightUp(value, _ string, _ reader) (string, error) {
	n, err := parseNumber(value, "")
	if err != nil || n < 10 || n > 1000 {
		return "", errNotConverted
	}
	return strconv.FormatInt(1+(n-10)*9999/990, 10), nil
}

func weightDown(text string, now reader) (string, error) {
	text, err := lastDown(text, now)
	if err != nil {
		return "", err
	}
	n, err := parseNumber(text, "")
	if err != nil || n < MinWeight || n > MaxWeight {
		return "", errNotConverted
	}
	return strconv.FormatInt(10+(n-1)*990/9999, 10), nil
}

// throttle pairs key i of io.max with v1's file for it: lines "MAJOR:MINOR N", where 0
// lifts a limit.
func throttle(i int) pair {
	key := ioKeys[i].key
	return pair{
		v1: ioKeys[i].v1, v2: "io.max",
		up: func(value, old string, _ reader) (string, error) {
			var lines []string
			if old != "" {
				lines = append(lines, old)
			}
			for line := range strings.Lines(value) {
				f := strings.Fields(line)
				if len(f) != 2 || !digits(f[1]) {
					return "", errNotConverted
				}
				if f[1] == "0" {
					f[1] = "max"
				}
				lines = append(lines, f[0]+" "+key+"="+f[1])
			}
			return strings.Join(lines, "\n"), nil
		},
		down: func(text string, _ reader) (string, error) {
			var lines []string
			for line := range strings.Lines(text) {
				f := strings.Fields(line)
				for _, kv := range f[min(1, len(f)):] {
					n, ok := strings.CutPrefix(kv, key+"=")
					if !ok {
						continue
					}
					if n == "max" {
						n = "0"
					}
					lines = append(lines, f[0]+" "+n)
				}
			}
			return strings.Join(lines, "\n"), nil
		},
	}
}
