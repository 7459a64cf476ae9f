package chain

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A plan is what the stages of a pipeline say to the next: their own words, and what the
// first has for standard input. It is text, which a shell takes for comments, behind a
// header of a fixed size that tells how long it is, so that whatever follows it in a pipe
// is left there:
//
//	# staves plan 1 ok     00000031
//	# cgset --memory 64M
//	# nsrun
//	# stdin tty 34816
//
// See docs/design/0032-pipeline.md.
type plan struct {
	// stages are words: a tool's name, then those of its own.
	stages [][]string
	// failed is the stage that failed, "" for none: nothing is to be run.
	failed string
	// tty is the device number of the terminal that is the first stage's standard input,
	// 0 where that is none and follows behind the plan.
	tty uint64
}

const (
	planMagic  = "# staves plan 1 "
	planHeader = len(planMagic) + len("failed ") + 8 + 1
	// maxPlan is how long the text behind the header may be, in bytes.
	maxPlan = 1 << 20
)

// String is the text of the plan, header included.
func (p *plan) String() string {
	var b strings.Builder
	for _, words := range p.stages {
		b.WriteByte('#')
		for _, w := range words {
			b.WriteByte(' ')
			b.WriteString(quote(w))
		}
		b.WriteByte('\n')
	}
	word := "ok"
	if p.failed != "" {
		word = "failed"
		b.WriteString("# failed " + quote(p.failed) + "\n")
	}
	if p.tty != 0 {
		fmt.Fprintf(&b, "# stdin tty %d\n", p.tty)
	}
	return fmt.Sprintf("%s%-6s %08d\n", planMagic, word, b.Len()) + b.String()
}

// planSize reads a plan's header: the length of what follows it. It is no header if there
// is one byte that [plan.String] would not write there.
func planSize(header string) (n int, ok bool) {
	rest, ok := strings.CutPrefix(header, planMagic)
	if !ok || len(header) != planHeader || rest[:7] != "ok     " && rest[:7] != "failed " || rest[15] != '\n' {
		return 0, false
	}
	for _, c := range []byte(rest[7:15]) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, n <= maxPlan
}

var errPlan = errors.New("this is no plan")

// parsePlan reads the text behind a plan's header. The names of the stages are for the
// caller to look at.
func parsePlan(text string) (*plan, error) {
	p := &plan{}
	if text != "" && !strings.HasSuffix(text, "\n") {
		return nil, fmt.Errorf("%w: its last line is cut off", errPlan)
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		rest, ok := strings.CutPrefix(line, "#")
		if !ok || strings.Contains(line, "\x00") {
			return nil, fmt.Errorf("%w: a line that does not begin with #: %q", errPlan, line)
		}
		words, err := splitQuoted(rest)
		if err != nil {
			return nil, fmt.Errorf("%w: %q: %w", errPlan, line, err)
		}
		switch {
		case len(words) == 0:
		case words[0] == "failed" && len(words) == 2:
			p.failed = words[1]
		case words[0] == "stdin" && len(words) == 3 && words[1] == "tty":
			if p.tty, err = strconv.ParseUint(words[2], 10, 64); err != nil || p.tty == 0 {
				return nil, fmt.Errorf("%w: %q", errPlan, line)
			}
		default:
			p.stages = append(p.stages, words)
		}
	}
	return p, nil
}

// quote writes a word as a shell reads it, on one line, in printable ASCII.
func quote(w string) string {
	plain, printable := w != "", true
	for i := range len(w) {
		c := w[i]
		printable = printable && c >= ' ' && c < 0x7f
		plain = plain && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			strings.IndexByte("-_=+./:,@%^", c) >= 0)
	}
	switch {
	case plain:
		return w
	case printable && !strings.Contains(w, "'"):
		return "'" + w + "'"
	}
	var b strings.Builder
	b.WriteString("$'")
	for i := range len(w) {
		switch c := w[i]; {
		case c == '\'' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&b, `\%03o`, c) // always three digits: the next character may be one
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

var (
	errUnended  = errors.New("a quote without its end")
	errVariable = errors.New("a plan holds words as they are: nothing in it is expanded")
)

// splitQuoted splits a line into words as a shell does, with its four ways of quoting:
// single and double quotes, $ before single quotes, and a backslash. Where a shell would
// expand or redirect something, it is an error.
func splitQuoted(s string) ([]string, error) {
	var words []string
	var w []byte
	inside := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == ' ' || c == '\t':
			if inside {
				words, w, inside = append(words, string(w)), nil, false
			}
			continue
		case c == '\'':
			end := strings.IndexByte(s[i+1:], '\'')
			if end < 0 {
				return nil, errUnended
			}
			w = append(w, s[i+1:i+1+end]...)
			i += 1 + end
		case c == '"' || c == '$' && i+1 < len(s) && s[i+1] == '\'':
			n, text, err := escaped(s[i:])
			if err != nil {
				return nil, err
			}
			w = append(w, text...)
			i += n - 1
		case c == '\\':
			if i++; i == len(s) {
				return nil, errUnended
			}
			w = append(w, s[i])
		case strings.IndexByte("$`;&|<>()*?[#~{!", c) >= 0 && (c != '#' && c != '~' && c != '{' && c != '!' || !inside):
			return nil, errVariable
		default:
			w = append(w, c)
		}
		inside = true
	}
	if inside {
		words = append(words, string(w))
	}
	return words, nil
}

// escaped reads what s begins with, "..." or $'...', and returns its length and what it
// stands for.
func escaped(s string) (n int, text []byte, err error) {
	end, i := s[0], 1
	if end == '$' {
		end, i = '\'', 2
	}
	for ; i < len(s); i++ {
		c := s[i]
		switch {
		case c == end:
			return i + 1, text, nil
		case end == '"' && (c == '$' || c == '`'):
			return 0, nil, errVariable
		case c != '\\':
			text = append(text, c)
			continue
		}
		if i++; i == len(s) {
			break
		}
		c = s[i]
		switch at := strings.IndexByte("abefnrtv", c); {
		case end == '"' && strings.IndexByte("\"\\$`", c) < 0:
			text = append(text, '\\', c)
		case end == '"':
			text = append(text, c)
		case at >= 0:
			text = append(text, "\a\b\x1b\f\n\r\t\v"[at])
		case c >= '0' && c <= '7':
			v, digits := 0, 0
			for ; digits < 3 && i < len(s) && s[i] >= '0' && s[i] <= '7'; digits++ {
				v = 8*v + int(s[i]-'0')
				i++
			}
			i--
			if v == 0 || v > 255 {
				return 0, nil, fmt.Errorf(`\%o is no byte of a word`, v)
			}
			text = append(text, byte(v))
		case c == '\\' || c == '\'' || c == '"' || c == '?':
			text = append(text, c)
		default:
			return 0, nil, fmt.Errorf(`\%c is no escape of $'...'`, c)
		}
	}
	return 0, nil, errUnended
}
