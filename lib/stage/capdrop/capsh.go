package capdrop

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"staves/lib/chain"
	"staves/lib/entry"
)

// capsh is libcap's capsh: its words are carried out in order, each when its turn comes,
// and what follows "--" goes to a shell. A failure ends it there.
type capsh struct {
	steps []chain.Step

	name   string // what it is called in messages
	self   string // the word that it was started by
	own    bool   // by our own name: a word after "--" is a program
	exec   bool   // --exec was given: so are all words
	shell  string // "" for the usual one
	strict bool   // raise no capability to do what a word says
	noenv  bool   // leave HOME and USER to the caller
	env    []string
	asleep int // the child of --forkfor
}

// A capshWord is what a word of capsh means.
type capshWord struct {
	name  string
	value string // what its value is, for help; "" for a word without
	help  string
	do    func(c *capsh, value string) error
	now   bool // it is about the words after it, and nothing to be done
}

// capshWords are in the order in which help lists them.
var capshWords = [...]capshWord{
	{"addamb", "CAPS", "make CAPS ambient", (*capsh).addAmbient, false},
	{"cap-uid", "UID", "become user UID, with the same permitted capabilities", (*capsh).capUID, false},
	{"caps", "TEXT", "set the three sets of cap_text_formats(7)", (*capsh).setCaps, false},
	{"chroot", "DIR", "make DIR the root", (*capsh).chroot, false},
	{"current", "", "print the sets, in short", (*capsh).printCurrent, false},
	{"decode", "HEX", "print the names that a set in hexadecimal has", (*capsh).decode, false},
	{"delamb", "CAPS", "make CAPS ambient no longer", (*capsh).delAmbient, false},
	{"drop", "CAPS", "drop CAPS from the bounding set", (*capsh).drop, false},
	{"dropped", "CAP", "end with 1 if the bounding set has CAP", (*capsh).dropped, false},
	{"exec", "", "run the words after -- as a program, not by a shell", (*capsh).setExec, true},
	{"explain", "CAP", "print what CAP allows", (*capsh).explain, false},
	{"forkfor", "SECONDS", "start a child that sleeps", (*capsh).forkFor, false},
	{"gid", "GID", "setgid(2)", (*capsh).gid, false},
	{"groups", "LIST", "set the supplementary groups", (*capsh).groups, false},
	{"has-a", "CAP", "end with 1 unless CAP is ambient", (*capsh).hasAmbient, false},
	{"has-ambient", "", "end with 1 unless the kernel has ambient sets", (*capsh).ambientExists, false},
	{"has-b", "CAP", "end with 1 unless the bounding set has CAP", (*capsh).hasBounding, false},
	{"has-i", "CAP", "end with 1 unless CAP is inheritable", (*capsh).hasInheritable, false},
	{"has-no-new-privs", "", "end with 1 unless no_new_privs is set", (*capsh).hasNoNewPrivs, false},
	{"has-p", "CAP", "end with 1 unless CAP is permitted", (*capsh).hasPermitted, false},
	{"help", "", "print this and exit", nil, false},
	{"iab", "TEXT", "set the inheritable, ambient and bounding sets (cap_text_formats(7))", (*capsh).setIAB, false},
	{"inh", "CAPS", "set the inheritable set", (*capsh).setInheritable, false},
	{"inmode", "MODE", "end with 1 unless in MODE", (*capsh).inMode, false},
	{"is-gid", "GID", "end with 1 unless the group is GID", (*capsh).isGID, false},
	{"is-uid", "UID", "end with 1 unless the user is UID", (*capsh).isUID, false},
	{"keep", "0|1", "let changes of user leave the permitted set alone", (*capsh).keep, false},
	{"killit", "SIGNAL", "send SIGNAL to the child and wait for its end", (*capsh).killIt, false},
	{"license", "", "print the version and exit", nil, false},
	{"mode", "MODE", "set MODE; without a value, print it", (*capsh).setMode, false},
	{"modes", "", "print the modes that there are", (*capsh).printModes, false},
	{"no-new-privs", "", "set no_new_privs", (*capsh).noNewPrivs, false},
	{"noamb", "", "clear the ambient set", (*capsh).noAmbient, false},
	{"noenv", "", "let --user leave HOME and USER alone", (*capsh).setNoEnv, false},
	{"print", "", "print all that concerns capabilities", (*capsh).print, false},
	{"quiet", "", "without effect: there is no library that could be too old", func(*capsh, string) error { return nil }, false},
	{"secbits", "N", "set the securebits", (*capsh).secbits, false},
	{"shell", "FILE", "run FILE in place of /bin/bash", (*capsh).setShell, true},
	{"strict", "", "switch off, or on, that capsh makes CAP_SETPCAP effective where it needs it", (*capsh).setStrict, false},
	{"suggest", "TEXT", "explain the capabilities whose explanations have TEXT in them", (*capsh).suggest, false},
	{"supports", "CAP", "end with 1 unless the kernel has CAP", (*capsh).supports, false},
	{"uid", "UID", "setuid(2)", (*capsh).uid, false},
	{"user", "NAME", "become user NAME, with its groups and the same permitted capabilities", (*capsh).user, false},
}

