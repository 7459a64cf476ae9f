// Bench measures the commands against what people use now. The commands of a row take
// turns, so that whatever else the machine does meets all of them alike; each is
// started with vfork(2) semantics and waited for, with nothing in between.
//
// When not to use it: to compare numbers from two machines, or two days.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A row is a job, and the ways to do it; the first is ours.
type row struct {
	job  string
	ways []way
}

// A way is a command. "{}" in it stands for the number of the run.
type way struct {
	name string
	line string
}

// rows lists what is compared, for a directory tree to use as root and an OCI bundle
// of it.
func rows(root, bundle string) []row {
	return []row{
		{"a container, start to end", []way{
			{"staves", "nsrun -muipnC overlay mkdev pivot capdrop -- /bin/true"},
			{"staves, unfused", "nsrun -muipnC $BIN/overlay -- $BIN/mkdev -- $BIN/pivot -- $BIN/capdrop -- /bin/true"},
			{"bwrap", "bwrap --unshare-all --bind " + root + " / --proc /proc --dev /dev true"},
			{"runc", "runc run --bundle " + bundle + " staves-bench-{}"},
		}},
		{"the same in a given root", []way{
			{"staves", "nsrun -muipnC mkdev " + root + "/dev pivot " + root + " capdrop -- /bin/true"},
			{"bwrap", "bwrap --unshare-all --bind " + root + " / --proc /proc --dev /dev true"},
		}},
		{"a mount namespace", []way{
			{"nsrun -m", "nsrun -m /bin/true"},
			{"unshare -m", "unshare -m /bin/true"},
		}},
		{"a user namespace", []way{
			{"nsrun -Ur", "nsrun -Ur /bin/true"},
			{"unshare -Ur", "unshare -Ur /bin/true"},
		}},
		{"a pid namespace", []way{
			{"nsrun -p", "nsrun -p /bin/true"},
			{"nsrun -p --no-init", "nsrun -p --no-init /bin/true"},
			{"unshare -pf", "unshare -pf /bin/true"},
		}},
		{"nothing at all", []way{
			{"true", "/bin/true"},
		}},
	}
}

func main() {
	runs := flag.Int("n", 200, "runs of each command")
	root := flag.String("root", "", "directory `TREE` to use as a container's root")
	bundle := flag.String("bundle", "", "OCI bundle `DIR` of the same")
	only := flag.String("only", "", "measure only rows whose title contains `TEXT`")
	flag.Parse()
	for _, r := range rows(*root, *bundle) {
		if strings.Contains(r.job, *only) {
			measure(r, *runs)
		}
	}
}

// measure runs one row and prints it.
func measure(r row, runs int) {
	fmt.Printf("%s\n", r.job)
	var ways []way
	for _, w := range r.ways {
		if err := try(w); err != nil {
			fmt.Printf("  %-20s cannot be measured: %v\n", w.name, err)
			continue
		}
		ways = append(ways, w)
	}
	times := make([][]time.Duration, len(ways))
	for i := range runs {
		for j := range ways {
			k := (i + j) % len(ways) // no command always follows the same other one
			d, err := once(ways[k], i)
			if err != nil {
				fmt.Printf("  %-20s failed: %v\n", ways[k].name, err)
				os.Exit(1)
			}
			times[k] = append(times[k], d)
		}
	}
	for j, t := range times {
		slices.Sort(t)
		ratio := ""
		if j > 0 {
			ratio = fmt.Sprintf("   %s takes %.2f times this", ways[0].name, float64(median(times[0]))/float64(median(t)))
		}
		fmt.Printf("  %-20s median %6.2f ms   min %6.2f   p90 %6.2f%s\n", ways[j].name,
			ms(median(t)), ms(t[0]), ms(t[len(t)*9/10]), ratio)
	}
}

func median(sorted []time.Duration) time.Duration { return sorted[len(sorted)/2] }

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

// argv are a way's words for one run, and the file of the first.
func argv(w way, run int) ([]string, string, error) {
	line := strings.ReplaceAll(w.line, "{}", strconv.Itoa(os.Getpid())+"-"+strconv.Itoa(run))
	words := strings.Fields(os.ExpandEnv(line))
	path, err := exec.LookPath(words[0])
	return words, path, err
}

// try runs a command once with its complaints shown, to see whether it works here.
func try(w way) error {
	words, path, err := argv(w, -1)
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s is not installed", words[0])
	}
	if err != nil {
		return err
	}
	out, err := exec.Command(path, words[1:]...).CombinedOutput()
	if err != nil {
		said, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
}

// once runs a command and returns how long that took. It uses fork and wait alone:
// os/exec starts goroutines and keeps books.
func once(w way, run int) (time.Duration, error) {
	words, path, err := argv(w, run)
	if err != nil {
		return 0, err
	}
	attr := &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}}
	start := time.Now()
	pid, err := syscall.ForkExec(path, words, attr)
	if err != nil {
		return 0, err
	}
	var status syscall.WaitStatus
	for {
		if _, err = syscall.Wait4(pid, &status, 0, nil); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	d := time.Since(start)
	if err == nil && status != 0 {
		err = fmt.Errorf("wait status %#x", int(status))
	}
	return d, err
}
