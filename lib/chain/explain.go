package chain

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"staves/lib/entry"
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
		if s.Cases == nil {
			continue
		}
		for _, c := range s.Cases() {
			if c.If != "" {
				fmt.Fprintf(&b, "        %s:\n", printable(c.If))
			}
			for _, line := range c.Lines {
				fmt.Fprintf(&b, "            %s\n", printable(line))
			}
		}
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
func (p *placed) traced() string { return traced(p.link.As, p.Call) }

func traced(tool, call string) string { return "+ " + tool + ": " + printable(call) + "\n" }

// TraceAdmin begins the trace of what an option that manages something does, if the words that
// fs has read, or the environment, ask for one: it returns what prints a line, else nil.
func TraceAdmin(fs *pflag.FlagSet, tool, call string) func(line string) {
	if asked, _ := fs.GetBool("trace"); !asked && !traceAll() {
		return nil
	}
	_, _ = os.Stderr.WriteString(traced(tool, call))
	return tellLine
}

// traceAll tells whether the environment asks for a trace.
func traceAll() bool { return os.Getenv(traceVar) != "" && os.Getenv(traceVar) != "0" }

// tellLine prints a line about a call of a step. Standard error may be closed.
func tellLine(line string) { _, _ = os.Stderr.WriteString(entry.Told(printable(line))) }

// printable makes one line of text that may have names of files in it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
