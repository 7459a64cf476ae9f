// Package trace holds what --trace and --explain print against the system calls that strace
// sees.
package trace

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"staves/lib/testkit"
)

// The calls that matter: each one made is announced, and each one announced is made.
const matter = "unshare,clone,setns,mount,umount2,pivot_root,chroot,open_tree,move_mount,fsopen,fsconfig,fsmount," +
	"mount_setattr,capset,prctl,seccomp,sethostname,setresuid,setresgid,setgroups,landlock_restrict_self,ioctl"

var chains = [][]string{
	{"nsrun", "-m", "--", "true"},
	{"nsrun", "-mu", "--hostname", "x", "--", "true"},
	{"nsrun", "-Urmup", "--mount-proc", "--", "true"},
	{"nsrun", "--", "overlay", "mkdev", "pivot", "--", "true"},
	{"nsrun", "-m", "--", "overlay", "mkdev", "pivot", "capdrop", "--seccomp", "default", "--", "true"},
	{"cgset", "--pids", "50", "--", "nsrun", "-muipC", "--", "overlay", "pivot", "--", "true"},
	{"nsrun", "-n", "--", "true"},
	{"netbr", "--", "nsrun", "-m", "--", "true"},
	{"nsrun", "--join", joined, "--", "true"},
	{"capdrop", "--", "true"},
	{"capdrop", "--keep", "chown", "--user", "1000", "--", "true"},
}

// joined stands for the pid of a process with namespaces of its own.
const joined = "PID"

// inhabit starts such a process, for the time of the test.
func inhabit(t *testing.T) string {
	cmd := exec.Command("unshare", "-u", "-i", "sh", "-c", "echo; exec sleep 60")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(cmd.Process.Pid)
}

func TestMain(m *testing.M) {
	status := m.Run()
	testkit.Cleanup()
	os.Exit(status)
}

func TestTraceAgainstStrace(t *testing.T) {
	tools(t)
	for _, words := range chains {
		t.Run(strings.Join(words, " "), func(t *testing.T) {
			testkit.Check(t)
			if i := slices.Index(words, joined); i >= 0 {
				words = slices.Clone(words)
				words[i] = inhabit(t)
			}
			traced, made := run(t, words, "--trace")
			var steps []string
			var lines []call
			forks := 0 // as announced
			for line := range strings.Lines(traced) {
				line = strings.TrimSuffix(line, "\n")
				switch {
				case line == "+     the clone(2) above does that too":
					forks--
				case strings.HasPrefix(line, "+     "):
					if c, ok := parse(line[6:]); ok {
						lines = append(lines, c)
					}
				case strings.HasPrefix(line, "+ "):
					steps = append(steps, line[2:])
					forks += len(slices.DeleteFunc(stepCalls(line), func(name string) bool { return name != "clone" }))
				default:
					t.Errorf("no line of a trace: %q", line)
				}
			}
			if len(steps) == 0 {
				t.Fatal("no step is traced")
			}
			compare(t, steps, lines, made)
			clones := slices.DeleteFunc(slices.Clone(made), func(c call) bool { return c.name != "clone" })
			if forks != len(clones) {
				t.Errorf("%d forks are announced, made are %q", forks, clones)
			}
			explained(t, words, steps)
		})
	}
}

// compare holds what was announced against what was made.
func compare(t *testing.T, steps []string, lines, made []call) {
	t.Helper()
	for _, c := range lines {
		if !slices.ContainsFunc(made, c.same) {
			t.Errorf("announced, but not made: %s", c)
		}
	}
	for _, step := range steps {
		for _, name := range stepCalls(step) {
			if !slices.ContainsFunc(made, func(m call) bool { return m.name == name }) {
				t.Errorf("the step %q is announced, but no %s made", step, name)
			}
		}
		for _, flag := range constants.FindAllString(step, -1) {
			if wanted.MatchString(flag) && !slices.ContainsFunc(made, func(m call) bool { return slices.Contains(m.flags, flag) }) {
				t.Errorf("the step %q is announced, but no call has %s", step, flag)
			}
		}
	}
	for _, m := range made {
		byStep := slices.ContainsFunc(steps, func(step string) bool {
			return slices.Contains(stepCalls(step), m.name) && !slices.ContainsFunc(m.flags, func(f string) bool {
				return wanted.MatchString(f) && !strings.Contains(step, f)
			})
		})
		if !byStep && !machinery.MatchString(m.text) && !slices.ContainsFunc(lines, m.same) {
			t.Errorf("made, but not announced: %s", m)
		}
	}
	// Other calls than for a loop are made as often as announced.
	for _, c := range lines {
		if c.loop || c.name == "prctl" {
			continue
		}
		if a, b := count(lines, c), count(made, c); a != b {
			t.Errorf("%s: announced %d times, made %d times", c, a, b)
		}
	}
}

