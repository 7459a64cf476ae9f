package probe

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"staves/lib/testkit"
)

// in runs this test's binary again, started by a command and its words.
func in(t *testing.T, words ...string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(words[0], append(words[1:], exe, "-test.run=^TestAnswer$", "-test.v")...)
	cmd.Env = append(os.Environ(), "STAVES_TEST_ANSWER=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", words, err, out)
	}
	_, answer, _ := strings.Cut(string(out), "answer: ")
	answer, _, _ = strings.Cut(answer, "\n")
	return answer
}

func TestAnswer(*testing.T) {
	if os.Getenv("STAVES_TEST_ANSWER") != "" {
		yes := map[bool]string{true: "yes", false: "no"}
		println("answer:", yes[InitialUserNamespace()], yes[InitialPidNamespace()], yes[Capable(unix.CAP_SYS_ADMIN)])
	}
}

func TestWhere(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedExec(t, "unshare", "setpriv", "env")
	user, err1 := os.Readlink("/proc/self/ns/user")
	pid, err2 := os.Readlink("/proc/self/ns/pid")
	if err1 != nil || err2 != nil || user != "user:[4026531837]" || pid != "pid:[4026531836]" {
		t.Skip("needs the machine's own namespaces")
	}
	if err := exec.Command("unshare", "-Ur", "true").Run(); err != nil {
		t.Skip("needs user namespaces")
	}
	for _, c := range []struct{ how, want string }{
		{"env", "yes yes yes"},
		{"unshare -Ur", "no yes yes"},
		{"unshare -U --", "no yes no"}, // no id is mapped, so exec takes the capabilities
		{"unshare -pf", "yes no yes"},
		{"unshare -pf --mount-proc", "yes no yes"},
		{"unshare -m sh -c umount\x00-l\x00/proc;exec\x00\"$@\" sh", "no yes yes"},
		{"setpriv --bounding-set -sys_admin", "yes yes no"},
	} {
		var words []string
		for _, w := range strings.Fields(c.how) {
			words = append(words, strings.ReplaceAll(w, "\x00", " "))
		}
		if got := in(t, words...); got != c.want {
			t.Errorf("%s: %q, want %q", c.how, got, c.want)
		}
	}
}

func TestRelease(t *testing.T) {
	for _, c := range []struct {
		text         string
		major, minor int
		want         bool
	}{
		{"6.1.0-56-cloud-amd64", 6, 1, true},
		{"6.1.0-56-cloud-amd64", 6, 8, false},
		{"6.12.117+deb12-cloud-amd64", 6, 8, true},
		{"6.18.44-fc-v669", 6, 8, true},
		{"10.0", 6, 8, true},
		{"5.15", 6, 0, false},
		{"7", 6, 8, true},
		{"", 6, 8, false},
		{"none", 6, 8, false},
	} {
		if got := release(c.text, c.major, c.minor); got != c.want {
			t.Errorf("%q at least %d.%d: %v", c.text, c.major, c.minor, got)
		}
	}
}
