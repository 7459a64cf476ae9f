package cgroup

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Max stands for no limit.
const Max = math.MaxInt64

// ParseSize reads a number of bytes: digits, in base 10, and at most one of K, M, G, T
// (powers of 1024, upper or lower case). What the kernel itself reads as another number is
// refused: 0100000 is octal to it, and 16E is 0.
func ParseSize(s string) (int64, error) {
	n, err := parseNumber(s, "KMGT")
	if errors.Is(err, errSyntax) {
		return 0, fmt.Errorf("%q is no size: digits, and K, M, G or T after them (powers of 1024)", s)
	}
	return n, err
}

var errSyntax = errors.New("not a number")

// parseNumber reads digits and at most one of the suffixes, each of which stands for
// 1024 times what the one before it stands for.
func parseNumber(s, suffixes string) (int64, error) {
	digits, shift := s, 0
	if s != "" {
		if i := strings.IndexByte(suffixes, s[len(s)-1]&^0x20); i >= 0 && s[len(s)-1] >= 'A' {
			digits, shift = s[:len(s)-1], 10*(i+1)
		}
	}
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, errSyntax
	}
	if len(digits) > 1 && digits[0] == '0' {
		return 0, fmt.Errorf("%s: the kernel reads a number that begins with 0 as octal: leave the 0 out", s)
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%s is more than 63 bits hold", s)
	}
	return int64(n << shift), nil
}

// ParseCPUs reads a number of CPUs, "0.3", into billionths of a CPU.
func ParseCPUs(s string) (int64, error) {
	whole, frac, dot := strings.Cut(s, ".")
	if whole+frac == "" || strings.Trim(whole+frac, "0123456789") != "" || dot && frac == "" {
		return 0, fmt.Errorf("%q is no number of CPUs: 2, or 0.3", s)
	}
	n := int64(0)
	if whole != "" {
		var err error
		if n, err = strconv.ParseInt(whole, 10, 64); err != nil || n > maxCPUs {
			return 0, fmt.Errorf("%s: there are never more than %d CPUs", s, maxCPUs)
		}
	}
	frac = (frac + "000000000")[:9]
	f, err := strconv.ParseInt(frac, 10, 64)
	if err != nil {
		return 0, err
	}
	n = n*1e9 + f
	if n < minNanoCPUs {
		return 0, fmt.Errorf("%s: the least that the kernel can give is 0.001 of a CPU", s)
	}
	return n, nil
}

const (
	maxCPUs     = 8192 // NR_CPUS, at its largest
	minNanoCPUs = 1e6  // a quota of 1 ms in a period of 1 s: both at their bounds
)

// ParseList reads a list of numbers as cpuset(7) writes it, "0-2,7", into the set of
// them.
func ParseList(s string) (map[int]bool, error) {
	set := map[int]bool{}
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, errA := listNumber(first)
		b, errB := listNumber(last)
		if errA != nil || errB != nil {
			return nil, fmt.Errorf("%q is no list of numbers: 0-2,7", s)
		}
		if a > b {
			return nil, fmt.Errorf("%q: the range %s runs backwards", s, part)
		}
		if b >= maxCPUs {
			return nil, fmt.Errorf("%q: there are never more than %d", s, maxCPUs)
		}
		for ; a <= b; a++ {
			set[a] = true
		}
	}
	return set, nil
}

func listNumber(s string) (int, error) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, errSyntax
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		n = maxCPUs // more digits than a number has: it is refused for its size
	}
	return n, nil
}

// ParseMicroseconds reads a time: digits, and us, ms or s after them; microseconds by
// default, which is what the files of cpu are in.
func ParseMicroseconds(s string) (int64, error) {
	for _, unit := range []struct {
		suffix string
		us     int64
	}{{"us", 1}, {"ms", 1000}, {"s", 1_000_000}, {"", 1}} {
		if number, ok := strings.CutSuffix(s, unit.suffix); ok {
			n, err := parseNumber(number, "")
			if errors.Is(err, errSyntax) || err == nil && n > math.MaxInt64/unit.us {
				break
			}
			return n * unit.us, err
		}
	}
	return 0, fmt.Errorf("%q is no time: digits, and us, ms or s after them", s)
}

// ParsePageSize reads the size of huge pages, "2M" or "2MB", into the kernel's name for
// it in files: 2MB.
func ParsePageSize(s string) (string, error) {
	n, err := ParseSize(strings.TrimSuffix(strings.ToUpper(s), "B"))
	if err != nil || n < 1024 || n&(n-1) != 0 {
		return "", fmt.Errorf("%q is no size of pages: 2MB", s)
	}
	for i, unit := range []string{"GB", "MB", "KB"} { // as the kernel does: hugetlb_cgroup.c
		if size := int64(1) << (30 - 10*i); n >= size {
			return strconv.FormatInt(n/size, 10) + unit, nil
		}
	}
	return "", errSyntax // there is no size below 1 KB here
}
