// Scale measures containers that are alive at once: what each keeps of memory while its
// program idles, and how long the next one takes to start and to end as their number
// grows, beside the same steps in C. scripts/scale prepares what it needs.
//
// When not to use it: on a machine that does anything else, or for numbers from two
// machines.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Results are what is kept as JSON.
type results struct {
	Memory []memory `json:"memory,omitempty"`
	Start  []level  `json:"start,omitempty"`
	Steps  []step   `json:"steps,omitempty"`
}

func main() {
	counts := flag.String("counts", "1,100,1000", "numbers of containers whose memory is measured")
	levels := flag.String("levels", "1,10,50,100,200,500,1000", "numbers of containers at which starts are measured")
	rounds := flag.Int("n", 100, "starts of each kind at each level")
	only := flag.String("only", "", "memory or start: measure that alone")
	without := flag.String("without", "", "leave out kinds whose name contains `TEXT`, when memory is measured: a thousand of runc take minutes")
	jsonFile := flag.String("json", "", "`FILE` for the results as JSON")
	svgFile := flag.String("svg", "", "`FILE` for a plot of the starts")
	flag.Parse()
	if err := measure(*counts, *levels, *rounds, *only, *without, *jsonFile, *svgFile); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func measure(counts, levels string, rounds int, only, without, jsonFile, svgFile string) error {
	var all results
	if only != "start" {
		list, err := numbers(counts)
		if err != nil {
			return err
		}
		if all.Memory, err = measureMemory(list, without); err != nil {
			return err
		}
		printMemory(os.Stdout, all.Memory)
	}
	if only != "memory" {
		list, err := numbers(levels)
		if err != nil {
			return err
		}
		for _, bridged := range []bool{false, true} {
			found, steps, err := measureStarts(list, rounds, bridged)
			if err != nil {
				return err
			}
			all.Start, all.Steps = append(all.Start, found...), append(all.Steps, steps...)
		}
		printStarts(os.Stdout, all.Start)
		printSteps(os.Stdout, all.Steps)
		if svgFile != "" {
			if err := os.WriteFile(svgFile, []byte(svg(all.Start)), 0o644); err != nil {
				return err
			}
		}
	}
	if jsonFile == "" {
		return nil
	}
	text, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(jsonFile, append(text, '\n'), 0o644)
}

func numbers(list string) (all []int, err error) {
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is no list of numbers", list)
		}
		all = append(all, n)
	}
	return all, nil
}
