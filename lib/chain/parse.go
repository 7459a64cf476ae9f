package chain

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/diag"
	"staves/lib/entry"
)

// parser reads a command line into a chain.
type parser struct {
	tools    []*Tool
	help     *Link
	version  bool
	admin    func() error
	act      func() (status int, err error)
	plan     string // what --plan names, "" for none
	explain  bool
	trace    bool
	disguise bool // the words are another program's, and what it does without a program to run
	joined   bool // a plan's words stand before those of this process
}

func (p *parser) tool(name string) *Tool {
	for _, t := range p.tools {
		if t.Name == name {
			return t
		}
	}
	return nil
}

func (p *parser) names() []string {
	var n []string
	for _, t := range p.tools {
		n = append(n, t.Name)
	}
	return n
}

// parse reads words, which follow the name of tool, into c. It returns the link that
// it read last, to which an error belongs.
func (p *parser) parse(c *Chain, tool *Tool, words []string) (*Link, error) {
	for {
		given := words
		link := &Link{Tool: tool, As: tool.Name, Stage: tool.New()}
		c.Links = append(c.Links, link)
		fs, common := tool.flags(link.Stage)
		link.Flags = fs
		if err := fs.Parse(words); err != nil {
			return link, diag.WithHint(optionError(err), "try '"+tool.Name+" --help'")
		}
		if common.help {
			p.help = link
			return link, nil
		}
		if common.version {
			p.version = true
			return link, nil
		}
		if common.plan != "" {
			if len(c.Links) > 1 && !p.joined {
				return link, errors.New("option --plan: its place is at the first stage of a command line")
			}
			p.plan = common.plan
		}
		p.explain = p.explain || common.explain
		p.trace = p.trace || common.trace
		rest := fs.Args()
		if a, ok := link.Stage.(Admin); ok {
			if do := a.Admin(fs); do != nil {
				if len(c.Links) > 1 {
					return link, diag.WithHint(fmt.Errorf("an option that manages %s has no place in a chain", tool.Name),
						"to run it as a program of its own: ... -- env "+tool.Name+" ...")
				}
				if p.explain {
					return link, fmt.Errorf("--explain describes a chain, and an option that manages %s runs none", tool.Name)
				}
				p.admin = func() error { return do(rest) }
				return link, nil
			}
		}
		afterDashes := fs.ArgsLenAtDash() == 0
		if tool.Operand != "" && !afterDashes && len(rest) > 0 && rest[0] != "--" && p.tool(rest[0]) == nil {
			if rest[0] == "" {
				return link, diag.WithHint(fmt.Errorf("%s is empty", tool.Operand), "is a variable without a value? To do without "+tool.Operand+" leave the word out: "+tool.Name+" -- ...")
			}
			link.Operand, rest = rest[0], rest[1:]
			if len(rest) > 0 && rest[0] == "--" {
				rest, afterDashes = rest[1:], true
			}
		}
		link.words = ownWords(given[:len(given)-len(rest)], afterDashes, common.plan != "")
		if len(rest) == 0 {
			if r, ok := link.Stage.(Returner); ok && r.Returns(link) {
				return link, nil
			}
			c.Payload, c.shell = []string{shell()}, true
			return link, nil
		}
		if !afterDashes && strings.HasPrefix(rest[0], "-") {
			hint := link.apart(link.Operand)
			if hint == "" {
				hint = fmt.Sprintf("options come first: %s %s ... %s", tool.Name, rest[0], link.Operand)
			}
			return link, diag.WithHint(fmt.Errorf("option %s after %s", rest[0], tool.Operand), hint)
		}
		if next := p.tool(rest[0]); next != nil {
			tool, words = next, rest[1:]
			if tool.Disguise != nil && tool.Disguise(words) == tool.Name {
				return p.disguised(c, tool, tool.guise(tool.Name), words)
			}
			continue
		}
		c.Payload = rest
		c.PayloadIndex = len(os.Args) - len(rest)
		return link, nil
	}
}

// Options is the option table of t: that of --help, manuals and completions.
func (t *Tool) Options() *pflag.FlagSet {
	fs, _ := t.flags(t.New())
	return fs
}

// common are the options that all tools have.
type common struct {
	help, version  bool
	explain, trace bool
	plan           string
}

// flags is the option table of a stage of t: its own options, and those of all tools.
func (t *Tool) flags(stage Stage) (*pflag.FlagSet, *common) {
	fs := pflag.NewFlagSet(t.Name, pflag.ContinueOnError)
	fs.SetInterspersed(false) // options stop at the first word that is not one
	fs.SortFlags = false
	fs.Usage = func() {}
	fs.SetOutput(io.Discard)
	stage.Options(fs)
	c := &common{}
	fs.StringVar(&c.plan, "plan", "", "put the stages of a plan, kept in `FILE`, before this one; - is standard input")
	fs.BoolVar(&c.explain, "explain", false, "print each step of the whole chain, why it is taken and where to read on; take none")
	fs.BoolVar(&c.trace, "trace", false, "print each step of the whole chain to standard error as it is taken")
	fs.BoolVarP(&c.help, "help", "h", false, "print this and exit")
	fs.BoolVarP(&c.version, "version", "V", false, "print the version and exit")
	return fs, c
}

