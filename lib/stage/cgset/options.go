package cgset

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/cgroup"
)

// limits are the options that limit the group, as they were given.
type limits struct {
	fs *pflag.FlagSet

	memory, high, low, min, swap     string
	cpus, weight, burst, cpus1, mems string
	pids, ioWeight                   string
	ioMax, hugetlb, set, try         []string
	oomGroup, idle, raw              bool
	devices                          deviceRules
	freeze                           optional
}

// optional is an option that may have a value, after a "=".
type optional string

// bare is the value of one that was given without.
const bare = "true"

func (o *optional) String() string     { return string(*o) }
func (o *optional) Set(s string) error { *o = optional(s); return nil }
func (o *optional) Type() string       { return "bool" } // so that pflag shows no default

// optionalVar declares such an option.
func optionalVar(fs *pflag.FlagSet, o *optional, name, usage string) {
	fs.Var(o, name, usage)
	fs.Lookup(name).NoOptDefVal = bare
}

func (l *limits) options(fs *pflag.FlagSet) {
	l.fs = fs
	fs.StringVar(&l.memory, "memory", "", "limit memory, and memory and swap together, to `SIZE`")
	fs.StringVar(&l.high, "memory-high", "", "slow the group down when it uses more than `SIZE`")
	fs.StringVar(&l.low, "memory-low", "", "reclaim none of `SIZE` while there is other memory (v2)")
	fs.StringVar(&l.min, "memory-min", "", "reclaim none of `SIZE` (v2)")
	fs.StringVar(&l.swap, "swap", "", "allow `SIZE` of swap beside the memory")
	fs.BoolVar(&l.oomGroup, "oom-group", false, "out of memory, kill the whole group (v2)")
	fs.StringVar(&l.cpus, "cpus", "", "limit CPU time to that of `N` CPUs: 2, or 0.3")
	fs.StringVar(&l.weight, "cpu-weight", "", "share of CPU time beside other groups, 1 to 10000: `N`; 100 if not given")
	fs.StringVar(&l.burst, "cpu-burst", "", "save up `TIME` of unused quota: 50ms")
	fs.BoolVar(&l.idle, "cpu-idle", false, "run when nobody else wants the CPU")
	fs.StringVar(&l.cpus1, "cpuset-cpus", "", "run on the CPUs of `LIST` only: 0-2,7")
	fs.StringVar(&l.mems, "cpuset-mems", "", "use memory of the nodes of `LIST` only")
	fs.StringVar(&l.pids, "pids", "", "limit the number of processes and threads to `N`")
	fs.StringArrayVar(&l.ioMax, "io-max", nil, "limit a disk: `DEV:rbps=SIZE,wiops=N`; DEV is a path or MAJ:MIN")
	fs.StringVar(&l.ioWeight, "io-weight", "", "share of the disks beside other groups, 1 to 10000: `N`")
	fs.StringArrayVar(&l.hugetlb, "hugetlb", nil, "limit huge pages: `2MB=SIZE`")
	fs.Var(ruleFlag{&l.devices, true}, "device-allow", "allow devices: `RULE`, 'c 1:3 rw', /dev/null:rw or a")
	fs.Var(ruleFlag{&l.devices, false}, "device-deny", "deny devices: `RULE`")
	optionalVar(fs, &l.freeze, "freeze", "start frozen; thaw it with --thaw. Alone, with a `NAME`: freeze that group")
	fs.StringArrayVarP(&l.set, "set", "r", nil, "write to a file of the group: `KEY=VALUE`, by its name on v1 or v2")
	fs.StringArrayVar(&l.try, "try", nil, "the same, but go on without it: `KEY=VALUE`")
	fs.BoolVar(&l.raw, "raw", false, "take --set and --try as they stand, with nothing converted or checked")
}

// deviceRules are those of --device-allow and --device-deny, in the order of the words.
type deviceRules []cgroup.DeviceRule

type ruleFlag struct {
	rules *deviceRules
	allow bool
}

func (f ruleFlag) String() string { return "" }
func (f ruleFlag) Type() string   { return "string" }

func (f ruleFlag) Set(s string) error {
	r, err := cgroup.ParseDeviceRule(s, f.allow)
	*f.rules = append(*f.rules, r)
	return err
}

// An asked is a limit and the option that asks for it.
type asked struct {
	option string
	limit  cgroup.Limit
}

