package capdrop

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/caps"
	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/entry"
	"staves/lib/limits"
)

// attributes are the options about what else a process has, beside its privileges.
type attributes struct {
	rlimits  rlimits
	nice     int
	oom      int
	umask    string
	deathsig string

	hasNice, hasOOM, hasUmask bool
	mask                      int
	signal                    unix.Signal
}

func (a *attributes) options(fs *pflag.FlagSet) {
	fs.Var(&a.rlimits, "rlimit", "limit a resource: `NAME=SOFT[:HARD]`, as nofile=1024")
	fs.IntVar(&a.nice, "nice", 0, "set the nice value to `N`")
	fs.IntVar(&a.oom, "oom-score-adj", 0, "have the out-of-memory killer prefer it by `N` thousandths")
	fs.StringVar(&a.umask, "umask", "", "mask `MODE` bits of new files")
	fs.StringVar(&a.deathsig, "pdeathsig", keepSignal, "get `SIGNAL` when the parent dies; or clear, keep")
}

// Words for no signal's name.
const (
	keepSignal  = "keep"
	clearSignal = "clear"
)

// rlimits are limits as an option's value; given again, it adds one, or takes the place of
// the one for the same resource.
type rlimits []limits.Limit

func (r *rlimits) Type() string { return "LIMIT" }

func (r *rlimits) String() string {
	var s []string
	for _, l := range *r {
		s = append(s, l.String())
	}
	return strings.Join(s, ",")
}

func (r *rlimits) Set(text string) error {
	l, err := limits.ParseLimit(text)
	if err != nil {
		return err
	}
	*r = append(slices.DeleteFunc(*r, func(old limits.Limit) bool { return old.Resource == l.Resource }), l)
	return nil
}

func (a *attributes) check(c *chain.Chain, link *chain.Link) (err error) {
	changed := link.Flags.Changed
	a.hasNice, a.hasOOM, a.hasUmask = changed("nice"), changed("oom-score-adj"), changed("umask")
	if a.hasNice && (a.nice < limits.MinNice || a.nice > limits.MaxNice) {
		return fmt.Errorf("--nice: nice values are %d to %d, not %d", limits.MinNice, limits.MaxNice, a.nice)
	}
	if a.hasOOM && (a.oom < limits.MinOOM || a.oom > limits.MaxOOM) {
		return fmt.Errorf("--oom-score-adj: it is %d to %d, not %d", limits.MinOOM, limits.MaxOOM, a.oom)
	}
	if a.hasUmask {
		if a.mask, err = limits.ParseUmask(a.umask); err != nil {
			return fmt.Errorf("--umask: %w", err)
		}
	}
	if a.deathsig != keepSignal && a.deathsig != clearSignal {
		if a.signal, err = chain.Signal(a.deathsig); err != nil {
			return fmt.Errorf("--pdeathsig: %w", err)
		}
	}
	return a.allowed(c, link)
}

// allowed finds, before anything is changed, what the kernel will not allow. What raises a
// limit takes the capability in the initial user namespace.
func (a *attributes) allowed(c *chain.Chain, link *chain.Link) error {
	now, err := caps.Of(0)
	if err != nil {
		return err
	}
	may := func(n int) bool { return !c.InUserNS(link) && now.Permitted.Has(n) }
	for _, l := range a.rlimits {
		raises, err := l.Raises()
		if err != nil {
			return err
		}
		if raises && !may(unix.CAP_SYS_RESOURCE) {
			return diag.WithHint(fmt.Errorf("--rlimit %s: raise the hard limit: %s: %w", l, caps.Name(unix.CAP_SYS_RESOURCE), unix.EPERM),
				"the limits now: cat /proc/self/limits; only root of the whole machine raises them")
		}
	}
	if a.hasNice {
		raises, err := limits.NiceRaises(a.nice)
		if err != nil {
			return err
		}
		if raises && !may(unix.CAP_SYS_NICE) {
			return fmt.Errorf("--nice %d: a lower value than now: %s: %w", a.nice, caps.Name(unix.CAP_SYS_NICE), unix.EPERM)
		}
	}
	return nil
}

// steps are taken while there is every capability: raising a limit may need one.
func (a *attributes) steps(p *plan) []chain.Step {
	var steps []chain.Step
	add := func(call, why, man string, write func(b *entry.Builder)) {
		steps = append(steps, p.step(call, why, man, func(b *entry.Builder) error {
			p.wield(b)
			write(b)
			return nil
		}))
	}
	for _, l := range a.rlimits {
		add("prlimit("+l.String()+")", "a limit is the process's own, and its children's", "prlimit(2)", l.Set)
	}
	if a.hasNice {
		add(fmt.Sprintf("setpriority(%d)", a.nice), "of the time that the CPUs have, others get more, or less", "setpriority(2)",
			func(b *entry.Builder) { limits.SetNice(b, a.nice) })
	}
	if a.hasOOM {
		add(fmt.Sprintf("write %d to /proc/self/oom_score_adj", a.oom), "whoever is thought worst of is killed first when memory runs out", "proc_pid_oom_score_adj(5)",
			func(b *entry.Builder) { limits.SetOOMScoreAdj(b, a.oom) })
	}
	if a.hasUmask {
		add(fmt.Sprintf("umask(%03o)", a.mask), "new files have none of these mode bits", "umask(2)",
			func(b *entry.Builder) { limits.SetUmask(b, a.mask) })
	}
	return steps
}

// deathStep is taken after the change of ids, which clears the signal.
func (a *attributes) deathStep(p *plan) []chain.Step {
	if a.deathsig == keepSignal {
		return nil
	}
	return []chain.Step{p.step("prctl(PR_SET_PDEATHSIG, "+a.deathsig+")", "whether it outlives its parent is up to this", "prctl(2)",
		func(b *entry.Builder) error {
			limits.SetDeathsig(b, a.signal)
			return nil
		})}
}
