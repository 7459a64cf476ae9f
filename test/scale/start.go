package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// level is what the next container of a kind takes, in milliseconds, with so many alive.
type level struct {
	Way       string  `json:"way"`
	Bridge    bool    `json:"bridge"`
	Alive     int     `json:"alive"` // with the one that is measured
	Start     float64 `json:"start_p50_ms"`
	Start99   float64 `json:"start_p99_ms"`
	End       float64 `json:"end_p50_ms"`
	End99     float64 `json:"end_p99_ms"`
	CPU       float64 `json:"cpu_p50_ms"`           // of its processes, from start to end
	EndAll    float64 `json:"end_all_ms,omitempty"` // of all that are alive, at once
	ToSmaller float64 `json:"start_to_smallest"`    // Start to that of the first level
	CPUGrowth float64 `json:"cpu_to_smallest"`
}

// step is what one step in C takes, the median in microseconds.
type step struct {
	Step   string  `json:"step"`
	Alive  int     `json:"alive"`
	Median float64 `json:"us"`
}

const (
	ours  = "staves"
	inC   = "the same in C"
	alone = "the program alone"
)

// startWays are the kinds whose starts are measured; the first is that of those alive.
func startWays(bridged bool) []way {
	if bridged {
		return []way{
			{ours, "cgset --memory 64M --pids 20 -- netbr --bridge scale0 -- nsrun -muipC --kill-child -- overlay mkdev pivot capdrop -- $STEPS idle"},
			{inC, "$STEPS wire scale0 {ip} -- $FLOOR cg=staves-scale-{} ns=muipC overlay dev=/../dev pivot=/.. caps -- $STEPS idle"},
			{alone, "$STEPS idle"},
		}
	}
	return []way{
		{ours, "cgset --memory 64M --pids 20 -- nsrun -muipnC --kill-child -- overlay mkdev pivot capdrop -- $STEPS idle"},
		{inC, "$FLOOR cg=staves-scale-{} ns=muipnC overlay dev=/../dev pivot=/.. caps -- $STEPS idle"},
		{alone, "$STEPS idle"},
	}
}

// measureStarts has ever more containers alive, and at each level starts and ends further
// ones, of each kind in turn.
func measureStarts(levels []int, rounds int, bridged bool) (all []level, steps []step, err error) {
	ways := startWays(bridged)
	var alive []*container
	defer func() {
		took, endErr := endAll(alive)
		if err == nil {
			err = endErr
		}
		if i := len(all) - len(ways); i >= 0 {
			all[i].EndAll = ms(took)
		}
	}()
	first := map[string]level{}
	for _, n := range levels {
		for len(alive) < n-1 {
			c, err := start(ways[0].line)
			if err != nil {
				return all, steps, err
			}
			alive = append(alive, c)
		}
		found, err := measureLevel(ways, rounds)
		if err != nil {
			return all, steps, err
		}
		for i := range found {
			l := &found[i]
			l.Bridge, l.Alive = bridged, n
			if _, ok := first[l.Way]; !ok {
				first[l.Way] = *l
			}
			l.ToSmaller, l.CPUGrowth = l.Start/first[l.Way].Start, l.CPU/first[l.Way].CPU
			fmt.Fprintf(os.Stderr, "%4d alive, bridge %v, %-20s start %6.2f ms, end %6.2f ms\n", n, bridged, l.Way, l.Start, l.End)
		}
		all = append(all, found...)
		if bridged {
			one, err := measureSteps(n, rounds/2+1)
			if err != nil {
				return all, steps, err
			}
			steps = append(steps, one...)
		}
	}
	return all, steps, nil
}

func measureLevel(ways []way, rounds int) ([]level, error) {
	starts, ends, cpu := make([][]time.Duration, len(ways)), make([][]time.Duration, len(ways)), make([][]time.Duration, len(ways))
	for i := range rounds {
		for j := range ways {
			k := (i + j) % len(ways) // none always follows the same other one
			c, err := start(ways[k].line)
			if err != nil {
				return nil, err
			}
			end, err := c.end()
			if err != nil {
				return nil, err
			}
			starts[k], ends[k] = append(starts[k], c.took), append(ends[k], end)
			cpu[k] = append(cpu[k], c.cpu)
		}
	}
	var all []level
	for i, w := range ways {
		slices.Sort(starts[i])
		slices.Sort(ends[i])
		slices.Sort(cpu[i])
		all = append(all, level{
			Way:   w.name,
			Start: ms(at(starts[i], 50)), Start99: ms(at(starts[i], 99)),
			End: ms(at(ends[i], 50)), End99: ms(at(ends[i], 99)), CPU: ms(at(cpu[i], 50)),
		})
	}
	return all, nil
}

// measureSteps has the steps taken one by one, in C, with n containers alive.
func measureSteps(n, rounds int) ([]step, error) {
	var order []string
	times := map[string][]float64{}
	for range rounds {
		begun++
		out, err := exec.Command(os.Getenv("STEPS"), "time", "scale0", fmt.Sprintf("%08x", 0x0a630100+begun%3500)).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("steps: %w: %s", err, out)
		}
		for line := range strings.Lines(string(out)) {
			name, text, _ := strings.Cut(strings.TrimSpace(line), "\t")
			us, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return nil, err
			}
			if times[name] == nil {
				order = append(order, name)
			}
			times[name] = append(times[name], us)
		}
	}
	var all []step
	for _, name := range order {
		slices.Sort(times[name])
		all = append(all, step{name, n, times[name][len(times[name])/2]})
	}
	return all, nil
}

func at(sorted []time.Duration, percent int) time.Duration {
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

func printStarts(w io.Writer, all []level) {
	for i, l := range all {
		if i == 0 || l.Bridge != all[i-1].Bridge {
			fmt.Fprintf(w, "\nstart and end with a bridge: %v; milliseconds\n%-20s %6s %10s %8s %8s %8s %9s %14s %12s\n", l.Bridge, "", "alive", "start p50", "p99", "end p50", "p99", "CPU p50", "start, 1st = 1", "CPU, 1st = 1")
		}
		fmt.Fprintf(w, "%-20s %6d %10.2f %8.2f %8.2f %8.2f %9.2f %14.2f %12.2f", l.Way, l.Alive, l.Start, l.Start99, l.End, l.End99, l.CPU, l.ToSmaller, l.CPUGrowth)
		if l.EndAll != 0 {
			fmt.Fprintf(w, "   all %d ended in %.0f ms", l.Alive-1, l.EndAll)
		}
		fmt.Fprintln(w)
	}
}

// printSteps prints a line for each step, with what it takes at each level.
func printSteps(w io.Writer, all []step) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(w, "\nsteps in C, the median in microseconds\n%-48s", "containers alive")
	for _, s := range all {
		if s.Step == all[0].Step {
			fmt.Fprintf(w, "%8d", s.Alive)
		}
	}
	for _, first := range all {
		if first.Alive != all[0].Alive {
			break
		}
		fmt.Fprintf(w, "\n%-48s", first.Step)
		for _, s := range all {
			if s.Step == first.Step {
				fmt.Fprintf(w, "%8.0f", s.Median)
			}
		}
	}
	fmt.Fprintln(w)
}
