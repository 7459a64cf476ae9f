package cgset

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"staves/lib/cgroup"
)

// How to report: the values of --report.
const (
	reportText = "text"
	reportJSON = "json"
)

// observed are the controllers whose statistics a report has, where they can be had.
var observed = []string{"memory", "cpu", "cpuacct", "pids", "io"}

// A number is one of a group's statistics: its key in JSON, and how it is written for
// people.
type number struct {
	key, label string
	n          int64 // -1 if it is not known
	write      func(int64) string
}

func numbers(u cgroup.Usage) []number {
	return []number{
		{"memory_peak_bytes", "memory peak", u.MemoryPeak, humanBytes},
		{"swap_peak_bytes", "swap peak", u.SwapPeak, humanBytes},
		{"oom_kills", "killed for want of memory", u.OOMKills, plain},
		{"cpu_usec", "CPU time", u.CPU, seconds},
		{"cpu_user_usec", "CPU time of programs", u.CPUUser, seconds},
		{"cpu_system_usec", "CPU time of the kernel", u.CPUSystem, seconds},
		{"throttled_usec", "held back by the CPU limit", u.Throttled, seconds},
		{"throttled_periods", "periods held back in", u.ThrottledPeriods, plain},
		{"pids_peak", "processes at once", u.PidsPeak, plain},
		{"read_bytes", "read from disks", u.ReadBytes, humanBytes},
		{"written_bytes", "written to disks", u.WrittenBytes, humanBytes},
		{"read_operations", "reads", u.ReadOperations, plain},
		{"write_operations", "writes", u.WriteOperations, plain},
	}
}

// printReport prints what a group has used. It goes to standard error, as time(1)'s does:
// standard output is the payload's.
func printReport(w io.Writer, dirs []string, how string) {
	var out strings.Builder
	list := numbers(cgroup.ReadUsage(dirs))
	if how == reportJSON {
		out.WriteString("{")
		writeList(&out, list, func(x number) string { return jsonString(x.key) + ": " + jsonNumber(x.n) })
		out.WriteString("}\n")
	} else {
		for _, x := range list {
			if x.n >= 0 {
				fmt.Fprintf(&out, "cgset: %-26s %s\n", x.label, x.write(x.n))
			}
		}
	}
	_, _ = io.WriteString(w, out.String()) // there is nowhere to report that standard error is closed
}

// jsonNumber is null for what is not known.
func jsonNumber(n int64) string {
	if n < 0 {
		return "null"
	}
	return strconv.FormatInt(n, 10)
}

func plain(n int64) string { return strconv.FormatInt(n, 10) }

func seconds(us int64) string {
	return strconv.FormatFloat(float64(us)/1e6, 'f', 3, 64) + " s"
}

func humanBytes(n int64) string {
	for i, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if size := int64(1) << (40 - 10*i); n >= size {
			return strconv.FormatFloat(float64(n)/float64(size), 'f', 1, 64) + " " + unit
		}
	}
	return strconv.FormatInt(n, 10) + " bytes"
}
