// Bench measures the commands against what people use now. The commands of a row take
// turns, so that whatever else the machine does meets all of them alike; each is
// started with vfork(2) semantics and waited for, with nothing in between.
//
// When not to use it: to compare numbers from two machines, or two days. Ratios of one
// run can be compared, and -check does that.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
)

func main() {
	runs := flag.Int("n", 100, "runs of each command")
	only := flag.String("only", "", "measure only rows whose title contains `TEXT`")
	asJSON := flag.String("json", "", "write the results to `FILE`")
	asSVG := flag.String("svg", "", "draw the ratios into `FILE`")
	check := flag.String("check", "", "compare the ratios with those in `FILE`; status 1 if one is worse beyond the margin")
	keep := flag.String("keep", "", "write the ratios to `FILE`, for -check")
	margin := flag.Float64("margin", 0.25, "by how much, as a `FRACTION`, a ratio may be worse")
	counts := flag.Bool("counts", false, "count instructions and system calls in place of time, for -keep and -check")
	apart := flag.Bool("breakdown", false, "tell where the time of one full chain goes, with perf")
	flag.Parse()

	if *apart {
		if err := breakdown(*runs); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %v\n", err)
			os.Exit(1)
		}
		return
	}

	var results []result
	var kept map[string]float64
	if *counts {
		var err error
		if kept, err = count(); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %v\n", err)
			os.Exit(1)
		}
	} else {
		results = measureAll(*only, *runs)
		kept = ratios(results)
	}
	failed := false
	try := func(file string, do func(string) error) {
		if file == "" {
			return
		}
		if err := do(file); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %v\n", err)
			failed = true
		}
	}
	try(*asJSON, func(f string) error { return writeJSON(f, results) })
	try(*asSVG, func(f string) error { return os.WriteFile(f, []byte(svg(results)), 0o644) })
	try(*keep, func(f string) error { return writeJSON(f, kept) })
	try(*check, func(f string) error { return compare(f, kept, *margin) })
	if failed {
		os.Exit(1)
	}
}

// measureAll measures the rows whose title contains a text, and prints each when it is
// done.
func measureAll(only string, runs int) (results []result) {
	for _, r := range rows {
		if !strings.Contains(r.job, only) {
			continue
		}
		got, err := measure(r, runs)
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", r.job, err)
			os.Exit(1)
		}
		got.print(os.Stdout)
		results = append(results, got)
	}
	return results
}

func writeJSON(file string, v any) error {
	b, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}
