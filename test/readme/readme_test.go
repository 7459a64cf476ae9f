// Package readme runs the transcripts of the README and of the manuals: what they show is
// what happens.
package readme

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"staves/lib/testkit"
)

func TestMain(m *testing.M) {
	status := m.Run()
	testkit.Cleanup()
	os.Exit(status)
}

// A transcript line that begins with "# " is typed by root, one with "$ " by anyone.
// Lines that end in a backslash go on. What follows is what the command prints.
type command struct {
	root       bool
	text, want string
	line       int
}

func transcripts(text string) []command {
	var all []command
	inside, more := false, false
	for i, line := range strings.Split(text, "\n") {
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

// manual returns a manual page's examples, as if they stood in a Markdown file.
func manual(page string) string {
	var b strings.Builder
	literal := false
	for line := range strings.Lines(page) {
		switch {
		case strings.HasPrefix(line, ".Bd -literal"):
			literal = true
			line = "```console\n"
		case strings.HasPrefix(line, ".Ed"):
			literal = false
			line = "```\n"
		case literal:
			line = strings.NewReplacer(`\e`, `\`, `\&`, "", `\-`, "-").Replace(line)
		default:
			line = "\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

func TestTranscripts(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	run(t, "README.md", string(text), testkit.Root(), 5)
}

// The page says how the tools come into PATH, before anything that is typed wants them there.
func TestToolsComeIntoPath(t *testing.T) {
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(bin, filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{"README.md", "docs/recipes.md"} {
		text, err := os.ReadFile(filepath.Join(testkit.Root(), page))
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(text), "\nexport PATH=")
		line, _, _ := strings.Cut(after, "\n")
		cmd := exec.Command("sh", "-c", "export PATH="+line+"\ncommand -v cgset")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PWD="+dir)
		if got, err := cmd.Output(); err != nil || string(got) != filepath.Join(dir, "bin/cgset")+"\n" {
			t.Errorf("%s: after export PATH=%s cgset is %q, %v", page, line, got, err)
		}
	}
}

func TestManuals(t *testing.T) {
	pages, err := filepath.Glob("../../docs/man/*.[0-9]")
	if err != nil || len(pages) < 8 {
		t.Fatalf("%d manual pages: %v", len(pages), err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		// They make bridges: where the host's network would see them is no place to try that.
		// What this thread leaves for its namespaces it takes along when it ends.
		t.Run(filepath.Base(page), func(t *testing.T) {
			runtime.LockOSThread()
			if os.Geteuid() == 0 {
				if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
					t.Fatal(err)
				}
			}
			dir := t.TempDir()
			for d, mode := dir, os.FileMode(0o777); d != os.TempDir() && len(d) > 1; d, mode = filepath.Dir(d), 0o755 {
				if err := os.Chmod(d, mode); err != nil {
					t.Fatal(err)
				}
			}
			run(t, filepath.Base(page), manual(string(text)), dir, 2)
		})
	}
}

// run runs the transcripts of a text, in a directory; there are at least so many.
func run(t *testing.T, name, text, dir string, least int) {
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	testkit.Check(t)
	all := transcripts(text)
	if len(all) < least {
		t.Fatalf("%d transcripts: not what %s has", len(all), name)
	}
	for _, c := range all {
		if c.root && os.Geteuid() != 0 {
			t.Logf("not root: %s says '#' before %s", name, c.text)
			continue
		}
		cmd := exec.Command("sh", "-c", c.text)
		cmd.Dir = dir
		if !c.root {
			cmd = testkit.AsUser(cmd) // who can do least of anyone
		}
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "LC_ALL=C.UTF-8")
		// A file: to a pipe, a stage without a program leaves a plan, which is not what one
		// sees on a terminal.
		out, err := os.CreateTemp(t.TempDir(), "out")
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = out, out
		err = cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		got, err := os.ReadFile(out.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		if string(got) != c.want {
			t.Errorf("%s:%d: %s\nprints\n%s\nnot\n%s", name, c.line, c.text, got, c.want)
		}
	}
}
