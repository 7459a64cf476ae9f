package pivot

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"staves/lib/cgroup"
	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/entry"
	"staves/lib/mount"
	"staves/lib/probe"
)

// kernel are the file systems in which the kernel shows itself.
type kernel struct {
	proc, sys, cgroup string
	mqueue            bool
}

func (k *kernel) options(fs *pflag.FlagSet) {
	choice := func(to *string, name, value, without, usage string) {
		fs.StringVar(to, name, value, usage)
		fs.Lookup(name).NoOptDefVal = without
	}
	choice(&k.proc, "proc", "auto", "yes", "mount proc on /proc, subset=pid: without what is not about processes: `auto|yes|subset=pid|none`")
	choice(&k.sys, "sys", "auto", "ro", "on /sys a sysfs of this network namespace (ro), or the host's (bind), read-only: `auto|ro|bind|none`")
	choice(&k.cgroup, "cgroup", "none", "ro", "mount the control groups of this cgroup namespace on /sys/fs/cgroup: `ro|rw|none`")
	fs.BoolVar(&k.mqueue, "mqueue", false, "mount the message queues of this ipc namespace on /dev/mqueue")
}

// oneOf is an error unless value is one of an option's.
func oneOf(option, value string, of ...string) error {
	if slices.Contains(of, value) {
		return nil
	}
	return fmt.Errorf("--%s: %q is none of %s", option, value, strings.Join(of, ", "))
}

func (k *kernel) check(p *plan) error {
	for _, err := range []error{
		oneOf("proc", k.proc, "auto", "yes", "subset=pid", "none"),
		oneOf("sys", k.sys, "auto", "ro", "bind", "none"),
		oneOf("cgroup", k.cgroup, "ro", "rw", "none"),
	} {
		if err != nil {
			return err
		}
	}
	if k.cgroup != "none" && !p.chain.Has(chain.CgroupNS, p.link) && probe.InitialCgroupNamespace() {
		return diag.WithHint(errors.New("--cgroup: in the machine's own cgroup namespace this would show every group there is"),
			"make another one before: nsrun -C -- ...")
	}
	return nil
}

func (k *kernel) steps(p *plan) {
	if k.proc != "none" && (k.proc != "auto" || p.chain.Has(chain.PidNS, p.link)) {
		var opts []mount.Option
		if key, value, ok := strings.Cut(k.proc, "="); ok {
			opts = append(opts, mount.Option{Key: key, Value: value})
		}
		p.do("mount proc on /proc, parts of it masked or read-only", "programs expect it, but whole it tells about and changes the machine", "proc(5)", func(b *entry.Builder) error {
			mount.Proc(b, p.root, p.cover.usual(), opts...)
			return nil
		})
	}
	if k.sys != "none" {
		from := map[string]mount.Sysfs{"auto": mount.EitherSys, "ro": mount.NewSys, "bind": mount.BoundSys}[k.sys]
		if k.sys == "auto" && p.chain.InUserNS(p.link) && !p.chain.Has(chain.NetNS, p.link) {
			from = mount.BoundSys
		}
		p.do("mount sysfs on /sys, read-only", "programs look there for CPUs and devices", "sysfs(5)", func(b *entry.Builder) error {
			mount.Sys(b, p.root, from, p.cover.usual())
			return nil
		})
	}
	if k.cgroup != "none" {
		p.do("mount cgroup on /sys/fs/cgroup", "programs read their limits there", "cgroups(7)", func(b *entry.Builder) error {
			all, err := hierarchies()
			if err == nil {
				mount.Cgroup(b, p.root, all, k.cgroup == "rw")
			}
			return err
		})
	}
	if k.mqueue {
		p.do("mount mqueue on /dev/mqueue", "the queues of mq_open(3) belong to the ipc namespace", "mq_overview(7)", func(b *entry.Builder) error {
			mount.Mqueue(b, p.root)
			return nil
		})
	}
}

// hierarchies are those that are mounted on the host, but for v1's without a controller.
func hierarchies() ([]mount.Hierarchy, error) {
	trees, err := cgroup.Trees()
	var all []mount.Hierarchy
	for _, t := range trees {
		switch h := (mount.Hierarchy{Name: filepath.Base(t.Dir), V2: t.V2}); {
		case t.V2:
			all = append(all, h)
		case len(t.Controllers) > 0:
			h.Controllers = t.Controllers
			all = append(all, h)
		}
	}
	return all, err
}
