// Package cgset is the stage that makes a control group, limits it, and puts the rest
// of the chain into it; a waiter outside removes it afterwards. It also manages groups,
// and stands in for the tools of libcgroup.
package cgset

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/cgroup"
	"staves/lib/chain"
	"staves/lib/entry"
)

// Tool is what the registry knows of cgset.
var Tool = &chain.Tool{
	Name:     "cgset",
	Summary:  "Run NEXT in a control group (cgroups(7)) with limits.",
	New:      func() chain.Stage { return &stage{} },
	Usage:    usage,
	Clean:    clean,
	Guises:   guises,
	Disguise: libcgroup,
	Notes: `
SIZE is in bytes, or with K, M, G, T (powers of 1024); max lifts a limit. A limit on
memory is a hard one: it counts swap too (v1: memory.memsw.limit_in_bytes, v2:
memory.swap.max=0); beyond it the kernel kills. --pids counts threads too, and the init
that nsrun leaves. Of rules for devices a later one overrides; what none is about is
denied if the first one allows something.

With no --name the group is a fresh one, staves-PID. A process stays outside as NEXT's
parent: when NEXT ends it kills what is left in the group and removes it. A named group
that was there before stays, and with --keep any does; then no process stays either.

Groups are made at the top of the tree, or for an ordinary user in the nearest group
that is the user's own. Where an earlier cgset made the group that this one runs in, they
are made in that one, whose limits hold too, and go with it. Whether a controller is
cgroup v1's or v2's is found out.

What the kernel does not tell is left out of --report, and null in its JSON: on v1 the
peak of swap, on v2 that of memory before Linux 5.19 and that of swap before 6.5.
  cgset --memory 64M --pids 100 -- make -j4
  cgset --cpus 0.5 --set cpu.idle=1 --report -- sh`,
}

type stage struct {
	limits
	admin
	name, parent  string
	keep, verbose bool
	report        optional

	group *cgroup.Group // once it is made
}

func (s *stage) Options(fs *pflag.FlagSet) {
	s.limits.options(fs)
	fs.StringVar(&s.name, "name", "", "make the group `NAME`, or use it if it is there; a/b lies in a")
	fs.StringVar(&s.parent, "parent", "", "make the group in the group `NAME`, which is made if it is not there; / is the top")
	fs.BoolVar(&s.keep, "keep", false, "leave the group in place afterwards")
	optionalVar(fs, &s.report, "report", "when NEXT has ended tell what the group used, on standard error; `=json`: as JSON")
	fs.BoolVarP(&s.verbose, "verbose", "v", false, "tell which files were written, and what the kernel keeps")
	s.admin.options(fs)
}

func (s *stage) Check(c *chain.Chain, link *chain.Link) error {
	if !s.keep || s.report != "" {
		c.Provide(chain.Waiter, link)
	}
	for _, o := range []struct{ option, name string }{{"name", s.name}, {"parent", s.parent}} {
		if link.Flags.Changed(o.option) && (o.option != "parent" || o.name != cgroup.Top) {
			if err := cgroup.CheckName(o.name); err != nil {
				return fmt.Errorf("--%s: %w", o.option, err)
			}
		}
	}
	if link.Flags.Changed("report") && s.report != bare && s.report != reportText && s.report != reportJSON {
		return fmt.Errorf("--report: %q is neither text nor json", string(s.report))
	}
	_, err := s.read()
	return err
}

func (s *stage) Steps(c *chain.Chain, _ *chain.Link) []chain.Step {
	call := "mkdir() of a control group, write() of its limits"
	if c.Told() {
		call = s.told()
	}
	steps := []chain.Step{{
		Call: call,
		Why:  "limits must be in force before anything runs in the group",
		Man:  "cgroups(7)",
		Do:   s.make,
	}}
	if s.keep && s.report == "" {
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

// told is the first step with the files that it writes here, and what.
func (s *stage) told() string {
	call := "mkdir() of a control group"
	limits, err := s.read()
	if err != nil {
		return call // Check has said so
	}
	trees, err := cgroup.Trees()
	if err != nil {
		return call + ", write() of its limits" // make will say why there are none
	}
	if writes := cgroup.Writes(trees, limits); len(writes) > 0 {
		call += ", write() of its limits: " + strings.Join(writes, ", ")
	}
	return call
}

// make makes the group. If nobody is needed to wait for its end, the process enters it
// at once.
func (s *stage) make(r *chain.Run) error {
	limits, err := s.read()
	if err != nil {
		return err
	}
	req := cgroup.Request{Name: s.name, Parent: s.parent, Limits: limits, Keep: s.keep, Enter: true}
	if s.report != "" {
		req.Observe = observed
	}
	trees, err := cgroup.Trees()
	if err == nil {
		s.group, err = cgroup.Make(trees, req)
	}
	if err != nil {
		return explain(err)
	}
	if s.verbose {
		tell(os.Stderr, "cgset", s.group)
	}
	if s.waits() {
		if len(s.group.Made) > 0 && !s.keep {
			r.CleanUpWith("cgset", cleanWords(s.group, false, "")...)
		}
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

// waits tells whether somebody must be there when the payload ends.
func (s *stage) waits() bool {
	return len(s.group.Made) > 0 && !s.keep || s.report != ""
}

// fork leaves a waiter behind that removes what was made.
func (s *stage) fork(b *entry.Builder) error {
	if len(s.group.Procs()) == 0 { // this process is in the group already
		return nil
	}
	for _, fd := range s.group.Locks() {
		if err := chain.KeepFD(fd); err != nil {
			return err
		}
	}
	f := entry.Fork{
		Cleaner: append([]string{"cgset"}, cleanWords(s.group, s.keep, string(s.report))...),
		Always:  s.report != "",
		Hold:    s.group.Locks(),
	}
	if !s.keep && !f.Always {
		f.Remove = slices.Clone(s.group.Made)
		slices.Reverse(f.Remove) // the innermost goes first
	}
	b.Fork("clone()", f)
	return nil
}

// enter moves the process into the group, through descriptors that were opened before
// any stage gave up the right to. They stay open until then, and so do the locks, which
// are the waiter's.
func (s *stage) enter(b *entry.Builder) error {
	for _, fd := range s.group.Locks() {
		b.Movable(func() { b.Do("close a lock", unix.SYS_CLOSE, fd) })
	}
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
