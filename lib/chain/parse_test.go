package chain

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"staves/lib/diag"
)

// fake is a stage with one option of each kind.
type fake struct {
	flag    bool
	value   string
	admin   bool
	returns bool
}

func (f *fake) Options(fs *pflag.FlagSet) {
	fs.BoolVarP(&f.flag, "flag", "f", false, "")
	fs.BoolP("other", "o", false, "")
	fs.StringVarP(&f.value, "value", "v", "", "")
	fs.BoolVar(&f.admin, "admin", false, "")
}
func (f *fake) Check(*Chain, *Link) error  { return nil }
func (f *fake) Steps(*Chain, *Link) []Step { return nil }
func (f *fake) Returns(l *Link) bool       { return f.returns && l.Operand != "" }
func (f *fake) Admin(*pflag.FlagSet) func([]string) error {
	if !f.admin {
		return nil
	}
	return func([]string) error { return nil }
}

// fakes are two tools: "plain" without an operand, "dir" with one.
func fakes() []*Tool {
	return []*Tool{
		{Name: "plain", New: func() Stage { return &fake{} }},
		{Name: "dir", Operand: "ROOT", New: func() Stage { return &fake{returns: true} }},
	}
}

// read parses a command line, and writes what was found in one line: each stage with
// its operand, then the payload.
func read(words []string) (string, *parser, *Chain, error) {
	old := os.Args
	defer func() { os.Args = old }()
	os.Args = words
	p := &parser{tools: fakes()}
	c := &Chain{}
	tool := p.tool(words[0])
	_, err := p.parse(c, tool, words[1:])
	var s []string
	for _, l := range c.Links {
		name := l.Tool.Name
		if l.Operand != "" {
			name += "(" + l.Operand + ")"
		}
		s = append(s, name)
	}
	return strings.Join(s, " ") + " | " + strings.Join(c.Payload, " "), p, c, err
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		line, want string
		index      int
	}{
		{"plain", "plain | SHELL", 0},
		{"plain --", "plain | SHELL", 0},
		{"plain sh", "plain | sh", 1},
		{"plain -- sh", "plain | sh", 2},
		{"plain -f sh -c -x", "plain | sh -c -x", 2},
		{"plain -fo sh", "plain | sh", 2},
		{"plain -v x sh", "plain | sh", 3},
		{"plain --value=x -- sh -- y", "plain | sh -- y", 3},
		{"plain plain -f plain sh plain", "plain plain plain | sh plain", 4},
		{"plain -- plain -- sh", "plain plain | sh", 4},
		{"plain ./plain sh", "plain | ./plain sh", 1},
		{"plain /bin/plain sh", "plain | /bin/plain sh", 1},
		{"plain -- -f", "plain | -f", 2},
		{"plain env plain", "plain | env plain", 1},
		{"dir", "dir | SHELL", 0},
		{"dir x", "dir(x) | ", 0},
		{"dir x sh -c y", "dir(x) | sh -c y", 2},
		{"dir x -- sh", "dir(x) | sh", 3},
		{"dir -- sh", "dir | sh", 2},
		{"dir plain sh", "dir plain | sh", 2},
		{"dir ./plain sh", "dir(./plain) | sh", 2},
		{"dir x plain dir y -- z", "dir(x) plain dir(y) | z", 6},
		{"dir -f x -- -o", "dir(x) | -o", 4},
	} {
		got, _, chain, err := read(strings.Fields(c.line))
		if err != nil {
			t.Errorf("%s: %v", c.line, err)
			continue
		}
		if got != strings.ReplaceAll(c.want, "SHELL", shell()) || chain.PayloadIndex != c.index {
			t.Errorf("%s: %q, payload at %d; want %q at %d", c.line, got, chain.PayloadIndex, c.want, c.index)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ line, want, hint string }{
		{"plain -x sh", "unknown option -x", "try 'plain --help'"},
		{"plain -xf sh", "unknown option -x in -xf", "try 'plain --help'"},
		{"plain --nope", "unknown option --nope", "try 'plain --help'"},
		{"plain dir --nope", "unknown option --nope", "try 'dir --help'"},
		{"plain --value", "option --value needs a value", "try 'plain --help'"},
		{"plain -v", "option --value needs a value", "try 'plain --help'"},
		{"plain --flag=perhaps sh", `option --flag takes no value, not "perhaps"`, "try 'plain --help'"},
		{"dir x -f sh", "option -f after ROOT", "options come first: dir -f ... x"},
		{"plain plain --admin", "an option that manages plain has no place in a chain", "to run it as a program of its own: ... -- env plain ..."},
		{"plain --explain --admin", "--explain describes a chain, and an option that manages plain runs none", ""},
		{"dir ~", "ROOT is empty", "is a variable without a value? To do without ROOT leave the word out: dir -- ..."},
		{"dir ~ -- sh", "ROOT is empty", "is a variable without a value? To do without ROOT leave the word out: dir -- ..."},
		{"plain dir -f ~ sh", "ROOT is empty", "is a variable without a value? To do without ROOT leave the word out: dir -- ..."},
	} {
		words := strings.Fields(c.line) // with ~ for an empty one
		for i, w := range words {
			words[i] = strings.TrimSuffix(w, "~")
		}
		_, _, _, err := read(words)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %s", c.line, err, c.want)
			continue
		}
		if h := strings.Join(diag.Hints(err), "; "); h != c.hint {
			t.Errorf("%s: hint %q, want %q", c.line, h, c.hint)
		}
	}
}

