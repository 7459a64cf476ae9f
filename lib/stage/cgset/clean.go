package cgset

import (
	"fmt"
	"os"
	"strings"

	"staves/lib/cgroup"
)

// What the waiter is told to do when the payload has ended, if that takes more than
// removing directories: the words of a group are the directories to remove, each of those
// to report on after a "=", and how to report. Two groups of one chain share a waiter;
// their words follow one another.

func cleanWords(g *cgroup.Group, keep bool, report string) []string {
	var words []string
	if !keep {
		words = append(words, g.Made...)
	}
	if report != "" {
		for _, dir := range g.Dirs {
			words = append(words, "="+dir)
		}
	}
	return append(words, report)
}

// clean is the waiter's work.
func clean(words []string) error {
	var made, dirs []string
	var failed error
	for _, w := range words {
		if strings.HasPrefix(w, "/") {
			made = append(made, w)
			continue
		}
		if dir, ok := strings.CutPrefix(w, "="); ok {
			dirs = append(dirs, dir)
			continue
		}
		if w != "" {
			printReport(os.Stderr, dirs, w)
		}
		if err := cgroup.Remove(made); err != nil && failed == nil {
			failed = err
		}
		made, dirs = nil, nil
	}
	return failed
}

// tell says what was written, and what the kernel keeps if that is something else.
func tell(w *os.File, tool string, g *cgroup.Group) {
	for _, x := range g.Written {
		kept := ""
		if x.Kept != "" && x.Kept != x.Value && !strings.Contains(x.Kept, "\n") {
			kept = ", the kernel keeps " + x.Kept
		}
		fmt.Fprintf(w, "%s: %s: wrote %s%s\n", tool, x.File, x.Value, kept)
	}
	for _, d := range g.Dropped {
		fmt.Fprintf(w, "%s: %s: not set: %v\n", tool, d.Name, d.Err)
	}
}
