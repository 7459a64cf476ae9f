// Package changes runs a chain stage by stage, looks at the program at its end each time,
// and holds docs/what-changes.md against what it saw. 'go test ./test/changes -update'
// writes that page's tables anew.
package changes

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"staves/lib/testkit"
)

var update = flag.Bool("update", false, "write the tables of docs/what-changes.md")

const (
	page  = "../../docs/what-changes.md"
	begin = "<!-- Written by 'go test ./test/changes -update'. -->\n"
	end   = "<!-- End of what is written. -->\n"
)

// chain are the stages, each with the words that it has on the page.
var chain = [][]string{
	{"cgset", "--memory", "64M", "--"},
	{"netbr", "--"},
	{"nsrun", "-mpuiC", "--hostname", "barrel", "--"},
	{"overlay", "--"},
	{"mkdev", "--"},
	{"pivot", "--"},
	{"capdrop", "--seccomp", "default", "--"},
}

// probe tells what a process is like, in lines NAME=VALUE.
const probe = `
for ns in user mnt pid net uts ipc cgroup time; do echo "$ns=$(readlink /proc/self/ns/$ns)"; done
echo "groups=$(cat /proc/self/cgroup)" | tr '\n' ' '; echo
echo "self=$$"
if [ -d /proc/$HOST ]; then echo processes=all; else echo "processes=$(echo /proc/[0-9]* | wc -w)"; fi
echo "links=$(ip -o link | cut -d' ' -f2 | tr -d : | cut -d@ -f1 | tr '\n' ' ')"
echo "hostname=$(hostname)"
echo "root=$(stat -c %d:%i /)"
echo "view=$STAVES_ROOT"
echo "devices=$(find /dev -type c -o -type b | wc -l)"
if [ "$STAVES_ROOT" ] && [ -e "$STAVES_ROOT/dev/pts/ptmx" ]; then echo dev=yes; fi
if [ -e /proc/self/fd/9 ]; then echo descriptor=open; else echo descriptor=closed; fi
sed -n 's/^\(CapEff\|CapBnd\|NoNewPrivs\|Seccomp\):[[:space:]]*/\1=/p' /proc/self/status
`

func TestMain(m *testing.M) {
	status := m.Run()
	testkit.Cleanup()
	os.Exit(status)
}

// look runs probe at the end of words, and returns what it tells.
func look(t *testing.T, bin string, words []string) map[string]string {
	t.Helper()
	words = append(append([]string{"env"}, words...), "sh", "-c", probe) // PATH is env's to look through
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), fmt.Sprintf("HOST=%d", os.Getpid()))
	root, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	// Descriptor 9 is one of the host's directories, as a careless caller leaves it open.
	cmd.ExtraFiles = make([]*os.File, 7)
	cmd.ExtraFiles[6] = root
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		t.Fatalf("%s: %v", strings.Join(words[1:len(words)-3], " "), err)
	}
	facts := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		facts[name] = strings.TrimSpace(value)
	}
	return facts
}

// tell says in words that are the same on every machine what a process is like, where first
// is one at which nothing has been done.
func tell(first, now map[string]string) [][2]string {
	same := func(name, yes, no string) string {
		if now[name] == first[name] {
			return yes
		}
		return no
	}
	var all [][2]string
	add := func(what, is string) { all = append(all, [2]string{what, is}) }

	group := same("groups", "the caller's", "its own")
	if now["cgroup"] != first["cgroup"] {
		group += ", which it sees as /"
	}
	add("control group", group)
	for _, ns := range []string{"user", "mnt", "pid", "net", "uts", "ipc", "cgroup", "time"} {
		add(ns+" namespace", same(ns, "the caller's", "its own"))
	}
	if now["pid"] == first["pid"] {
		add("its pid", "one of the machine's")
	} else {
		add("its pid", now["self"])
	}
	if now["processes"] == "all" {
		add("processes in /proc", "all of the machine's")
	} else {
		add("processes in /proc", "those of its pid namespace alone")
	}
	add("network links", now["links"])
	add("host name", same("hostname", "the machine's", now["hostname"]))
	add("a root that waits for pivot", map[bool]string{true: "none", false: "a view of /, copy on write"}[now["view"] == ""])
	add("a /dev in that root", map[bool]string{true: "none", false: "one of mkdev's"}[now["dev"] == ""])
	add("root directory", same("root", "the machine's", "the view"))
	add("devices in /dev", same("devices", "the machine's", now["devices"]))
	add("descriptor 9, the caller's /", now["descriptor"])
	add("capabilities", same("CapEff", "all of the caller's", now["CapEff"]))
	add("most capabilities that it can get", same("CapBnd", "all of the caller's", now["CapBnd"]))
	add("no_new_privs", now["NoNewPrivs"])
	add("filter of system calls", map[bool]string{true: "none", false: "one"}[now["Seccomp"] == first["Seccomp"]])
	return all
}

// tables are the page's: for each stage what it changed, and what was before.
func tables(t *testing.T, bin string) string {
	t.Helper()
	first := look(t, bin, nil)
	before := tell(first, first)
	var b strings.Builder
	var words []string
	for _, stage := range chain {
		words = append(words, stage...)
		now := tell(first, look(t, bin, words))
		fmt.Fprintf(&b, "\n## %s\n\n| | before | after |\n|---|---|---|\n", strings.TrimSuffix(strings.Join(stage, " "), " --"))
		for i, fact := range now {
			if fact != before[i] {
				fmt.Fprintf(&b, "| %s | %s | %s |\n", fact[0], before[i][1], fact[1])
			}
		}
		before = now
	}
	b.WriteString("\n## The program at the end\n\n| | |\n|---|---|\n")
	for _, fact := range before {
		fmt.Fprintf(&b, "| %s | %s |\n", fact[0], fact[1])
	}
	return b.String() + "\n"
}

func TestWhatChanges(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedExec(t, "ip", "hostname", "find")
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	testkit.Check(t)
	// netbr makes a bridge, which is not to be in the machine's own network. The thread and
	// its namespace end with the test.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	old, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("no marks for the tables")
	}
	now := tables(t, bin)
	if out, err := exec.Command(bin+"/netbr", "--down", "staves0").CombinedOutput(); err != nil {
		t.Errorf("netbr --down: %v: %s", err, out)
	}
	switch {
	case old == now:
	case *update:
		if err := os.WriteFile(page, []byte(head+begin+now+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the stages change\n%s\nnot\n%s\n(go test ./test/changes -update)", now, old)
	}
}