// capshWordOf finds what a word means, and its value.
func capshWordOf(word string) (w capshWord, value string, ok bool) {
	name, value, has := strings.Cut(strings.TrimPrefix(word, "--"), "=")
	if !strings.HasPrefix(word, "--") {
		return w, "", false
	}
	for i := range capshWords {
		w := capshWords[i]
		if w.name == name && (has == (w.value != "") || name == "mode") {
			if name == "mode" && !has {
				w.do = (*capsh).printMode
			}
			return w, value, true
		}
	}
	return w, "", false
}

// runs tells whether a word stands before what is to be run.
func runs(word string) bool { return word == "--" || word == "-+" || word == "==" || word == "=+" }

// readCapsh reads capsh's words, each to a step.
func readCapsh(name string, own bool) func(words []string) (*chain.Act, error) {
	return func(words []string) (*chain.Act, error) {
		c := &capsh{name: name, self: os.Args[0], own: own, env: entry.Environ()}
		act := &chain.Act{Stage: c}
		for i, word := range words {
			w, value, ok := capshWordOf(word)
			rest := words[i+1:]
			switch {
			case word == "--" && c.program(rest):
				act.Payload = rest
			case own && !strings.HasPrefix(word, "-") && !runs(word):
				act.Payload = words[i:]
			case runs(word):
				c.step(word, "execve(2)", func() error { return c.run(word, rest) })
			case word == "-h" || ok && w.name == "help":
				c.step(word, "capsh(1)", c.help)
			case ok && w.name == "license":
				c.step(word, "capsh(1)", c.license)
			case ok && w.now:
				if err := w.do(c, value); err != nil {
					return nil, err
				}
				continue
			case ok:
				c.step(word, "capsh(1)", func() error { return w.do(c, value) })
				continue
			default:
				c.step(word, "capsh(1)", func() error { return usage(c.name, fmt.Errorf("%s is no word of capsh's", word)) })
			}
			break
		}
		return act, nil
	}
}

func (c *capsh) step(word, man string, do func() error) {
	c.steps = append(c.steps, chain.Step{
		Call: c.name + " " + word, Man: man, Why: "words are carried out in order",
		Do: func(r *chain.Run) error {
			err := do()
			r.State.Env = c.env
			return err
		},
	})
}

func (c *capsh) Options(*pflag.FlagSet)                       {}
func (c *capsh) Check(*chain.Chain, *chain.Link) error        { return nil }
func (c *capsh) Steps(*chain.Chain, *chain.Link) []chain.Step { return c.steps }

// call makes system calls now.
func call(write func(b *entry.Builder)) error {
	var b entry.Builder
	write(&b)
	return b.Run()
}

// bothHave are the words that capdrop's own options can be as well, with a value after
// "=": they alone do not make it capsh.
var bothHave = []string{"drop", "exec", "groups", "inh", "keep", "no-new-privs", "user", "iab", "mode", "help"}

// disguise finds out whether words are capsh's, under our own name: all options are ones
// of capsh's, and one of them, or the form of what is to be run, is capsh's alone.
func disguise(words []string) string {
	is := false
	for i, word := range words {
		if runs(word) {
			rest := words[i+1:]
			shell := len(rest) == 0 || rest[0] == "" || rest[0][0] == '-' || rest[0][0] == '+'
			if is || word != "--" || shell && i > 0 {
				return ownName
			}
			return ""
		}
		if !strings.HasPrefix(word, "-") {
			break
		}
		w, _, ok := capshWordOf(word)
		if !ok || w.name == "exec" {
			return ""
		}
		if word == "--mode" && !is {
			if i+1 < len(words) && !strings.HasPrefix(words[i+1], "-") {
				return "" // its value
			}
			is = true
		}
		is = is || !slices.Contains(bothHave, w.name)
	}
	if is {
		return ownName
	}
	return ""
}
