// Package cgset is the stage that makes a control group, limits it, and puts the rest
// of the chain into it; a waiter outside removes it afterwards.
package cgset

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/cgroup"
	"staves/lib/chain"
	"staves/lib/entry"
)

// Tool is what the registry knows of cgset.
var Tool = &chain.Tool{
	Name:    "cgset",
	Summary: "Run NEXT in a control group (cgroups(7)) with limits.",
	New:     func() chain.Stage { return &stage{} },
	Clean:   cgroup.Remove,
	Notes: `
SIZE is in bytes, or with K, M, G, T (powers of 1024); max lifts a limit. A limit on
memory is a hard one: it counts swap too (v1: memory.memsw.limit_in_bytes, v2:
memory.swap.max=0); beyond it the kernel kills. --pids counts threads too, and the init
that nsrun leaves.

With no --name the group is a fresh one, staves-PID. A process stays outside as NEXT's
parent: when NEXT ends it kills what is left in the group and removes it. A named group
that was there before stays, and with --keep any does; then no process stays either.

Groups are made at the top of the tree, or for an ordinary user in the nearest group
that is the user's own. Whether a controller is cgroup v1's or v2's is found out.
  cgset --memory 64M --pids 100 -- make -j4
  cgset --cpus 0.5 --set cpu.idle=1 -- sh`,
}

type stage struct {
	memory, cpus, pids, cpuset string
	set                        []string
	name                       string
	keep                       bool

	group *cgroup.Group // once it is made
}

func (s *stage) Options(fs *pflag.FlagSet) {
	fs.StringVar(&s.memory, "memory", "", "limit memory, and memory and swap together, to `SIZE`")
	fs.StringVar(&s.cpus, "cpus", "", "limit CPU time to that of `N` CPUs: 2, or 0.3")
	fs.StringVar(&s.pids, "pids", "", "limit the number of processes and threads to `N`")
	fs.StringVar(&s.cpuset, "cpuset-cpus", "", "run on the CPUs of `LIST` only: 0-2,7")
	fs.StringArrayVar(&s.set, "set", nil, "write to a file of the group: `KEY=VALUE`; can be given again")
	fs.StringVar(&s.name, "name", "", "make the group `NAME`, or use it if it is there; a/b lies in a")
	fs.BoolVar(&s.keep, "keep", false, "leave the group in place afterwards")
}

func (s *stage) Check(c *chain.Chain, link *chain.Link) error {
	if !s.keep {
		c.Provide(chain.Waiter, link)
	}
	if link.Flags.Changed("name") {
		if err := cgroup.CheckName(s.name); err != nil {
			return fmt.Errorf("--name: %w", err)
		}
	}
	_, err := s.limits(link)
	return err
}

// limits reads the limits that the options ask for.
func (s *stage) limits(link *chain.Link) ([]cgroup.Limit, error) {
	var limits []cgroup.Limit
	var names []string
	add := func(name string, l cgroup.Limit) error {
		for i, m := range limits {
			if file := l.Clash(m); file != "" {
				return fmt.Errorf("%s and %s both set %s", names[i], name, file)
			}
		}
		limits, names = append(limits, l), append(names, name)
		return nil
	}
	for _, o := range []struct {
		name, value string
		read        func(string) (cgroup.Limit, error)
	}{
		{"memory", s.memory, memoryLimit},
		{"cpus", s.cpus, cpusLimit},
		{"pids", s.pids, pidsLimit},
		{"cpuset-cpus", s.cpuset, cpusetLimit},
	} {
		if !link.Flags.Changed(o.name) {
			continue
		}
		l, err := o.read(o.value)
		if err == nil {
			err = add("--"+o.name, l)
		}
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", o.name, err)
		}
	}
	for _, kv := range s.set {
		key, value, ok := strings.Cut(kv, "=")
		if !ok {
			return nil, fmt.Errorf("--set %s: there is no = in it: KEY=VALUE", kv)
		}
		l, err := cgroup.Set(key, value)
		if err != nil {
			return nil, fmt.Errorf("--set %s: %w", kv, err)
		}
		if err := add("--set "+key, l); err != nil {
			return nil, err
		}
	}
	return limits, nil
}

func memoryLimit(s string) (cgroup.Limit, error) {
	if s == "max" {
		return cgroup.Memory(cgroup.Max), nil
	}
	n, err := cgroup.ParseSize(s)
	if err == nil && n < int64(unix.Getpagesize()) {
		err = fmt.Errorf("%s is less than a page of memory", s)
	}
	return cgroup.Memory(n), err
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

func cpusetLimit(s string) (cgroup.Limit, error) {
	_, err := cgroup.ParseList(s)
	return cgroup.CPUSet(s), err
}

func (s *stage) Steps(_ *chain.Chain, link *chain.Link) []chain.Step {
	steps := []chain.Step{{
		Call: "make a control group, write its limits",
		Why:  "limits must be in force before anything runs in the group",
		Man:  "cgroups(7)",
		Do:   func(r *chain.Run) error { return s.make(r, link) },
	}}
	if s.keep {
		return steps
	}
	return append(
		steps,
		chain.Step{
			Call: "clone()", Why: "the parent waits outside the group, to remove it", Man: "clone(2)",
			NextLife: true, Outside: true, Write: s.fork,
		},
		chain.Step{
			Call: "write 0 to cgroup.procs", Why: "this process enters the group", Man: "cgroups(7)",
			Outside: true, Write: s.enter,
		},
	)
}

// make makes the group. If there will be nothing to remove, no waiter is needed, and
// the process enters it at once.
func (s *stage) make(r *chain.Run, link *chain.Link) error {
	limits, err := s.limits(link)
	if err != nil {
		return err
	}
	trees, err := cgroup.Trees()
	if err == nil {
		s.group, err = cgroup.Make(trees, cgroup.Request{Name: s.name, Limits: limits})
	}
	if err != nil {
		return explain(err)
	}
	if len(s.group.Made) > 0 && !s.keep {
		r.CleanUpWith("cgset", s.group.Made...)
		return nil
	}
	defer s.group.Close()
	if err := s.group.Enter(); err != nil {
		if left := cgroup.Remove(s.group.Made); left != nil {
			err = fmt.Errorf("%w; %w", err, left)
		}
		return err
	}
	return nil
}

// fork leaves a waiter behind that removes what was made.
func (s *stage) fork(b *entry.Builder) error {
	if len(s.group.Procs()) > 0 { // else this process is in the group already
		inner := slices.Clone(s.group.Made)
		slices.Reverse(inner) // the innermost goes first
		b.Fork("clone()", entry.Fork{
			Remove:  inner,
			Cleaner: append([]string{"cgset"}, s.group.Made...),
		})
	}
	return nil
}

// enter moves the process into the group, through descriptors that were opened before
// any stage gave up the right to. They stay open until then.
func (s *stage) enter(b *entry.Builder) error {
	for i, fd := range s.group.Procs() {
		if err := chain.KeepFD(fd); err != nil {
			return err
		}
		b.Movable(func() {
			what := "enter group " + s.group.Dirs[i]
			b.Do(what, unix.SYS_WRITE, fd, "0", 1)
			b.Do(what, unix.SYS_CLOSE, fd)
		})
	}
	return nil
}
