package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// memory is what containers of one kind keep resident.
type memory struct {
	Way        string  `json:"way"`
	Containers int     `json:"containers"`
	Processes  float64 `json:"processes"` // of each, without the program
	PSS        float64 `json:"pss_kB"`    // of each, without the program
	Ratio      float64 `json:"ratio"`     // to unshare and tini
	Missing    string  `json:"missing,omitempty"`
}

// way is a kind of container. All idle in the same program, which is not counted.
type way struct {
	name string
	line string
}

const (
	peer    = "unshare -fp, tini"
	withOCI = "runc, conmon"
)

var memoryWays = []way{
	{peer, "unshare -fp --kill-child tini -s -- $STEPS idle"},
	{"nsrun -p", "nsrun -p -- $STEPS idle"},
	{"nsrun -muipnC, overlay, mkdev, pivot, capdrop", "nsrun -muipnC --kill-child -- overlay mkdev pivot capdrop -- $STEPS idle"},
	{"cgset, netbr, and the same", "cgset --memory 64M --pids 20 -- netbr --bridge scale0 -- nsrun -muipC --kill-child -- overlay mkdev pivot capdrop -- $STEPS idle"},
	{"bwrap --unshare-all", "bwrap --unshare-all --dev-bind / / $STEPS idle"},
	{withOCI, ""},
}

// measureMemory measures n containers of each kind, but those whose name contains without.
func measureMemory(counts []int, without string) ([]memory, error) {
	var all []memory
	for _, n := range counts {
		var base float64
		for _, w := range memoryWays {
			if without != "" && strings.Contains(w.name, without) {
				continue
			}
			m, err := resident(w, n)
			if errors.Is(err, exec.ErrNotFound) {
				m.Missing = "not installed"
			} else if err != nil {
				return nil, err
			}
			if w.name == peer {
				base = m.PSS
			}
			if base > 0 && m.Missing == "" {
				m.Ratio = m.PSS / base
			}
			all = append(all, m)
		}
	}
	return all, nil
}

// resident starts n containers and sums up the proportional set sizes of all but their
// programs.
func resident(w way, n int) (memory, error) {
	m := memory{Way: w.name, Containers: n}
	begin, finish := start, (*container).end
	if w.name == withOCI {
		begin, finish = startOCI, endOCI
	}
	var alive []*container
	var err error
	for range n {
		var c *container
		if c, err = begin(w.line); err != nil {
			break
		}
		alive = append(alive, c)
	}
	processes, sum := 0, 0
	for _, c := range alive {
		for _, pid := range family(c.pid) {
			if pid == c.payload || err != nil {
				continue
			}
			var kB int
			kB, err = pss(pid)
			sum += kB
			processes++
		}
	}
	for _, c := range alive {
		if _, endErr := finish(c); err == nil {
			err = endErr
		}
	}
	m.Processes, m.PSS = float64(processes)/float64(n), float64(sum)/float64(n)
	return m, err
}

func pss(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			return strconv.Atoi(strings.Fields(rest)[0])
		}
	}
	return 0, fmt.Errorf("process %d has no Pss", pid)
}

// startOCI starts a container of runc under a conmon, as podman does.
func startOCI(string) (*container, error) {
	conmon, err := exec.LookPath("conmon")
	if err != nil {
		return nil, err
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		return nil, err
	}
	begun++
	id := fmt.Sprintf("staves-scale-%d-%d", os.Getpid(), begun)
	dir := filepath.Join(os.Getenv("WORK"), id)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	// A group of its own at the top of the tree, not in the one that this runs in.
	config, err := os.ReadFile(filepath.Join(os.Getenv("BUNDLE"), "config.json"))
	if err != nil {
		return nil, err
	}
	bundle := strings.Replace(string(config), `"linux": {`, `"linux": { "cgroupsPath": "/`+id+`",`, 1)
	bundle = strings.Replace(bundle, `"path": "rootfs"`, `"path": "`+os.Getenv("BUNDLE")+`/rootfs"`, 1)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(bundle), 0o644); err != nil {
		return nil, err
	}
	out, err := exec.Command(conmon, "-c", id, "-u", id, "-n", id, "-r", runc, "-b", dir,
		"--socket-dir-path", os.Getenv("WORK")+"/attach", "-P", dir+"/conmon", "-p", dir+"/payload", "-l", "k8s-file:"+dir+"/log").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("conmon: %w: %s", err, out)
	}
	c := &container{}
	for _, f := range []struct {
		name string
		pid  *int
	}{{"conmon", &c.pid}, {"payload", &c.payload}} {
		for try := 0; *f.pid == 0; try++ {
			text, err := os.ReadFile(filepath.Join(dir, f.name))
			if err == nil {
				*f.pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
			}
			if err != nil && try == 300 {
				return nil, fmt.Errorf("conmon says no pid: %w", err)
			} else if err != nil {
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
	names[c] = id
	if out, err := exec.Command(runc, "start", id).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("runc start: %w: %s", err, out)
	}
	return c, nil
}

// names are those of the containers of runc.
var names = map[*container]string{}

func endOCI(c *container) (time.Duration, error) {
	out, err := exec.Command("runc", "delete", "--force", names[c]).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("runc delete: %w: %s", err, out)
	}
	return 0, nil
}

func printMemory(w io.Writer, all []memory) {
	fmt.Fprintf(w, "memory of an idle container, its program left out\n%-48s %10s %9s %12s %18s\n", "", "containers", "processes", "PSS of each", "unshare, tini = 1")
	for _, m := range all {
		if m.Missing != "" {
			fmt.Fprintf(w, "%-48s %10d %s\n", m.Way, m.Containers, m.Missing)
			continue
		}
		fmt.Fprintf(w, "%-48s %10d %9.0f %9.0f kB %18.2f\n", m.Way, m.Containers, m.Processes, m.PSS, m.Ratio)
	}
}
