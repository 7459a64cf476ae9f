package chain

import (
	"fmt"
	"strings"
)

// traceVar, in the environment, has every chain traced: what --trace does for one.
const traceVar = "STAVES_TRACE"

// explanation describes the whole chain, step by step, in the order in which the steps are
// taken.
func (c *Chain) explanation() string {
	var b strings.Builder
	var last *Link
	for _, s := range newRun(c, nil).steps {
		if s.link != last {
			fmt.Fprintf(&b, "%s: %s\n", s.link.As, strings.TrimSuffix(s.link.Tool.Summary, "."))
			last = s.link
		}
		fmt.Fprintf(&b, "    %s\n", printable(s.Call))
		text := s.Why
		if s.Man != "" {
			text += ": see " + s.Man
		}
		fmt.Fprintf(&b, "        %s\n", printable(text))
	}
	if c.Payload != nil {
		fmt.Fprintf(&b, "payload: the program\n    %s\n        this process becomes it: see execve(2)\n", c.execCall())
	}
	for _, w := range c.wants {
		fmt.Fprintf(&b, "It would fail here: %s\n", printable(w))
	}
	return b.String()
}

// execCall is the execution of the payload.
func (c *Chain) execCall() string {
	words := make([]string, len(c.Payload))
	for i, w := range c.Payload {
		words[i] = quote(w)
	}
	return fmt.Sprintf("execve(%s)", strings.Join(words, " "))
}

// traced is what a trace shows of a step.
func (p *placed) traced() string { return "+ " + p.link.As + ": " + printable(p.Call) + "\n" }

// printable makes one line of text that may have names of files in it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
