// Package vm runs the tests of the commands in virtual machines: under Debian's kernels,
// on each layout of cgroups. See scripts/vm for the machine, and test/cli for the tests.
//
// What has to do with cgroups runs on each layout, on cgroup v2 what asks the kernel for
// something new as well, or for AppArmor, and on v1, where the kernel is the oldest, what
// that one does differently. There is SELinux in the place of AppArmor on the hybrid
// layout. With VM=all in the environment, as 'make vm' has it, every script runs on v2,
// which takes several times as long. What is compiled is compiled here: in there it would
// take minutes.
package vm

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"staves/lib/testkit"
)

// A lane is one boot, and what runs in it.
type lane struct {
	layout string // of cgroups: scripts/vm -l
	kernel string
	user   string // whom scripts run as
	all    bool   // every script, if so wanted, not only those about cgroups
	module string // the security module, if not AppArmor: no kernel has both in force
}

// everything, in the environment, is "all" for every script.
const everything = "VM"

// also are scripts that run under the newest kernel in any case.
var also = regexp.MustCompile(`^((nsrun|capdrop)-apparmor|nsrun-(default|time|clocks)|userns-(clone|hints)|maps-ranges|box-run|capdrop-default|pivot-(default|old-root|fds)|overlay-(lower-untouched|state|mount8|upper-fat)|mkdev-nodes|netbr-(default|nat|ipv6)|landlock-fs|init|kill-child|status|transparent-signals)$`)

// besides are scripts that have a group in them and are about something else: they run
// here only when every script does.
var besides = regexp.MustCompile(`^(explain|pipeline|limit-|lesson-container|recipe-(engine|reexec))`)

// mixed are scripts about cgroups that run on the hybrid layout, which is slow to look
// through: those about the tools, not about what is made of them.
var mixed = regexp.MustCompile(`^(cgset|compat-cgroup|join-by)`)

// older are scripts that run under the oldest kernel, which does differently what they are
// about.
var older = regexp.MustCompile(`^(nsrun-(time|clocks)|lesson-namespaces)$`)

var lanes = []lane{
	{"v2", "6.12", "root", true, ""},
	{"v2", "6.12", "user", true, ""},
	{"v1", "6.1", "root", false, ""},
	{"v1", "6.1", "user", false, ""},
	{"hybrid", "6.12", "root", false, "selinux"},
}

// elsewhere are the reasons to skip a test that a virtual machine has, and the machine
// around it has not: the test runs there.
var elsewhere = []string{
	"needs a root file system on a disk",
	"needs Linux 6.13",
	"needs cgroup v2", // in lane v1
}

func TestMain(m *testing.M) {
	status := m.Run()
	testkit.Cleanup()
	os.Exit(status)
}

// TestLayouts needs what scripts/vm needs.
func TestLayouts(t *testing.T) {
	testkit.NeedRoot(t)
	if runtime.GOARCH != "amd64" {
		t.Skip("needs an amd64 machine")
	}
	testkit.NeedExec(t, "qemu-system-x86_64", "busybox", "unxz", "apt-get")
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	testkit.Check(t)
	cli := filepath.Join(t.TempDir(), "cli.test")
	if out, err := exec.Command("go", "test", "-c", "-o", cli, "staves/test/cli").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, l := range lanes {
		t.Run(l.layout+"-"+l.user, func(t *testing.T) {
			t.Parallel()
			l.run(t, bin, cli)
		})
	}
}