// read reads the limits that the options ask for, in the order in which they are set.
func (l *limits) read() ([]cgroup.Limit, error) {
	var all []asked
	add := func(option string, limit cgroup.Limit, err error) error {
		if err != nil {
			return fmt.Errorf("%s: %w", option, err)
		}
		for _, a := range all {
			if file := limit.Clash(a.limit); file != "" {
				return fmt.Errorf("%s and %s both set %s", a.option, option, file)
			}
		}
		all = append(all, asked{option, limit})
		return nil
	}
	for _, o := range []struct {
		name, value string
		read        func(string) (cgroup.Limit, error)
	}{
		{"memory", l.memory, atLeastAPage(cgroup.Memory)},
		{"memory-high", l.high, size(cgroup.MemoryHigh)},
		{"memory-low", l.low, size(cgroup.MemoryLow)},
		{"memory-min", l.min, size(cgroup.MemoryMin)},
		{"swap", l.swap, size(cgroup.Swap)},
		{"cpus", l.cpus, cpusLimit},
		{"cpu-weight", l.weight, weight(cgroup.CPUWeight)},
		{"cpu-burst", l.burst, burstLimit},
		{"cpuset-cpus", l.cpus1, list(cgroup.CPUSet)},
		{"cpuset-mems", l.mems, list(cgroup.MemSet)},
		{"pids", l.pids, pidsLimit},
		{"io-weight", l.ioWeight, weight(cgroup.IOWeight)},
	} {
		if !l.fs.Changed(o.name) {
			continue
		}
		limit, err := o.read(o.value)
		if err := add("--"+o.name, limit, err); err != nil {
			return nil, err
		}
	}
	if l.oomGroup {
		_ = add("--oom-group", cgroup.OOMGroup(), nil)
	}
	if l.idle && l.weight != "" {
		return nil, errors.New("--cpu-idle and --cpu-weight exclude each other: an idle group has no weight")
	} else if l.idle {
		_ = add("--cpu-idle", cgroup.CPUIdle(), nil)
	}
	for _, s := range l.ioMax {
		dev, values, err := cgroup.ParseIOMax(s)
		all = append(all, asked{"--io-max", cgroup.IOMax(dev, values)}) // one for each disk
		if err != nil {
			return nil, fmt.Errorf("--io-max: %w", err)
		}
	}
	for _, s := range l.hugetlb {
		limit, err := hugetlbLimit(s)
		if err := add("--hugetlb "+s, limit, err); err != nil {
			return nil, err
		}
	}
	if len(l.devices) > 0 {
		_ = add("--device-allow", cgroup.Devices(l.devices), nil)
	}
	for _, kv := range l.set {
		limit, err := l.keyValue(kv)
		if err != nil {
			return nil, fmt.Errorf("--set %s: %w", kv, err)
		}
		if err := add("--set "+keyOf(kv), limit, nil); err != nil {
			return nil, err
		}
	}
	for _, kv := range l.try {
		limit, err := l.keyValue(kv)
		limit.May = true
		if err != nil {
			return nil, fmt.Errorf("--try %s: %w", kv, err)
		}
		if err := add("--try "+keyOf(kv), limit, nil); err != nil {
			return nil, err
		}
	}
	if l.freeze != "" {
		_ = add("--freeze", cgroup.Freeze(), nil)
	}
	var limits []cgroup.Limit
	for _, a := range all {
		limits = append(limits, a.limit)
	}
	return limits, nil
}

func (l *limits) keyValue(kv string) (cgroup.Limit, error) {
	key, value, ok := strings.Cut(kv, "=")
	switch {
	case !ok:
		return cgroup.Limit{}, errors.New("there is no = in it: KEY=VALUE")
	case l.raw:
		return cgroup.Raw(key, value)
	}
	return cgroup.Set(key, value)
}

func keyOf(kv string) string {
	key, _, _ := strings.Cut(kv, "=")
	return key
}

// size reads a number of bytes, or max.
func size(limit func(int64) cgroup.Limit) func(string) (cgroup.Limit, error) {
	return func(s string) (cgroup.Limit, error) {
		if s == "max" {
			return limit(cgroup.Max), nil
		}
		n, err := cgroup.ParseSize(s)
		return limit(n), err
	}
}

func atLeastAPage(limit func(int64) cgroup.Limit) func(string) (cgroup.Limit, error) {
	return func(s string) (cgroup.Limit, error) {
		if n, err := cgroup.ParseSize(s); err == nil && n < int64(unix.Getpagesize()) {
			return cgroup.Limit{}, fmt.Errorf("%s is less than a page of memory", s)
		}
		return size(limit)(s)
	}
}

func cpusLimit(s string) (cgroup.Limit, error) {
	if s == "max" {
		return cgroup.CPUs(cgroup.Max), nil
	}
	n, err := cgroup.ParseCPUs(s)
	if err != nil {
		return cgroup.Limit{}, err
	}
	return cgroup.CPUs(n), nil
}

func burstLimit(s string) (cgroup.Limit, error) {
	n, err := cgroup.ParseMicroseconds(s)
	return cgroup.CPUBurst(n), err
}

func weight(limit func(int64) cgroup.Limit) func(string) (cgroup.Limit, error) {
	return func(s string) (cgroup.Limit, error) {
		n, err := strconv.ParseUint(s, 10, 63)
		if err != nil || n < cgroup.MinWeight || n > cgroup.MaxWeight {
			return cgroup.Limit{}, fmt.Errorf("%q is no weight: 1 to 10000", s)
		}
		return limit(int64(n)), nil
	}
}

func list(limit func(string) cgroup.Limit) func(string) (cgroup.Limit, error) {
	return func(s string) (cgroup.Limit, error) {
		_, err := cgroup.ParseList(s)
		return limit(s), err
	}
}

func pidsLimit(s string) (cgroup.Limit, error) {
	if s == "max" {
		return cgroup.Pids(cgroup.Max), nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	switch {
	case err != nil:
		return cgroup.Limit{}, fmt.Errorf("%q is no number of processes, nor max", s)
	case n == 0:
		return cgroup.Limit{}, errors.New("with 0 processes nothing could run")
	case n > 1<<22:
		return cgroup.Limit{}, fmt.Errorf("%s: the kernel has at most 4194304 (PID_MAX_LIMIT)", s)
	}
	return cgroup.Pids(int64(n)), nil
}

func hugetlbLimit(s string) (cgroup.Limit, error) {
	pages, text, ok := strings.Cut(s, "=")
	if !ok {
		return cgroup.Limit{}, errors.New("there is no = in it: 2MB=SIZE")
	}
	name, err := cgroup.ParsePageSize(pages)
	if err != nil {
		return cgroup.Limit{}, err
	}
	if n, err := cgroup.ParseSize(text); err == nil {
		if page, err := cgroup.ParseSize(strings.TrimSuffix(name, "B")); err == nil && n%page != 0 {
			return cgroup.Limit{}, fmt.Errorf("%s is no multiple of the pages' %s, which the kernel counts in", text, name)
		}
	}
	return size(func(n int64) cgroup.Limit { return cgroup.HugeTLB(name, n) })(text)
}
