package cgroup

import (
	"maps"
	"strconv"
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int64 // -1: refused
	}{
		{"0", 0},
		{"10000000", 10000000},
		{"0100000", -1}, // octal, to the kernel
		{"64k", 64 << 10},
		{"64M", 64 << 20},
		{"1g", 1 << 30},
		{"3T", 3 << 40},
		{"9223372036854775807", Max},
		{"8191P", -1},
		{"8388607T", 8388607 << 40},
		{"8388608T", -1},
		{"9223372036854775808", -1},
		{"99999999999999999999", -1},
		{"16E", -1},
		{"", -1},
		{"M", -1},
		{"-1", -1},
		{"+1", -1},
		{"1.5G", -1},
		{"64MB", -1},
		{"64 M", -1},
		{"0x10", -1},
		{"1e6", -1},
		{"max", -1},
		{"64\x0b", -1}, // K without the bit that makes it a letter
	} {
		got, err := ParseSize(c.in)
		if err != nil {
			got = -1
		}
		if got != c.want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", c.in, got, err, c.want)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"1", "0100000", "16E", "64M", "7T", "-1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if err != nil {
			return
		}
		digits := strings.TrimRight(s, "KMGTkmgt")
		d, err := strconv.ParseInt(digits, 10, 64)
		if n < 0 || err != nil || len(s)-len(digits) > 1 || n < d || d != 0 && n%d != 0 {
			t.Errorf("ParseSize(%q) = %d", s, n)
		}
	})
}

func TestParseCPUs(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int64 // -1: refused
	}{
		{"1", 1e9},
		{"0.3", 3e8},
		{".5", 5e8},
		{"2.25", 2.25e9},
		{"0.001", 1e6},
		{"0.0009999999", -1},
		{"0", -1},
		{"0.", -1},
		{".", -1},
		{"", -1},
		{"-1", -1},
		{"1,5", -1},
		{"1.2.3", -1},
		{"8192", 8192e9},
		{"8193", -1},
		{"99999999999999999999", -1},
	} {
		got, err := ParseCPUs(c.in)
		if err != nil {
			got = -1
		}
		if got != c.want {
			t.Errorf("ParseCPUs(%q) = %d, %v; want %d", c.in, got, err, c.want)
		}
	}
}

func TestParseList(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []int // nil: refused
	}{
		{"0", []int{0}},
		{"0-2,7", []int{0, 1, 2, 7}},
		{"7,0-2,1", []int{0, 1, 2, 7}},
		{"1-1", []int{1}},
		{"", nil},
		{",", nil},
		{"1-", nil},
		{"-1", nil},
		{"2-1", nil},
		{"0-1-2", nil},
		{"a", nil},
		{"0 1", nil},
		{"0-8192", nil},
		{"99999999999999999999", nil},
	} {
		got, err := ParseList(c.in)
		want := map[int]bool{}
		for _, n := range c.want {
			want[n] = true
		}
		if (err != nil) != (c.want == nil) || !maps.Equal(got, want) {
			t.Errorf("ParseList(%q) = %v, %v; want %v", c.in, got, err, c.want)
		}
	}
}

func FuzzParseList(f *testing.F) {
	for _, s := range []string{"0", "0-2,7", "1-", "2-1", "8191"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		set, err := ParseList(s)
		if err != nil {
			return
		}
		for n := range set {
			if n < 0 || n >= maxCPUs {
				t.Errorf("ParseList(%q) has %d", s, n)
			}
		}
	})
}

func TestParseMicroseconds(t *testing.T) {
	for in, want := range map[string]int64{
		"5000": 5000, "5000us": 5000, "5ms": 5000, "2s": 2000000, "0": 0,
		"": -1, "ms": -1, "-1": -1, "1.5ms": -1, "010": -1, "5m": -1, "9223372036854775807s": -1, "99999999999999999999": -1,
	} {
		got, err := ParseMicroseconds(in)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("ParseMicroseconds(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
}

func TestParsePageSize(t *testing.T) {
	for in, want := range map[string]string{
		"2MB": "2MB", "2M": "2MB", "2mb": "2MB", "2048K": "2MB", "1GB": "1GB", "64KB": "64KB", "2097152": "2MB",
		"": "", "3M": "", "MB": "", "1": "", "-2M": "", "2MBB": "",
	} {
		if got, err := ParsePageSize(in); got != want || (err == nil) != (want != "") {
			t.Errorf("ParsePageSize(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestParseIOMax(t *testing.T) {
	for in, want := range map[string]string{
		"8:0:rbps=1M":           "8:0 rbps=1048576",
		"8:0:rbps=1M,wiops=max": "8:0 rbps=1048576 wiops=max",
		"8:0":                   "",
		"8:0:rbps=0":            "",
		"8:0:bps=1":             "",
		"8:0:rbps=1,rbps=2":     "",
		"8:rbps=1":              "",
		"x:0:rbps=1":            "",
		"/nonesuch:rbps=1":      "",
		"/dev/null:rbps=1":      "",
		"":                      "",
	} {
		dev, values, err := ParseIOMax(in)
		got := ""
		if err == nil {
			got = files(IOMax(dev, values), true)
		}
		if got = strings.TrimPrefix(got, "io.max="); got != want || (err == nil) != (want != "") {
			t.Errorf("ParseIOMax(%q): %q, %v; want %q", in, got, err, want)
		}
	}
}

func FuzzParseIOMax(f *testing.F) {
	f.Add("8:0:rbps=1M,wiops=max")
	f.Add("/dev/sda:riops=1")
	f.Fuzz(func(t *testing.T, s string) {
		dev, values, err := ParseIOMax(s)
		if err == nil && (strings.ContainsAny(dev, " \n=") || len(values) == 0) {
			t.Errorf("%q: %q %v", s, dev, values)
		}
	})
}