// ownWords are a stage's words without the dashes that end them, and without --plan, which
// is for the process that was given it.
func ownWords(words []string, dashes, plan bool) []string {
	if dashes {
		words = words[:len(words)-1]
	}
	if !plan {
		return words
	}
	var own []string
	for i := 0; i < len(words); i++ {
		switch {
		case words[i] == "--plan":
			i++
		case !strings.HasPrefix(words[i], "--plan="):
			own = append(own, words[i])
		}
	}
	return own
}

// shell is the program that runs where none is named; in a new root that lacks it, /bin/sh
// does.
func shell() string {
	for _, e := range entry.Environ() {
		if s, ok := strings.CutPrefix(e, "SHELL="); ok && s != "" {
			return s
		}
	}
	return "/bin/sh"
}

// optionError says in our words what pflag found wrong.
func optionError(err error) error {
	var notExist *pflag.NotExistError
	var noValue *pflag.ValueRequiredError
	var badValue *pflag.InvalidValueError
	switch {
	case errors.As(err, &notExist):
		if s := notExist.GetSpecifiedShortnames(); len(s) > 1 {
			return fmt.Errorf("unknown option -%s in -%s", notExist.GetSpecifiedName(), s)
		} else if s != "" {
			return fmt.Errorf("unknown option -%s", notExist.GetSpecifiedName())
		}
		return fmt.Errorf("unknown option --%s", notExist.GetSpecifiedName())
	case errors.As(err, &noValue):
		return fmt.Errorf("option --%s needs a value", noValue.GetFlag().Name)
	case errors.As(err, &badValue) && badValue.GetFlag().Value.Type() == "bool":
		return fmt.Errorf("option --%s takes no value, not %q", badValue.GetFlag().Name, badValue.GetValue())
	case errors.As(err, &badValue) && errors.Is(badValue, strconv.ErrRange):
		return fmt.Errorf("option --%s: %q is out of range", badValue.GetFlag().Name, badValue.GetValue())
	case errors.As(err, &badValue) && numeric(badValue.GetFlag().Value.Type()):
		return fmt.Errorf("option --%s: %q is no number", badValue.GetFlag().Name, badValue.GetValue())
	case errors.As(err, &badValue):
		return fmt.Errorf("option --%s: %q: %w", badValue.GetFlag().Name, badValue.GetValue(), badValue.Unwrap())
	}
	return err
}

// numeric tells whether pflag reads values of that type by package strconv, in whose words
// its errors are.
func numeric(kind string) bool {
	return slices.Contains([]string{"int", "int64", "uint", "intSlice", "uintSlice"}, kind)
}

func printHelp(w io.Writer, l *Link) {
	t := l.Tool
	operand := ""
	if t.Operand != "" {
		operand = " [" + t.Operand + "]"
	}
	fmt.Fprintf(w, "usage: %s [OPTIONS]%s [--] NEXT...\n", t.Name, operand)
	for _, u := range t.Usage {
		fmt.Fprintf(w, "       %s\n", u)
	}
	fmt.Fprintf(w, "%s\n\nNEXT is another stage of the chain, or the program to run.\n\n%s", t.Summary, usages(l.Flags))
	if t.Notes != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(t.Notes))
	}
	fmt.Fprint(w, "\nExit status: the program's own; 125 when the chain failed, 126 when the program\ncannot be executed, 127 when it is not found.\n")
}

// usages is the option table as --help shows it: pflag's, but that a value which may be left
// out stands behind a "=" whatever its type, and nothing is told of defaults that are none.
func usages(fs *pflag.FlagSet) string {
	text := strings.NewReplacer(" (default -1)\n", "\n", " (default [])\n", "\n").Replace(fs.FlagUsages())
	fs.VisitAll(func(f *pflag.Flag) {
		if name, _ := pflag.UnquoteUsage(f); name != "" && f.NoOptDefVal == "true" {
			text = strings.Replace(text, "--"+f.Name+" "+name+"  ", "--"+f.Name+"[="+strings.TrimPrefix(name, "=")+"]", 1)
		}
	})
	return text
}

func printVersion(w io.Writer, name string) {
	fmt.Fprintf(w, "%s (staves) %s\n", name, Version)
	if !entry.Ran() {
		fmt.Fprintln(w, "built without the linker flag '-E staves/lib/entry.start': ignored and blocked\n"+
			"signals and closed standard descriptors do not reach the program, and user\n"+
			"namespaces and waiting parents start from a copy of this file in memory")
	}
}

// Signal reads a signal's name, with or without SIG, or its number.
func Signal(name string) (unix.Signal, error) {
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= 64 {
		return unix.Signal(n), nil
	}
	if s := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")); s != 0 {
		return s, nil
	}
	return 0, fmt.Errorf("%q is no signal", name)
}
