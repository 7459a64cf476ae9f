package chain

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/diag"
	"staves/lib/entry"
	"staves/lib/probe"
)

// Main runs a tool with the words of this process: the one called name, or where that is
// "", the one that this process is called by. It does not return.
func Main(tools []*Tool, name string) {
	os.Exit(run(tools, name))
}

func run(tools []*Tool, name string) int {
	called := name
	words := os.Args[min(1, len(os.Args)):] // before Linux 5.18 there may be no words at all
	if len(os.Args) > 0 {
		called = filepath.Base(os.Args[0])
	}
	if name == "" {
		name = called
	}
	p := parser{tools: tools}
	tool, guise := p.guise(p.tool(name), called, words)
	c := &Chain{failed: StatusFailed}
	if tool == nil {
		return c.fail(name, fmt.Errorf("not one of %s", strings.Join(p.names(), ", ")))
	}
	if entry.Secure() {
		return c.fail(name, diag.WithHint(errors.New("refusing to run setuid or with file capabilities"),
			"remove them (chmod u-s, setcap -r); an ordinary user needs no more than a user namespace: nsrun -U -r"))
	}
	resume := entry.Resumed()
	if resume != nil && resume.Cleaner != nil {
		return p.clean(c, name, resume)
	}

	first := resume == nil || resume.Prepared
	if first {
		c.State = firstState()
	} else if err := c.decode(resume.State); err != nil {
		return c.fail(name, err)
	} else if resume.Forked {
		c.State.Clean = nil // the waiter has it in charge
	}
	link, err := p.read(c, tool, guise, words)
	piped := first && (guise == nil || guise.Name == tool.Name)
	if err != nil {
		status := c.fail(link.As, err)
		if piped {
			p.pass(&plan{failed: link.As})
		}
		return status
	}
	if status, done := p.instead(c, link, name); done {
		return status
	}
	if piped && (isPipe(0) || isPipe(1) || p.plan != "") {
		whole, done, err := p.pipeline(c, tool, words)
		if err != nil {
			status := c.fail(saidBy(link.As, err), err)
			if !done {
				p.pass(&plan{failed: link.As})
			}
			return status
		}
		if done {
			return 0
		}
		c = whole
	}

	c.explain, c.trace = p.explain, p.trace || traceAll()
	if first {
		c.surroundings()
		if l, err := c.check(); err != nil {
			return c.fail(l.As, err)
		}
	}
	if c.explain {
		if _, err := os.Stdout.WriteString(c.explanation()); err != nil {
			return c.fail(name, fmt.Errorf("write the explanation: %w", err))
		}
		return 0
	}
	return newRun(c, resume).all()
}

// clean does what a waiter could not, and ends as the waiter would have.
func (p *parser) clean(c *Chain, name string, resume *entry.Resume) int {
	words := resume.Cleaner
	t := p.tool(words[0])
	if t == nil || t.Clean == nil {
		return c.fail(name, fmt.Errorf("clean up for %q: not one of ours", words[0]))
	}
	if err := t.Clean(words[1:]); err != nil {
		diag.Print(os.Stderr, t.Name, err)
	}
	entry.Die(resume.Status)
	return c.failed
}

// read reads the words into c, by the grammar that they have. It returns the link that an
// error is about.
func (p *parser) read(c *Chain, tool *Tool, guise *Guise, words []string) (*Link, error) {
	switch {
	case len(c.State.Plan) > 0: // of an earlier life
		return p.parsePlanned(c, words)
	case guise != nil:
		return p.disguised(c, tool, guise, words)
	}
	return p.parse(c, tool, words)
}

// instead does what the words ask for in place of a chain, and tells whether it was
// something: a guise's own work, a help text, a version, an admin option.
func (p *parser) instead(c *Chain, link *Link, name string) (status int, done bool) {
	switch {
	case p.act != nil:
		status, err := p.act()
		if err != nil {
			if failed := c.fail(link.As, err); status == 0 {
				status = failed
			}
		}
		return status, true
	case p.help != nil:
		printHelp(os.Stdout, p.help)
		return 0, true
	case p.version:
		printVersion(os.Stdout, name)
		return 0, true
	case p.admin != nil:
		if err := p.admin(); err != nil {
			return c.fail(name, err), true
		}
		return 0, true
	}
	return 0, false
}

// surroundings takes in what came before this process: what earlier stages have left, and
// where it was started.
func (c *Chain) surroundings() {
	has := func(f Fact, has bool) {
		if has {
			c.facts = append(c.facts, fact{f, before})
		}
	}
	has(MountNS, c.State.Mnt)
	has(UserNS, !probe.InitialUserNamespace())
	has(PidNS, !probe.InitialPidNamespace())
	has(Root, c.State.Root != "")
	if c.State.Net != "" {
		has(NetNS, true)
		for _, word := range strings.Split(c.State.Net, ",")[1:] {
			has(Fact(word), true)
		}
	}
}

// check has each stage check itself, in order, and returns the first that cannot go.
func (c *Chain) check() (*Link, error) {
	for _, l := range c.Links {
		err := l.Stage.Check(c, l)
		if errors.Is(err, unix.EPERM) {
			err = c.Denied(l, err)
		}
		if err != nil {
			return l, err
		}
	}
	return nil, nil
}

// fail reports err and returns the exit status that it stands for.
func (c *Chain) fail(tool string, err error) int {
	var e *Error
	is := errors.As(err, &e)
	if !is || e.Err != nil {
		diag.Print(os.Stderr, tool, err)
	}
	if is {
		return e.Status
	}
	return c.failed
}
