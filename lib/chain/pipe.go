package chain

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// In a pipeline the shell starts all stages at once, and only the last has a program to
// run. The others leave what they were asked for as a plan, and the last carries all of it
// out. See docs/design/0032-pipeline.md.

// isPipe tells whether a standard descriptor is a pipe, and isFile whether it is a file.
func isPipe(fd int) bool { return isA(fd, unix.S_IFIFO) }
func isFile(fd int) bool { return isA(fd, unix.S_IFREG) }

func isA(fd int, kind uint32) bool {
	var st unix.Stat_t
	return !entry.Closed(fd) && unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == kind
}

// pipeline does this process's part in a pipeline, once its own words are read into c. It
// returns the chain that is to be run; done tells that there is none, as the plan has been
// left for another stage.
func (p *parser) pipeline(c *Chain, tool *Tool, words []string) (whole *Chain, done bool, err error) {
	given, fromPipe, err := p.given(tool)
	if err != nil {
		return c, false, err
	}
	whole = c
	if given == nil {
		given = &plan{}
	} else if given.failed == "" {
		whole = &Chain{failed: c.failed, State: c.State}
		if whole.State.Plan, err = p.join(given.stages, tool.Name); err != nil {
			return c, false, err
		}
		if _, err = p.parsePlanned(whole, words); err != nil {
			return c, false, err
		}
	}
	switch onwards := p.onwards(c, fromPipe); {
	case given.failed != "" && onwards:
		_ = passOn(given, nobody) // the last stage says what failed
		return c, true, &Error{Status: StatusFailed}
	case given.failed != "":
		return c, false, fmt.Errorf("a stage before it in the pipeline failed: %s", given.failed)
	case !onwards && given.tty != 0:
		return whole, false, takeTerminal(given.tty)
	case !onwards:
		return whole, false, nil
	}
	out := &plan{tty: given.tty}
	for _, l := range whole.Links {
		out.stages = append(out.stages, append([]string{l.Tool.Name}, l.words...))
	}
	if !fromPipe {
		out.tty = terminal(0)
	}
	until := nobody
	if out.tty != 0 && isPipe(1) {
		until = p.stay()
	}
	return whole, true, passOn(out, until)
}

// onwards tells whether what is to be done is left as a plan for another stage: one without
// a program leaves it to somebody who has one. c are the words of this process alone.
func (p *parser) onwards(c *Chain, fromPipe bool) bool {
	switch {
	case p.disguise, c.Payload != nil && !c.shell:
		return false
	case p.explain: // to a stage, or in words to whoever reads them
		_, stage := p.reader()
		return isPipe(1) && stage
	case !isPipe(1):
		return fromPipe && isFile(1)
	case c.Payload == nil && !fromPipe:
		pid, _ := p.reader()
		return pid != 0 // otherwise it does its step and returns, whoever has its output
	}
	return true
}

// stay finds the stage that reads the plan, for this process to stay as long as it does: a
// shell on the terminal, at its end, gives that back to the pipeline's process group, which
// must have somebody in it. What keys send is for the program.
func (p *parser) stay() reader {
	pid, stage := p.reader()
	if !stage {
		return nobody
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nobody
	}
	signal.Ignore(unix.SIGINT, unix.SIGQUIT)
	return reader{pid, fd}
}

// given reads the plans that there are for this process: from standard input, where
// fromPipe is true, and the one that --plan names.
func (p *parser) given(tool *Tool) (given *plan, fromPipe bool, err error) {
	switch {
	case p.plan == "-":
		given, err = takePlan(input{})
		return given, true, err
	case isPipe(0):
		if given, err = p.received(); err != nil {
			return nil, false, err
		}
		fromPipe = given != nil
	}
	if p.plan == "" {
		return given, fromPipe, nil
	}
	kept, err := readPlan(p.plan, tool)
	if err != nil {
		return nil, false, err
	}
	kept.tty = 0 // of the time when it was made
	if given != nil {
		kept.stages, kept.tty = append(given.stages, kept.stages...), given.tty
		if kept.failed == "" {
			kept.failed = given.failed
		}
	}
	return kept, fromPipe, nil
}

// join makes of a plan's stages the words that stand before those of this process: the
// chain as it is written with exec. Each must be a stage alone.
func (p *parser) join(stages [][]string, own string) ([]string, error) {
	var all []string
	for _, words := range stages {
		q := parser{tools: p.tools}
		tool := p.tool(words[0])
		if tool == nil {
			return nil, fmt.Errorf("the plan has %q, which is no stage", words[0])
		}
		c := &Chain{}
		link, err := q.parse(c, tool, words[1:])
		switch {
		case err != nil:
			return nil, &toolError{link.As, err}
		case q.help != nil, q.version, q.admin != nil, q.act != nil, q.plan != "", len(c.Links) != 1, c.Payload != nil && !c.shell:
			return nil, fmt.Errorf("the plan has more than a stage and its options in one line: %s", strings.Join(words, " "))
		}
		all = append(all, tool.Name)
		all = append(all, link.words...)
		all = append(all, "--")
	}
	return append(all, own), nil
}

// parsePlanned reads the chain that a plan and the words of this process make together.
func (p *parser) parsePlanned(c *Chain, words []string) (*Link, error) {
	all := append(c.State.Plan[1:len(c.State.Plan):len(c.State.Plan)], words...)
	p.joined = true
	return p.parse(c, p.tool(c.State.Plan[0]), all)
}

// A toolError is an error that another tool than the process's own is to report.
type toolError struct {
	tool string
	err  error
}

// saidBy is the tool that is to report err: own, unless another one is at fault.
func saidBy(own string, err error) string {
	var e *toolError
	if errors.As(err, &e) {
		return e.tool
	}
	return own
}

func (e *toolError) Error() string { return e.err.Error() }
func (e *toolError) Unwrap() error { return e.err }

// pass leaves a plan that says that a stage failed, where another one reads the output of
// this process: it learns that nothing is to be run.
func (p *parser) pass(failed *plan) {
	if _, stage := p.reader(); isPipe(1) && stage {
		_ = passOn(failed, nobody) // that it failed is said on standard error
	}
}

// reader finds the process that reads this one's output, and tells whether that is a stage.
// It is 0 if none of those does that the parent of this process has started.
func (p *parser) reader() (pid int, stage bool) {
	end, ok := otherEnd(1)
	if !ok {
		return 0, false
	}
	last := false
	for since := time.Now(); ; time.Sleep(time.Millisecond) {
		pids := processes()
		for _, pid = range end.holders(pids) {
			if tool, _ := p.stageAt(pid); tool != nil {
				return pid, true
			}
		}
		if !last {
			// What is no stage when the time is over may have become one since it was seen.
			last = !p.starting(end, pids, since, true)
			continue
		}
		for _, pid = range end.holders(pids) {
			if ppid, _ := familyOf(pid); ppid == os.Getppid() {
				return pid, false
			}
		}
		return 0, false
	}
}
