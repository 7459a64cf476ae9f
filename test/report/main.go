// Report reads the output of 'go test -json' and writes what 'go test' would have
// written: a line for each package, everything that a failed test said. At the end it
// names each test that was skipped, with the reason. With REQUIRE=all in the
// environment a skipped test is a failure.
//
// A reason that begins with "elsewhere: " is no gap: the test ran in another way.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// event is one line of the input: go doc test2json.
type event struct {
	Action, Package, Test, Output string
}

type report struct {
	out     io.Writer
	said    map[string][]string // by package and test
	skipped []string
	passed  int
	failed  int
}

func main() {
	r := &report{out: os.Stdout, said: map[string][]string{}}
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(2)
	}
	os.Exit(r.end(os.Getenv("REQUIRE") == "all"))
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		var e event
		if json.Unmarshal(line, &e) != nil || e.Action == "" {
			fmt.Fprint(r.out, string(line)) // go's own complaints
			continue
		}
		r.take(e)
	}
}

func (r *report) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		switch {
		case e.Test != "":
			r.said[key] = append(r.said[key], e.Output)
		case e.Output != "PASS\n":
			fmt.Fprint(r.out, e.Output)
		}
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "fail":
		r.failed++
		fmt.Fprint(r.out, strings.Join(r.said[key], ""))
	case "pass":
		if e.Test != "" {
			r.passed++
		}
	case "skip":
		if why := reason(r.said[key]); e.Test != "" && !strings.HasPrefix(why, "elsewhere: ") {
			r.skipped = append(r.skipped, fmt.Sprintf("%s: %s", strings.TrimPrefix(key, "staves/"), why))
		}
	}
	if e.Action == "pass" || e.Action == "skip" || e.Action == "fail" {
		delete(r.said, key)
	}
}

// reason is the last thing that a skipped test said, without the place in its source.
func reason(said []string) string {
	why := "it does not say why"
	for _, s := range said {
		s = strings.TrimSpace(s)
		if strings.HasPrefix(s, "===") || strings.HasPrefix(s, "---") {
			continue
		}
		if _, text, ok := strings.Cut(s, ".go:"); ok {
			_, text, _ = strings.Cut(text, ": ")
			s = text
		}
		why = s
	}
	return why
}

// end writes what is known at the end, and returns the exit status.
func (r *report) end(require bool) int {
	slices.Sort(r.skipped)
	for _, s := range r.skipped {
		fmt.Fprintln(r.out, "SKIPPED", s)
	}
	fmt.Fprintf(r.out, "%d tests passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skipped))
	switch {
	case r.failed > 0 || r.passed == 0:
		return 1
	case require && len(r.skipped) > 0:
		fmt.Fprintln(r.out, "FAIL: REQUIRE=all, and tests were skipped")
		return 1
	}
	return 0
}
