// Package readme runs the transcripts of the README: what it shows is what happens.
package readme

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"staves/lib/testkit"
)

// A transcript line that begins with "# " is typed by root, one with "$ " by anyone.
// Lines that end in a backslash go on. What follows is what the command prints.
type command struct {
	root       bool
	text, want string
	line       int
}

func transcripts(t *testing.T, file string) []command {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []command
	inside, more := false, false
	for i, line := range strings.Split(string(text), "\n") {
		prompt := strings.HasPrefix(line, "# ") || strings.HasPrefix(line, "$ ")
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console"
		case !inside:
		case more:
			all[len(all)-1].text += "\n" + line
			more = strings.HasSuffix(line, `\`)
		case prompt:
			all = append(all, command{root: line[0] == '#', text: line[2:], line: i + 1})
			more = strings.HasSuffix(line, `\`)
		default:
			all[len(all)-1].want += line + "\n"
		}
	}
	return all
}

func TestTranscripts(t *testing.T) {
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	testkit.Check(t)
	top, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	all := transcripts(t, filepath.Join(top, "README.md"))
	if len(all) < 5 {
		t.Fatalf("%d transcripts: not what the README has", len(all))
	}
	for _, c := range all {
		t.Run(strings.Fields(c.text)[0], func(t *testing.T) {
			if c.root && os.Geteuid() != 0 {
				t.Skip("not root: the README says '#'")
			}
			cmd := exec.Command("sh", "-c", c.text)
			cmd.Dir = top
			cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "LC_ALL=C.UTF-8")
			got, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if string(got) != c.want {
				t.Errorf("README.md:%d: %s\nprints\n%s\nnot\n%s", c.line, c.text, got, c.want)
			}
		})
	}
}
