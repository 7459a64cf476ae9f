package cgset

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"staves/lib/chain"
)

// read reads options as the chain does.
func read(t *testing.T, words ...string) (*stage, *chain.Link) {
	t.Helper()
	s := &stage{}
	fs := pflag.NewFlagSet("cgset", pflag.ContinueOnError)
	s.Options(fs)
	if err := fs.Parse(words); err != nil {
		t.Fatal(err)
	}
	return s, &chain.Link{Tool: Tool, Stage: s, Flags: fs}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct{ words, want string }{
		{"", ""},
		{"--memory 64M --cpus 0.3 --pids 50 --cpuset-cpus 0-1", ""},
		{"--memory max --cpus max --pids max", ""},
		{"--memory 64M --set memory.swap.max=1G", ""}, // swap after all
		{"--set io.max=8:0 --set cpu.idle=1", ""},
		{"--name a/b --keep", ""},
		{"--memory=", `--memory: "" is no size`},
		{"--memory 64MB", `--memory: "64MB" is no size`},
		{"--memory 100", "--memory: 100 is less than a page"},
		{"--cpus 0", "--cpus: 0: the least"},
		{"--cpus=", `--cpus: "" is no number`},
		{"--pids -1", `--pids: "-1" is no number`},
		{"--pids 0", "--pids: with 0 processes"},
		{"--pids 010", ""}, // ten, in base 10
		{"--pids 99999999999999999999", `--pids: "99999999999999999999" is no number`},
		{"--pids 4194305", "--pids: 4194305: the kernel has at most"},
		{"--cpuset-cpus=", `--cpuset-cpus: "" is no list`},
		{"--set x", "--set x: there is no = in it"},
		{"--set x=1", `--set x=1: "x" is no file of a group`},
		{"--pids 5 --set pids.max=5", "--pids and --set pids.max both set pids.max"},
		{"--name ..", `--name: "..": ".." leads elsewhere`},
		{"--name=", "--name: the name is empty"},
	} {
		s, link := read(t, strings.Fields(c.words)...)
		err := s.Check(&chain.Chain{}, link)
		if got := errText(err); (got == "") != (c.want == "") || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", c.words, got, c.want)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// What can be described before it is done says what, why, and where to read on.
func TestSteps(t *testing.T) {
	for words, want := range map[string]int{"": 3, "--keep": 1} {
		s, link := read(t, strings.Fields(words)...)
		steps := s.Steps(&chain.Chain{}, link)
		if len(steps) != want {
			t.Errorf("%q: %d steps, want %d", words, len(steps), want)
		}
		for _, step := range steps {
			if step.Call == "" || step.Why == "" || step.Man == "" {
				t.Errorf("%q: %+v", words, step)
			}
		}
	}
}
