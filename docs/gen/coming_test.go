package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"staves/lib/chain"
	"staves/lib/stages"
	"staves/lib/testkit"
)

// rows returns the tables of docs/coming-from.md, by their section's title: the first column,
// and the second.
func rows(t *testing.T) map[string][][2]string {
	t.Helper()
	text, err := os.ReadFile("../coming-from.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][][2]string{}
	section := ""
	for line := range strings.Lines(string(text)) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			section = strings.TrimSpace(title)
		}
		if cells := strings.Split(line, "|"); len(cells) == 5 && !strings.HasPrefix(line, "|--") {
			all[section] = append(all[section], [2]string{cells[1], cells[2]})
		} else if len(cells) > 1 && !strings.HasPrefix(line, "|--") {
			t.Errorf("%d columns, not 3: %s", len(cells)-2, line)
		}
	}
	return all
}

// The index leads to every page, and each of its links somewhere.
func TestIndex(t *testing.T) {
	index, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	linked := map[string]bool{"../README.md": true}
	for _, m := range regexp.MustCompile(`\]\(([^)]*)\)`).FindAllStringSubmatch(string(index), -1) {
		file := filepath.Join("..", m[1])
		linked[file] = true
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
	for _, pattern := range []string{"../*.md", "../man/*.[0-9]"} {
		pages, err := filepath.Glob(pattern)
		if err != nil || len(pages) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, page := range pages {
			if !linked[page] {
				t.Errorf("docs/README.md does not lead to %s", page)
			}
		}
	}
}

var code = regexp.MustCompile("`([^`]*)`")

func find(name string) *chain.Tool {
	i := slices.IndexFunc(stages.All, func(t *chain.Tool) bool { return t.Name == name })
	if i < 0 {
		return nil
	}
	return stages.All[i]
}

// Every option of ours that the page names exists, and takes a value or none as it is written.
func TestComingFromNamesOurOptions(t *testing.T) {
	checked := 0
	for section, all := range rows(t) {
		for _, row := range all {
			for _, m := range code.FindAllStringSubmatch(row[1], -1) {
				checked += checkLine(t, section, strings.Fields(m[1]))
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d options were looked at", checked)
	}
}

// checkLine checks the words of a chain, and returns how many options there were.
func checkLine(t *testing.T, section string, words []string) (checked int) {
	t.Helper()
	var table []option
	for i, w := range words {
		if tool := find(w); tool != nil {
			table = options(tool.Options())
			continue
		}
		if table == nil || w == "--" {
			return checked // another program
		}
		if !strings.HasPrefix(w, "-") {
			continue
		}
		name, _, attached := strings.Cut(w, "=")
		names := []string{name}
		if !strings.HasPrefix(w, "--") {
			names = strings.Split(name[1:], "")
		}
		for _, name := range names {
			at := slices.IndexFunc(table, func(o option) bool { return name == "--"+o.Long || name == o.Short })
			checked++
			switch {
			case at < 0:
				t.Errorf("%s: %s: %s has no option %s", section, strings.Join(words, " "), words[0], name)
			case table[at].Arg == "required" && !attached && i == len(words)-1 && len(words) > 2:
				t.Errorf("%s: %s: %s wants a value", section, strings.Join(words, " "), name)
			case table[at].Arg == "none" && attached && !slices.Contains([]string{"--net"}, name):
				t.Errorf("%s: %s: %s takes no value", section, strings.Join(words, " "), name)
			}
		}
	}
	return checked
}

// Every option that the other program has is in its table.
func TestComingFromIsComplete(t *testing.T) {
	long := regexp.MustCompile(`(?m)(?:^|[ \[,])(--[a-z][a-z0-9-]*)`)
	all := rows(t)
	for _, program := range []string{"unshare", "nsenter", "setpriv", "capsh", "bwrap"} {
		t.Run(program, func(t *testing.T) {
			testkit.NeedExec(t, program)
			help, err := exec.Command(program, "--help").CombinedOutput()
			if err != nil {
				t.Fatalf("%s --help: %v", program, err)
			}
			var left strings.Builder
			for _, row := range all[program] {
				left.WriteString(row[0])
			}
			said := regexp.MustCompile("`|[ =]").Split(left.String(), -1)
			for _, m := range long.FindAllStringSubmatch(string(help), -1) {
				if !slices.Contains(said, m[1]) && !(strings.HasSuffix(m[1], "-try") && strings.Contains(left.String(), "-try`")) {
					t.Errorf("nothing about %s", m[1])
				}
			}
		})
	}
}