func count(all []call, c call) (n int) {
	for _, other := range all {
		if c.same(other) {
			n++
		}
	}
	return n
}

// explained verifies that an explanation has the steps of the trace, in its order, and that
// it changes nothing.
func explained(t *testing.T, words []string, steps []string) {
	t.Helper()
	text, made := run(t, words, "--explain")
	for _, m := range made {
		if !machinery.MatchString(m.text) {
			t.Errorf("to explain it, %s was made", m)
		}
	}
	var got []string
	tool, reasons := "", 0
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "            "), strings.HasPrefix(line, "        ") && strings.HasSuffix(line, ":"):
			// in detail: see netlink_test.go
		case strings.HasPrefix(line, "        "):
			reasons++
			if !strings.Contains(line, ": see ") {
				t.Errorf("%q says not where to read on", line)
			}
		case strings.HasPrefix(line, "    "):
			got = append(got, tool+": "+line[4:])
		default:
			tool, _, _ = strings.Cut(line, ":")
		}
	}
	if reasons != len(got) {
		t.Errorf("%d steps, %d reasons:\n%s", len(got), reasons, text)
	}
	if last := len(got) - 1; last < 0 || got[last] != "payload: execve(true)" {
		t.Fatalf("it does not end with the payload:\n%s", text)
	}
	got = got[:len(got)-1]
	for _, step := range steps {
		if !slices.Contains(got, step) {
			t.Errorf("the step %q is taken, but not explained", step)
		}
	}
	for _, step := range got {
		if !slices.Contains(steps, step) && !dormant(step) {
			t.Errorf("the step %q is explained, but not taken", step)
		}
	}
}

// dormant tells of a step that may turn out to have nothing to do.
func dormant(step string) bool { return strings.Contains(step, "if need be") }

type call struct {
	name    string
	strings []string
	flags   []string
	loop    bool
	text    string
}

func (c call) String() string { return c.text }

func (c call) same(o call) bool {
	if c.name != o.name || c.name != "prctl" && !slices.Equal(c.flags, o.flags) {
		return false
	}
	if c.name == "prctl" {
		return len(c.flags) > 0 && len(o.flags) > 0 && c.flags[0] == o.flags[0]
	}
	return slices.Equal(c.strings, o.strings)
}

var (
	callOf    = regexp.MustCompile(`^([a-z0-9_]+)\((.*)`)
	quoted    = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	comment   = regexp.MustCompile(`/\*.*?\*/`)
	constants = regexp.MustCompile(`\b(?:[A-Z][A-Z0-9]*_[A-Z0-9_]+|SIOCS[A-Z]+)\b`)
	// wanted are the constants that a step's line is held to.
	wanted = regexp.MustCompile(`^(CLONE_NEW|MS_|PR_|MNT_|SECCOMP_SET|SIOC)`)
	inStep = regexp.MustCompile(`\b([a-z0-9_]+)\(`)
)

// parse reads a call, in the form that strace and a trace have in common.
func parse(line string) (call, bool) {
	m := callOf.FindStringSubmatch(line)
	if m == nil || !slices.Contains(strings.Split(matter, ","), m[1]) {
		return call{}, false
	}
	c := call{name: m[1], text: line, loop: strings.Contains(m[2], "...") && m[1] == "prctl"}
	args := comment.ReplaceAllString(m[2], "")
	if i := strings.LastIndex(args, ") = "); i >= 0 {
		args = args[:i]
	}
	if c.name != "sethostname" && c.name != "mount" {
		c.strings = quoted.FindAllString(args, -1)
	}
	for _, f := range constants.FindAllString(quoted.ReplaceAllString(args, ""), -1) {
		// What the machinery adds, and what only strace names.
		if f != "FSMOUNT_CLOEXEC" && f != "AT_FDCWD" && !strings.HasPrefix(f, "CAP_") && !strings.HasPrefix(f, "_LINUX") {
			c.flags = append(c.flags, f)
		}
	}
	if c.name != "prctl" {
		slices.Sort(c.flags)
	}
	if c.name == "clone" {
		c.flags = slices.DeleteFunc(c.flags, func(f string) bool { return !strings.HasPrefix(f, "CLONE_NEW") })
	}
	switch c.name {
	case "capset":
		c.flags = nil
	case "ioctl": // of sockets alone, and of those that change something
		c.flags = slices.DeleteFunc(c.flags, func(f string) bool { return !strings.HasPrefix(f, "SIOCS") })
		c.strings = nil
		return c, len(c.flags) > 0
	case "seccomp":
		c.flags = slices.DeleteFunc(c.flags, func(f string) bool { return !strings.HasPrefix(f, "SECCOMP_SET") })
	}
	return c, true
}

