package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"staves/lib/testkit"
)

// unshareLines are run with util-linux's programs and with ours under their names: standard
// output and exit status must be the same. nsenter without a namespace to enter is left out: it runs a shell up to 2.38
// and fails in newer ones, as ours does.
const unshareLines = `
unshare true
unshare false
unshare -m sh -c 'exit 7'
unshare --nosuch
unshare nosuchprogram
unshare /etc/passwd
unshare -r id -u
unshare -r cat /proc/self/uid_map
unshare -r cat /proc/self/setgroups
unshare -c id -u
unshare --map-user=5 --map-group=6 id
unshare --map-user=nosuchuser true
unshare -U id -u
unshare --setgroups=allow -r true
unshare --setgroups=nosuch true
unshare -fp sh -c 'echo $$'
unshare -rfp --mount-proc ps -e -o pid,comm
unshare -rn ls /sys/class/net/nosuch
unshare -rT --boottime 5 --monotonic 7 cat /proc/self/timens_offsets
unshare --boottime 5 true
unshare -ru sh -c 'hostname x; hostname'
unshare -rm -R / -w /usr pwd
unshare -rm -w /nosuch pwd
unshare -rm --propagation shared findmnt -no PROPAGATION /
unshare -rm findmnt -no PROPAGATION /
unshare -rm --propagation nosuch true
unshare -r --keep-caps grep Cap /proc/self/status
unshare -rf --kill-child sh -c 'exit 3'
unshare -f sh -c 'kill -TERM $PPID; kill -INT $PPID; echo on; exit 4'
unshare -f sh -c 'kill -HUP $PPID; sleep 0.2; echo on'
unshare -f sh -c 'kill -USR1 $PPID; sleep 0.2; echo on'
sh -c 'trap "" HUP; unshare -f sh -c "kill -HUP \$PPID; exit 5"'
unshare -rf --kill-child sh -c 'kill -HUP $PPID; sleep 5; echo on'
unshare --version >/dev/null
unshare --help >/dev/null
unshare -r nsenter -n/proc/self/ns/net true
nsenter -m true
nsenter -t 999999999 -n true
nsenter --net=/nosuch true
nsenter --nosuch
nsenter --version >/dev/null
`

func TestUnshareIsTheirs(t *testing.T) {
	if os.Getenv(stageVar) != "" {
		return // run by the process that started this one
	}
	if os.Geteuid() == 0 {
		t.Run("root", func(t *testing.T) { unshareIsTheirs(t, func(cmd *exec.Cmd) *exec.Cmd { return cmd }) })
	}
	t.Run("user", func(t *testing.T) { unshareIsTheirs(t, testkit.AsUser) })
}

// unshareIsTheirs compares for whoever as makes a command one of.
func unshareIsTheirs(t *testing.T, as func(*exec.Cmd) *exec.Cmd) {
	theirs, err := exec.LookPath("unshare")
	if err != nil {
		t.Skipf("nothing to compare with: %v", err)
	}
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	ours := t.TempDir()
	for _, dir := range []string{ours, filepath.Dir(ours)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"unshare", "nsenter"} {
		if err := os.Symlink(filepath.Join(bin, "nsrun"), filepath.Join(ours, name)); err != nil {
			t.Fatal(err)
		}
	}
	run := func(dir, line string) (string, int) {
		cmd := as(exec.Command("/bin/sh", "-c", line))
		cmd.Env = append(os.Environ(), "PATH="+dir+":/usr/sbin:/usr/bin:/sbin:/bin") // of others a tool may not be allowed to look into one
		out, err := cmd.Output()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, _ := run(ours, "readlink $(command -v unshare)"); !strings.HasSuffix(out, "/nsrun\n") {
		t.Fatalf("these are not our programs: %s", out)
	}
	for line := range strings.Lines(strings.TrimSpace(unshareLines)) {
		line = strings.TrimSpace(line)
		out, status := run(filepath.Dir(theirs), line)
		ourOut, ourStatus := run(ours, line)
		if out != ourOut || status != ourStatus {
			t.Errorf("%s: status %d, output %q; theirs %d, %q", line, ourStatus, ourOut, status, out)
		}
	}
}