func TestParseInstead(t *testing.T) {
	for _, c := range []struct {
		line                 string
		help, version, admin bool
	}{
		{"plain --help", true, false, false},
		{"plain plain -h nonsense", true, false, false},
		{"plain -V", false, true, false},
		{"plain --admin a b", false, false, true},
		{"plain sh --help", false, false, false},
	} {
		_, p, _, err := read(strings.Fields(c.line))
		if err != nil || (p.help != nil) != c.help || p.version != c.version || (p.admin != nil) != c.admin {
			t.Errorf("%s: help %v, version %v, admin %v, %v", c.line, p.help != nil, p.version, p.admin != nil, err)
		}
	}
}

// Whatever the words, the payload is the last of them, or a shell.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "-f\x00--\x00sh", "dir\x00x\x00--\x00y", "--value\x00-\x00--", "-vx\x00dir\x00-fo"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		words := append([]string{"dir"}, strings.Split(s, "\x00")...)
		_, p, c, err := read(words)
		switch {
		case err != nil:
			if err.Error() == "" {
				t.Error("an error without text")
			}
		case p.help != nil || p.version || p.admin != nil:
		case c.PayloadIndex == 0:
			if c.Payload != nil && !slices.Equal(c.Payload, []string{shell()}) {
				t.Errorf("payload %q stands nowhere in %q", c.Payload, words)
			}
		case !slices.Equal(c.Payload, words[c.PayloadIndex:]):
			t.Errorf("payload %q, but the words say %q", c.Payload, words[c.PayloadIndex:])
		}
	})
}

func TestCandidates(t *testing.T) {
	for _, c := range []struct{ path, name, want string }{
		{"/a:/b", "x", "/a/x /b/x"},
		{"/a/:", "x", "/a/x ./x"},
		{"/a", "./x", "./x"},
		{"/a", "/x", "/x"},
		{"/a", "", ""},
	} {
		if got := strings.Join(candidatesIn(c.path, c.name), " "); got != c.want {
			t.Errorf("PATH=%s %q: %q, want %q", c.path, c.name, got, c.want)
		}
	}
}

func TestSignal(t *testing.T) {
	for name, want := range map[string]int{"KILL": 9, "SIGTERM": 15, "hup": 1, "10": 10, "64": 64} {
		if s, err := Signal(name); err != nil || int(s) != want {
			t.Errorf("%s: %d, %v, want %d", name, s, err, want)
		}
	}
	for _, name := range []string{"", "0", "65", "-1", "NOSUCH", "SIG"} {
		if s, err := Signal(name); err == nil {
			t.Errorf("%q: %d, want an error", name, s)
		}
	}
}

func TestFailKeepsTheStatus(t *testing.T) {
	err := fmt.Errorf("more: %w", &Error{Status: 127, Err: errors.New("x")})
	var e *Error
	if !errors.As(err, &e) || e.Status != 127 {
		t.Errorf("status %v", e)
	}
}

// guised is a tool that can be started as "other" and, by a word, as "odd".
func guised(act *Act) []*Tool {
	read := func([]string) (*Act, error) { return act, nil }
	return []*Tool{{
		Name: "tool", New: func() Stage { return &fake{} },
		Guises: []Guise{{Name: "other", Failed: 1, Read: read}, {Name: "tool", Failed: 2, Read: read}},
		Disguise: func(words []string) string {
			if len(words) > 0 && words[0] == "--odd" {
				return "tool"
			}
			return ""
		},
	}}
}

func TestGuise(t *testing.T) {
	p := &parser{tools: guised(nil)}
	tool := p.tools[0]
	for _, c := range []struct {
		tool   *Tool
		called string
		words  []string
		want   int // what the guise fails with; 0 for none
	}{
		{tool, "tool", nil, 0},
		{tool, "other", nil, 1},
		{nil, "other", nil, 1},
		{tool, "tool", []string{"--odd"}, 2},
		{tool, "copy-of-tool", []string{"--odd"}, 2},
		{tool, "copy-of-tool", nil, 0},
		{nil, "nobody", nil, 0},
	} {
		_, g := p.guise(c.tool, c.called, c.words)
		got := 0
		if g != nil {
			got = g.Failed
		}
		if got != c.want {
			t.Errorf("called %s %q: fails with %d, want %d", c.called, c.words, got, c.want)
		}
	}
}

// A payload that is the tail of the words is executed as it stands there.
func TestGuisePayload(t *testing.T) {
	old := os.Args
	defer func() { os.Args = old }()
	os.Args = []string{"other", "-x", "sh", "-c", "true"}
	for _, c := range []struct {
		act   Act
		index int
	}{
		{Act{Payload: []string{"sh", "-c", "true"}}, 2},
		{Act{Payload: []string{"bash", "-c", "true"}}, 0},
		{Act{Payload: []string{"-sh"}, Path: "/bin/sh"}, 0},
		{Act{}, 0},
	} {
		p := &parser{tools: guised(&c.act)}
		chain := &Chain{}
		link, err := p.disguised(chain, p.tools[0], &p.tools[0].Guises[0], os.Args[1:])
		if err != nil || chain.PayloadIndex != c.index || chain.failed != 1 || link.As != "other" {
			t.Errorf("%v: payload at %d, fails with %d, called %s, %v", c.act, chain.PayloadIndex, chain.failed, link.As, err)
		}
	}
}
