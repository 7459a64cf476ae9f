// Package pivot is the stage that changes the root: it completes the new root with
// proc, sys and what is bound, makes it the root of the mount namespace, and leaves no way
// back to the old one.
package pivot

import (
	"github.com/spf13/pflag"

	"staves/lib/chain"
	"staves/lib/entry"
	"staves/lib/mount"
)

// Tool is what the registry knows of pivot.
var Tool = &chain.Tool{
	Name:    "pivot",
	Summary: "Make ROOT the root directory; the old root is gone.",
	Operand: "ROOT",
	New:     func() chain.Stage { return &stage{} },
	Guises:  guises,
	Notes: `
Without ROOT: the root that overlay left; if none did, a copy-on-write view of the
present root, as overlay makes it.

/proc is mounted if the pid namespace is not the machine's own (whose /proc leads back
out), sysfs read-only on /sys; what in them tells about or changes the machine is
masked or read-only. The root is nodev: devices come from mkdev. A bind is nosuid and
nodev, ro means all that is mounted beneath it too, and paths in ROOT lead nowhere out
of it. Afterwards no descriptor above 2 is open but those of --keep-fd, and the working
directory is / or that of --cwd; the session keyring is a new one.
  pivot ./root                    a shell in ./root
  nsrun -mp -- overlay mkdev pivot --bind ~/src:/src:ro --tmpfs /tmp:size=64M -- sh`,
}

// A stage is its parts: each with options of its own, its own errors, and its own steps.
type stage struct {
	top    top
	kernel kernel
	places places
	cover  cover
	leave  leave
}

// A part is one of the things that the stage does.
type part interface {
	// options declares the part's options.
	options(fs *pflag.FlagSet)
	// check finds what is wrong with them, before anything is changed.
	check(p *plan) error
	// steps adds the part's steps to the plan.
	steps(p *plan)
}

// parts are in the order of their steps: the kernel's file systems first, since what is
// bound may lie in them; then what covers any of that.
func (s *stage) parts() []part {
	return []part{&s.top, &s.kernel, &s.places, &s.cover, &s.leave}
}

// A plan is a stage in its place in a chain.
type plan struct {
	*stage
	chain *chain.Chain
	link  *chain.Link
	// root is the new root, once the first step has opened it.
	root *mount.Tree
	// userNS and bindUserNS are descriptors of the user namespaces with the maps of the root's
	// ids and of the binds', once they are made.
	userNS, bindUserNS int
	list               []chain.Step
}

// do adds a step of system calls, for the next life: descriptors of a running Go runtime
// must not be closed.
func (p *plan) do(call, why, man string, write func(b *entry.Builder) error) {
	p.list = append(p.list, chain.Step{Call: call, Why: why, Man: man, NextLife: true, Write: write})
}

func (s *stage) Options(fs *pflag.FlagSet) {
	for _, p := range s.parts() {
		p.options(fs)
	}
}

func (s *stage) Check(c *chain.Chain, link *chain.Link) error {
	p := &plan{stage: s, chain: c, link: link}
	for _, part := range s.parts() {
		if err := part.check(p); err != nil {
			return err
		}
	}
	if err := c.NeedAdmin(link); err != nil {
		return err
	}
	c.Provide(chain.MountNS, link)
	c.Provide(chain.Pivoted, link)
	return nil
}

func (s *stage) Steps(c *chain.Chain, link *chain.Link) []chain.Step {
	p := &plan{stage: s, chain: c, link: link, root: &mount.Tree{}}
	for _, part := range s.parts() {
		part.steps(p)
	}
	return p.list
}
