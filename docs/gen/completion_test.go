package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"staves/lib/testkit"
)

// What a shell offers at the end of a line: what is in want, and not what is in not.
var asked = []struct {
	line      string
	want, not []string
}{
	{"nsrun --mount", []string{"--mount", "--mount-proc", "--mount-binfmt"}, []string{"--memory", "mount"}},
	{"cgset --mem", []string{"--memory", "--memory-high"}, []string{"--mount"}},
	// an option's value: of the words that the table has, or a directory, or a user
	{"nsrun -m --propagation s", []string{"slave", "shared"}, []string{"private", "sh"}},
	{"nsrun -m --propagation=sl", []string{"slave"}, []string{"shared"}},
	{"pivot --proc=", []string{"auto", "yes", "subset=pid", "none"}, nil},
	{"capdrop --preset ", []string{"docker", "none", "all"}, []string{"sh"}},
	{"capdrop --mode ", []string{"nopriv", "pure1e", "pure1e_init", "hybrid"}, []string{"sh"}},
	{"nsrun -mR /et", []string{"/etc"}, nil},
	{"nsrun -mS roo", []string{"root"}, nil},
	{"overlay --lower /etc/passw", nil, []string{"/etc/passwd"}},
	{"capdrop --seccomp /etc/passw", []string{"/etc/passwd"}, nil},
	// the next stage, or a program
	{"cgset --memory 64M nsr", []string{"nsrun"}, nil},
	{"nsrun -m -- ca", []string{"capdrop", "cat"}, []string{"--map-user"}},
	{"nsrun -m ca", []string{"capdrop", "cat"}, nil},
	// of the stage that is being typed, the options
	{"cgset --memory 64M -- nsrun -mp --hostn", []string{"--hostname"}, nil},
	{"nsrun -mp -- overlay mkdev pivot --keep", []string{"--keep-fd"}, []string{"--keep-caps", "--keep"}},
	{"pivot ./root capdrop --kee", []string{"--keep", "--keep-groups"}, []string{"--keep-fd"}},
	// an operand, or the next stage
	{"mkdev /et", []string{"/etc"}, nil},
	{"pivot cap", []string{"capdrop"}, []string{"capsh"}},
	{"pivot ./root capd", []string{"capdrop"}, nil},
	{"pivot ./root -- capd", []string{"capdrop"}, nil},
	// a program has its own words, whatever they look like
	{"nsrun -m -- cat /etc/passw", []string{"/etc/passwd"}, nil},
	{"nsrun -m -- cat --mount-", nil, []string{"--mount-proc"}},
	{"nsrun -m -- cat capd", nil, []string{"capdrop"}},
}

func TestCompletion(t *testing.T) {
	dir := t.TempDir()
	if err := completions(dir); err != nil {
		t.Fatal(err)
	}
	for _, shell := range []struct {
		name string
		ask  func(line string) []string
	}{
		{"bash", func(line string) []string {
			return []string{"bash", "testdata/ask.bash", dir + "/bash-completion/completions/nsrun", line}
		}},
		{"zsh", func(line string) []string {
			return []string{"zsh", "-f", "testdata/ask.zsh", dir + "/zsh/site-functions", line}
		}},
		{"fish", func(line string) []string {
			return []string{"fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", dir + "/fish/vendor_completions.d/nsrun.fish", line}
		}},
	} {
		t.Run(shell.name, func(t *testing.T) {
			testkit.NeedExec(t, shell.name)
			for _, a := range asked {
				words := shell.ask(a.line)
				cmd := exec.Command(words[0], words[1:]...)
				cmd.Env = append(os.Environ(), "HOME="+dir, "PATH="+commands(t, dir)+":/usr/bin:/bin", "TERM=dumb")
				var stderr strings.Builder
				cmd.Stderr = &stderr
				out, err := cmd.Output()
				if err != nil || stderr.Len() > 0 {
					t.Fatalf("%s: %v: %s", a.line, err, &stderr)
				}
				offers := offered(string(out), a.line)
				for _, w := range a.want {
					if !slices.Contains(offers, w) && !slices.Contains(offers, filepath.Base(w)) {
						t.Errorf("%s: does not offer %s: %q", a.line, w, offers)
					}
				}
				for _, w := range a.not {
					if slices.Contains(offers, w) {
						t.Errorf("%s: offers %s", a.line, w)
					}
				}
			}
		})
	}
}

// commands is a directory with files of the seven's names, for a shell that asks whether
// there is such a command.
func commands(t *testing.T, dir string) string {
	t.Helper()
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range testkit.Tools {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return bin
}

// offered are the words that a shell has printed: without descriptions, without what fish
// repeats of "--option=", and without the slash at a directory's end.
func offered(out, line string) []string {
	typed := line[strings.LastIndex(line, " ")+1:]
	option, _, attached := strings.Cut(typed, "=")
	var all []string
	for w := range strings.Lines(out) {
		w, _, _ = strings.Cut(strings.TrimRight(w, "\n"), "\t")
		if attached {
			w = strings.TrimPrefix(w, option+"=")
		}
		all = append(all, strings.TrimSuffix(w, "/"))
	}
	return all
}

func TestCompletionForBashIsSound(t *testing.T) {
	testkit.NeedExec(t, "shellcheck")
	dir := t.TempDir()
	if err := completions(dir); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("shellcheck", "-s", "bash", dir+"/bash-completion/completions/staves").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