// stepCalls are the calls that matter in a step's line.
func stepCalls(step string) []string {
	var all []string
	for _, m := range inStep.FindAllStringSubmatch(strings.ReplaceAll(step, "setgroups() if need be", ""), -1) {
		if slices.Contains(strings.Split(matter, ","), m[1]) {
			all = append(all, m[1])
		}
	}
	return all
}

// machinery are calls that need not be announced: of a Go runtime, for the start of another
// life, by a waiter for itself, and such as only look.
var (
	machinery = regexp.MustCompile(`^prctl\(PR_(SET_NAME|SET_THP_DISABLE|SET_DUMPABLE|SET_PDEATHSIG|CAPBSET_READ|GET_.*)\b|` +
		`^prctl\(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET`)
	threads = regexp.MustCompile(`CLONE_THREAD|CLONE_VM\b|PR_SET_VMA`)
	ownFile = regexp.MustCompile(`^open_tree\(AT_FDCWD, "(/proc/self/exe|[^"]*/(cgset|netbr|nsrun|overlay|mkdev|pivot|capdrop))"`)
)

// run runs a chain under strace, with an option, and returns what it printed and did.
func run(t *testing.T, words []string, option string) (printed string, made []call) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "strace")
	args := append([]string{"-n", "strace", "-f", "-s", "400", "-o", log, "-e", "trace=" + matter, words[0], option}, words[1:]...)
	cmd := exec.Command("unshare", args...)
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	setattr := false
	unfinished := map[string]string{}
	for line := range strings.Lines(string(text)) {
		pid, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		rest = strings.TrimSpace(rest)
		if before, ok := strings.CutSuffix(rest, " <unfinished ...>"); ok {
			unfinished[pid] = before
			continue
		}
		if _, after, ok := strings.Cut(rest, " resumed>"); ok {
			rest = unfinished[pid] + after
		}
		if ownFile.MatchString(rest) {
			setattr = true // the next one is of the same mount
			continue
		}
		if setattr && strings.HasPrefix(rest, "mount_setattr(") {
			setattr = false
			continue
		}
		if threads.MatchString(rest) || strings.Contains(rest, " = -1 ") && strings.HasPrefix(rest, "prctl(") {
			continue
		}
		if c, ok := parse(rest); ok {
			made = append(made, c)
		}
	}
	return string(out), made
}

func tools(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := testkit.Bin(); err != nil { // it may build
		t.Fatal(err)
	}
	for _, name := range []string{"strace", "unshare"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs the program %s", name)
		}
	}
}

// The files that cgset says it writes are those that it writes, with the same text.
func TestGroupWrites(t *testing.T) {
	tools(t)
	testkit.Check(t)
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "strace")
	cmd := exec.Command("strace", "-f", "-y", "-s", "400", "-e", "trace=write", "-o", log,
		filepath.Join(bin, "cgset"), "--trace", "--memory", "64M", "--pids", "50", "--cpus", "0.5", "--", "true")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, list, ok := strings.Cut(string(out), "write() of its limits: ")
	if !ok {
		t.Fatalf("no limits in\n%s", out)
	}
	list, _, _ = strings.Cut(list, "\n")
	told := map[string]bool{} // whether it must be there
	for _, text := range strings.Split(list, ", ") {
		told[strings.Trim(text, "[]")] = !strings.HasPrefix(text, "[")
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]bool{}
	for _, m := range regexp.MustCompile(`write\(\d+</sys/fs/cgroup/[^>]*/([^/>]+)>, "([^"]*)"`).FindAllStringSubmatch(string(text), -1) {
		if m[1] == "cgroup.procs" { // the step after it
			continue
		}
		made[m[1]+"="+m[2]] = true
		if _, ok := told[m[1]+"="+m[2]]; !ok {
			t.Errorf("%s=%s is written, and not told of in %q", m[1], m[2], list)
		}
	}
	for text, must := range told {
		if must && !made[text] {
			t.Errorf("%s is told of, and not written", text)
		}
	}
}