func (l lane) run(t *testing.T, bin, cli string) {
	scripts := l.scripts(t)
	run := "^TestScripts$/^" + l.user + "$/^fused$/^(" + regexp.QuoteMeta(strings.Join(scripts, "|")) + ")$"
	more := ""
	if l.module != "" {
		more = "security=" + l.module
	}
	cmd := exec.Command(filepath.Join(testkit.Root(), "scripts/vm"), "-l", l.layout, "-k", l.kernel, "-a", more, "-m", "2048", "-t", "2400", "--",
		"env", "BIN="+bin, "STAVES_TEST_MODES=fused", "STAVES_TEST_SLOW=10",
		cli, "-test.v=test2json", "-test.timeout=40m", "-test.run="+strings.ReplaceAll(run, `\|`, "|"))
	cmd.Dir = filepath.Join(testkit.Root(), "test/cli")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	// If this process ends it ends too; the kernel looks at the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	stdout, err := cmd.Output()
	tests, parseErr := parse(bytes.NewReader(stdout))
	if parseErr != nil {
		t.Fatal(parseErr)
	}
	ended := map[string]bool{}
	for _, test := range tests {
		ended[test.name] = true
		t.Run(strings.TrimPrefix(test.name, "TestScripts/"+l.user+"/fused/"), test.again)
	}
	for _, script := range scripts {
		if name := "TestScripts/" + l.user + "/fused/" + script; !ended[name] {
			t.Errorf("%s did not run", name)
		}
	}
	if err != nil && !t.Failed() {
		t.Error(err)
	}
	if t.Failed() {
		t.Logf("at the end:\n%s\n%s", tail(stdout), tail(stderr.Bytes()))
	}
}

// scripts names those that run in the lane.
func (l lane) scripts(t *testing.T) []string {
	files, err := filepath.Glob(filepath.Join(testkit.Root(), "test/cli/testdata/*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	about := regexp.MustCompile(`(?i)cgset|cgroup|\b(cg(create|exec|delete|get|classify|xset|xget)|ls(cgroup|subsys))\b|box .*--(memory|cpus|pids)`)
	var names []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(f), ".txtar")
		switch {
		case l.all && os.Getenv(everything) == "all":
		case l.all && also.MatchString(name):
		case l.layout == "v1" && older.MatchString(name):
		case l.module != "" && strings.HasSuffix(name, "-"+l.module):
		case about.Match(b) && !besides.MatchString(name) && (l.layout != "hybrid" || mixed.MatchString(name)):
		default:
			continue
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		t.Fatal("no scripts")
	}
	return names
}

// A result is what a test in the virtual machine came to.
type result struct {
	name, action string // pass, fail, skip; "" if it did not end
	said         []string
	seconds      float64
}

// again has the same outcome as the test had.
func (r *result) again(t *testing.T) {
	t.Logf("%.1f s in the machine", r.seconds)
	switch r.action {
	case "pass":
	case "skip":
		why := "it does not say why"
		for _, line := range r.said {
			if _, text, ok := strings.Cut(line, ".go:"); ok {
				_, why, _ = strings.Cut(strings.TrimSpace(text), ": ")
			}
		}
		if slices.Contains(elsewhere, why) {
			why = "elsewhere: " + why
		}
		t.Skip(why)
	case "fail":
		t.Error("\n" + quoted(strings.Join(r.said, "")))
	default:
		t.Error("it did not end\n" + quoted(strings.Join(r.said, "")))
	}
}

// parse reads what a test binary writes with -test.v=test2json, and returns the tests
// that have no tests within them. (Without -t there are no durations.)
func parse(output io.Reader) ([]*result, error) {
	cmd := exec.Command("go", "tool", "test2json", "-t")
	cmd.Stdin = output
	b, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var tests []*result
	find := func(name string) *result {
		for _, r := range tests {
			if r.name == name {
				return r
			}
		}
		tests = append(tests, &result{name: name})
		return tests[len(tests)-1]
	}
	for events := json.NewDecoder(bytes.NewReader(b)); ; {
		var e struct {
			Action, Test, Output string
			Elapsed              float64
		}
		if err := events.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if e.Test == "" {
			continue
		}
		r := find(e.Test)
		switch e.Action {
		case "output":
			r.said = append(r.said, e.Output)
		case "pass", "fail", "skip":
			r.action, r.seconds = e.Action, e.Elapsed
		}
	}
	return slices.DeleteFunc(tests, func(r *result) bool {
		return slices.ContainsFunc(tests, func(s *result) bool { return strings.HasPrefix(s.name, r.name+"/") })
	}), nil
}

// tail is the end of a text, where it says why.
func tail(text []byte) string {
	return quoted(string(text[max(0, len(text)-2000):]))
}

// quoted has a mark before each line, so that what tests in the virtual machine say of
// themselves is not counted as this test binary's own.
func quoted(text string) string {
	text = strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\x16", "")
	return "> " + strings.ReplaceAll(text, "\n", "\n> ")
}
