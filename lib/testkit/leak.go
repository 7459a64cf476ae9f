package testkit

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Snapshot is what is on the machine at one time and could stay behind: for each
// thing a line that names it, and false if it must be somebody else's.
type Snapshot map[string]bool

// Private, in the environment, tells that /tmp and the network namespace belong to the
// test run alone, so that whatever is new there is a leak.
const Private = "STAVES_TEST_PRIVATE"

// Check compares the machine at the end of the test with what it is now, and fails the
// test if something stayed behind. It waits a moment for what is still going away.
// Call it first, so that it looks last; it cannot tell parallel tests apart.
func Check(t testing.TB) {
	t.Helper()
	// Orphans become children of this process, and so stay in view.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	before := Take()
	t.Cleanup(func() {
		for _, left := range Left(before) {
			t.Errorf("left behind: %s", left)
		}
	})
}

// patience is how long something may take to go away.
var patience = 2 * time.Second * Slow

// Left returns what is there now and was not before, after waiting for it to go away.
func Left(before Snapshot) []string {
	deadline := time.Now().Add(patience)
	for {
		var left []string
		for thing, our := range Take() {
			if _, known := before[thing]; our && !known {
				left = append(left, thing)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			slices.Sort(left)
			return left
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Take takes a snapshot.
func Take() Snapshot {
	s := Snapshot{}
	s.mounts()
	s.cgroups(s.processes())
	s.links()
	s.names("/run/netns", "network namespace", func(string) bool { return true })
	s.nftTables()
	private := os.Getenv(Private) != ""
	s.names(os.TempDir(), "file", func(name string) bool { return (private || ours(name)) && !inUse(name) })
	s.names(".", "file", func(string) bool { return true })
	return s
}

// ours tells whether a name contains one of our tools' names.
func ours(name string) bool {
	return strings.Contains(name, "staves") ||
		slices.ContainsFunc(Tools, func(tool string) bool { return strings.Contains(name, tool) })
}

// inUse tells whether a name is that of another test run's binaries, and that run goes on,
// or of a virtual machine's directory, and that is locked by its script (scripts/vm).
func inUse(name string) bool {
	if strings.HasPrefix(name, "staves-vm.") {
		lock, err := os.Open(filepath.Join(os.TempDir(), name, "lock"))
		if err != nil {
			return false
		}
		defer lock.Close()
		return errors.Is(unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
	}
	var pid int
	_, err := fmt.Sscanf(name, binPrefix+"%d-", &pid)
	return err == nil && pid != os.Getpid() && unix.Kill(pid, 0) != unix.ESRCH
}

func (s Snapshot) add(format string, args ...any) { s[fmt.Sprintf(format, args...)] = true }

func (s Snapshot) mounts() {
	b, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(b)) {
		before, after, _ := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if len(f) > 4 && len(g) > 0 {
			s.add("mount of %s on %s (id %s)", g[0], f[4], f[0])
		}
	}
}

// cgroups adds the groups. One that holds processes, but none of ours, is somebody
// else's.
func (s Snapshot) cgroups(our map[string]bool) {
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // a group that is just being removed
		}
		b, _ := os.ReadFile(path + "/cgroup.procs")
		pids := strings.Fields(string(b))
		s["cgroup "+path] = len(pids) == 0 || slices.ContainsFunc(pids, func(pid string) bool { return our[pid] })
		return nil
	})
}

func (s Snapshot) links() {
	interfaces, _ := net.Interfaces()
	for _, i := range interfaces {
		s.add("network link %s", i.Name)
	}
}

// names adds the entries of a directory that are of interest.
func (s Snapshot) names(dir, what string, wanted func(string) bool) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if wanted(e.Name()) {
			s.add("%s %s", what, filepath.Join(dir, e.Name()))
		}
	}
}

func (s Snapshot) nftTables() {
	// As an ordinary user this fails: there is none of its own to leave either.
	out, _ := exec.Command("nft", "list", "tables").Output()
	for line := range strings.Lines(string(out)) {
		s.add("nft %s", strings.TrimSpace(line))
	}
}

// processes adds the descendants of this process, and reaps dead ones that have become
// its children. It returns the descendants' pids.
func (s Snapshot) processes() map[string]bool {
	our := map[string]bool{}
	for pid, about := range descendants() {
		if strings.HasPrefix(about, "Z") {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // does nothing if it is not our child
			continue
		}
		s.add("process %d %s", pid, about[2:])
		our[strconv.Itoa(pid)] = true
	}
	return our
}

// KillAll kills every descendant of this process: the end of a test that hangs. (A
// process that was killed itself would leave its children, who hold its output open.)
func KillAll() {
	for pid := range descendants() {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// descendants finds the processes below this one, each with its state and its words.
func descendants() map[int]string {
	parents, about := map[int]int{}, map[int]string{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		head, tail, _ := strings.Cut(string(stat), ") ")
		_, name, _ := strings.Cut(head, "(")
		f := strings.Fields(tail)
		if len(f) < 2 {
			continue
		}
		parents[pid], _ = strconv.Atoi(f[1])
		words, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		about[pid] = fmt.Sprintf("%s (%s): %s", f[0], name, strings.ReplaceAll(strings.TrimRight(string(words), "\x00"), "\x00", " "))
	}
	for pid := range parents {
		p := parents[pid]
		for p > 1 && p != os.Getpid() {
			p = parents[p]
		}
		if p != os.Getpid() {
			delete(about, pid)
		}
	}
	return about
}
