package main

import (
	"strings"
	"testing"
)

// lines are what go test -json writes, shortened.
const (
	passed  = `{"Action":"run","Package":"staves/x","Test":"A"}` + "\n" + `{"Action":"pass","Package":"staves/x","Test":"A"}` + "\n"
	skipped = `{"Action":"output","Package":"staves/x","Test":"B","Output":"=== RUN   B\n"}` + "\n" +
		`{"Action":"output","Package":"staves/x","Test":"B","Output":"    x_test.go:3: needs the program strace\n"}` + "\n" +
		`{"Action":"output","Package":"staves/x","Test":"B","Output":"--- SKIP: B (0.00s)\n"}` + "\n" +
		`{"Action":"skip","Package":"staves/x","Test":"B"}` + "\n"
	failed = `{"Action":"output","Package":"staves/x","Test":"C","Output":"    x_test.go:9: broken\n"}` + "\n" +
		`{"Action":"fail","Package":"staves/x","Test":"C"}` + "\n"
	noBuild   = `{"Action":"build-output","ImportPath":"staves/x","Output":"x.go:1: syntax error\n"}` + "\n" + `{"Action":"fail","Package":"staves/x"}` + "\n"
	elsewhere = `{"Action":"output","Package":"staves/x","Test":"B","Output":"    x_test.go:3: elsewhere: needs root\n"}` + "\n" +
		`{"Action":"skip","Package":"staves/x","Test":"B"}` + "\n"
	ok = `{"Action":"output","Package":"staves/x","Output":"PASS\n"}` + "\n" + `{"Action":"output","Package":"staves/x","Output":"ok  \tstaves/x\t1s\n"}` + "\n"
)

func TestReport(t *testing.T) {
	for _, c := range []struct {
		in          string
		require     bool
		status      int
		has, hasNot string // what the output contains, and does not
	}{
		{passed + ok, true, 0, "ok  \tstaves/x\t1s\n1 tests passed, 0 failed, 0 skipped", "PASS"},
		{passed + skipped, false, 0, "SKIPPED x B: needs the program strace\n", "FAIL"},
		{passed + skipped, true, 1, "SKIPPED x B: needs the program strace\n", ""},
		{passed + elsewhere, true, 0, "0 skipped", "SKIPPED"},
		{passed + failed, false, 1, "x_test.go:9: broken\n", ""},
		{passed + noBuild, false, 1, "x.go:1: syntax error\n", ""},
		{"", false, 1, "0 tests passed", ""},
		{"no json\n" + passed, false, 0, "no json\n", ""},
	} {
		var out strings.Builder
		r := &report{out: &out, said: map[string][]string{}}
		if err := r.read(strings.NewReader(c.in)); err != nil {
			t.Fatal(err)
		}
		status := r.end(c.require)
		if status != c.status || !strings.Contains(out.String(), c.has) || c.hasNot != "" && strings.Contains(out.String(), c.hasNot) {
			t.Errorf("status %d, want %d, for:\n%s\nwhich gave:\n%s", status, c.status, c.in, out.String())
		}
	}
}
