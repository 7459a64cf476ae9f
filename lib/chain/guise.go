package chain

import (
	"io"
	"os"
	"slices"

	"github.com/spf13/pflag"
)

// A Guise is the name of another program that a tool can be started by, through a link
// of that name: unshare is nsrun, capsh is capdrop. Words, output and exit statuses are
// then that program's, so that a script that calls it runs unchanged. What follows the
// words of a guise is a program, never a stage.
type Guise struct {
	Name string
	// Failed is the exit status of a failure that is not the program's own: what the
	// program of this name ends with, 1 for most; 0 stands for [StatusFailed].
	Failed int
	// Execve tells that a script without a #! line is an error, as for a program that
	// calls execve(2); /bin/sh runs it for one that calls execvp(3), as most do.
	Execve bool
	// Read reads the words after the name. It is called in every life of the process,
	// and changes nothing.
	Read func(words []string) (*Act, error)
}

// An Act is what the words of a guise ask for: something to do, or a chain of one stage.
type Act struct {
	// Do does what needs no chain (--help, a report, making a group) and returns the
	// exit status. With an error, status 0 stands for the guise's Failed.
	Do func() (status int, err error)

	// Stage is the chain's only stage, and Payload what is executed after its steps: nil
	// where the program takes them and returns.
	Stage   Stage
	Payload []string
	// Path is the file to execute where it is not Payload[0]: a login shell is
	// /bin/bash, with "-bash" for its name.
	Path string
}

// guise returns the tool and the guise that a process called name acts as: of tool, or of
// any where it is nil. A tool without a guise goes by its own words.
func (p *parser) guise(tool *Tool, name string, words []string) (*Tool, *Guise) {
	for _, t := range p.tools {
		if tool != nil && t != tool {
			continue
		}
		if g := t.guise(name); g != nil && name != t.Name {
			return t, g
		}
	}
	if tool != nil && tool.Disguise != nil {
		return tool, tool.guise(tool.Disguise(words))
	}
	return tool, nil
}

func (t *Tool) guise(name string) *Guise {
	for i := range t.Guises {
		if t.Guises[i].Name == name {
			return &t.Guises[i]
		}
	}
	return nil
}

// disguised reads the words of a guise into c.
func (p *parser) disguised(c *Chain, tool *Tool, g *Guise, words []string) (*Link, error) {
	link := &Link{Tool: tool, As: g.Name, Flags: pflag.NewFlagSet(g.Name, pflag.ContinueOnError)}
	link.Flags.SetOutput(io.Discard)
	c.Links = append(c.Links, link)
	p.disguise = true
	c.scripts = !g.Execve
	if g.Failed != 0 {
		c.failed = g.Failed
	}
	act, err := g.Read(words)
	if err != nil {
		return link, err
	}
	p.act = act.Do
	link.Stage, c.Payload, c.path = act.Stage, act.Payload, act.Path
	// A payload that stands at the end of the words can be executed without a copy of it.
	if n := len(os.Args) - len(act.Payload); act.Path == "" && len(act.Payload) > 0 && n > 0 && slices.Equal(os.Args[n:], act.Payload) {
		c.PayloadIndex = n
	}
	return link, nil
}
