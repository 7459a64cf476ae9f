package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// counted are the chains whose instructions and system calls are counted: no clock is in
// that, so that a busy machine comes to the same. The payload is a file that is not there,
// for valgrind loses count at an execve, and so it does where a chain executes itself.
var counted = []struct {
	line    string
	oneLife bool
}{
	{"capdrop --keep net_raw --user 1000 -- /nothing", true},
	{"nsrun -m --hostname x -- /nothing", true},
	{"netbr --bridge $BR -- /nothing", true},
	{"nsrun -muipnC overlay mkdev pivot capdrop -- /nothing", false},
	{"cgset --memory 64M --pids 100 --cpus 0.5 -- /nothing", false},
}

var (
	collected = regexp.MustCompile(`(?m)^==\d+== Collected : (\d+)$`)
	total     = regexp.MustCompile(`(?m)^100\.00 .* total$`)
)

// count counts them. What is missing of valgrind and strace is left out, and said.
func count() (map[string]float64, error) {
	counts := map[string]float64{}
	for _, c := range counted {
		words := strings.Fields(os.ExpandEnv(c.line))
		path, err := exec.LookPath(words[0])
		if err != nil {
			return nil, err
		}
		words[0] = path
		keep := func(what string, how func([]string) (float64, error)) {
			n, err := how(words)
			if err != nil {
				fmt.Printf("%s of %s: not counted: %v\n", what, c.line, err)
				return
			}
			counts[what+": "+c.line] = n
			fmt.Printf("%10.0f %s  %s\n", n, what, c.line)
		}
		if c.oneLife {
			keep("instructions", instructions)
		}
		keep("system calls", calls)
	}
	return counts, nil
}

func instructions(words []string) (float64, error) {
	if _, err := exec.LookPath("valgrind"); err != nil {
		return 0, err
	}
	// The status is the program's own, that nothing is not found.
	out, _ := exec.Command("valgrind", append([]string{"--tool=callgrind", "--callgrind-out-file=/dev/null"}, words...)...).CombinedOutput()
	m := collected.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("valgrind says %q", out)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

func calls(words []string) (float64, error) {
	if _, err := exec.LookPath("strace"); err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "staves-count-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "calls")
	out, _ := exec.Command("strace", append([]string{"-f", "-c", "-o", file}, words...)...).CombinedOutput()
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	line := total.Find(b)
	if line == nil {
		return 0, fmt.Errorf("strace says %q", out)
	}
	// "100.00  seconds  usecs/call  calls  errors total", errors if there are any
	return strconv.ParseFloat(strings.Fields(string(line))[3], 64)
}
