package capdrop

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Lines that tutorials and scripts have, with $capsh where they say capsh. $R is a
// directory tree with a bash.
const tutorialLines = `
ROOTFS=$R CMD='/bin/bash -c pwd'; export CMD; exec $capsh --chroot=$ROOTFS --drop=cap_sys_chroot -- -c 'exec $CMD'
$capsh --chroot=$R --drop=cap_sys_chroot -- -c 'echo $0: $BASH_VERSINFO; while read -r l; do case $l in CapBnd*) echo $l;; esac; done </proc/self/status'
S=cap_chown D=cap_sys_admin,cap_mknod U=0 G=0; echo 'pwd; echo $UID' | $capsh --inh="$S" --drop="$D" --uid="$U" --gid="$G" --chroot="$R" -- -c "/bin/bash"
S=cap_chown D=cap_sys_admin,cap_mknod U=1000 G=1000; echo 'pwd; echo $UID' | $capsh --inh="$S" --drop="$D" --uid="$U" --gid="$G" --chroot="$R" -- -c "/bin/bash"
S=cap_chown D=cap_sys_admin,cap_mknod U=1000 G=1000; echo 'pwd; echo $UID' | $capsh --inh="$S" --drop="$D" --gid="$G" --chroot="$R" --uid="$U" -- -c "/bin/bash"
USER=nobody; $capsh --caps="cap_net_raw+ip cap_setpcap,cap_setuid,cap_setgid+ep" --keep=1 --user=$USER --addamb=cap_net_raw -- -c 'id && grep Cap /proc/self/status; echo $HOME'
$capsh --inh=cap_sys_ptrace --addamb=cap_sys_ptrace --shell=/bin/grep -- Cap /proc/self/status
$capsh --caps= -- --login -c 'exec "$@"' bash echo one 'two words'
ARG=--drop=cap_setfcap; set -- -u; setarch linux32 $capsh $ARG "--chroot=$R/" -- -e "$@" <<< 'echo $-; pwd; false; echo not reached'
set -- echo a 'b c'; $capsh --drop=cap_chown -- -c 'exec "$@"' -- "$@"
set -- echo a 'b c'; $capsh --drop=cap_chown -- -c 'exec "$@"' _ "$@"
$capsh --user=nobody --addamb=cap_net_raw -- -c 'echo not reached'
$capsh --decode=00000000a80425fb
$capsh --print | sed -n 's/^Current: //p'
$capsh --print | grep Current: | cut -d' ' -f3
$capsh --drop=all -- -c 'grep Cap /proc/self/status'
$capsh --keep=1 --user=nobody --inh=cap_net_raw --addamb=cap_net_raw -- -c 'grep Cap /proc/self/status'
$capsh --secbits=1 --caps= -- -c 'grep Cap /proc/self/status'
$capsh --drop=cap_net_raw -- -c 'exit 42'
echo 'echo stdin $*' | $capsh --drop=cap_net_raw --
$capsh --drop=cap_net_raw -- -c nosuchprogram
$capsh --drop=cap_net_raw -+ -c 'exit 42'
$capsh --drop=cap_net_raw == --print | grep -v ^Guessed
`

// The lines run as they stand with our capsh, and with our own name in its place. There,
// what cannot be set up is our failure: 125.
func TestTutorialLines(t *testing.T) {
	needRoot(t)
	theirs := needTheirs(t, "capsh")
	root := bin + "/tutorial"
	mkroot := `set -e; mkdir -p $R/proc; for f in /bin/bash $(ldd /bin/bash | grep -o '/[^ ]*'); do mkdir -p $R${f%/*}; cp -L $f $R$f; done`
	if out, err := command(0, nil, "/bin/bash", "-c", "R="+root+"; "+mkroot).CombinedOutput(); err != nil {
		t.Fatalf("make a root: %v: %s", err, out)
	}
	t.Setenv("R", root)
	lines := linesOf(tutorialLines, 0)
	called := func(name string) []string {
		var named []string
		for _, line := range lines {
			named = append(named, "capsh="+name+"\n"+line)
		}
		return named
	}
	want, linked, own := results(t, called("capsh"), theirs, 0), results(t, called("capsh"), compatDir, 0), results(t, called("capdrop"), bin, 0)
	for i, line := range lines {
		same(t, line, want[i], linked[i])
		if status := own[i].status; status != want[i].status && (want[i].status != 1 || status != 125) {
			t.Errorf("%s: status %d, theirs %d; ours says %q", line, status, want[i].status, own[i].err)
		}
		if own[i].out != want[i].out {
			t.Errorf("%s: under our own name\n%s\ntheirs\n%s", line, own[i].out, want[i].out)
		}
	}
}

// An ordinary user's copy of ping wants CAP_NET_RAW: from the file, or ambient.
func TestPing(t *testing.T) {
	needRoot(t)
	ping := copyFile(t, "/proc/self/exe")
	try := func(want string, uid uint32, words ...string) {
		t.Helper()
		cmd := command(uid, nil, append(words, ping)...)
		cmd.Env = append(cmd.Env, "STAVES_TEST_RAW_SOCKET=1")
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%q: %v: %s, want %s", words, err, got, want)
		}
	}
	setcap := func(words ...string) {
		t.Helper()
		cmd := command(0, nil, append([]string{compatDir + "/setcap"}, append(words, ping)...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("setcap %s: %v: %s", words, err, out)
		}
	}
	const env = "/usr/bin/env"
	try("false operation not permitted", 1000, env)
	setcap("CAP_NET_RAW+ep")
	try("true", 1000, env)
	if out, err := command(1000, nil, compatDir+"/getcap", ping).Output(); err != nil || string(out) != ping+" cap_net_raw=ep\n" {
		t.Errorf("getcap: %s, %v", out, err)
	}
	setcap("-r")
	try("false", 1000, env)

	if err := os.Symlink("capdrop", bin+"/capsh"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"capsh", "capdrop"} {
		try("true", 0, name, "--caps=cap_net_raw+ip cap_setpcap,cap_setuid,cap_setgid+ep", "--keep=1", "--user=nobody", "--addamb=cap_net_raw", "--", "-c", `exec "$0"`)
		try("false", 0, name, "--user=nobody", "--", "-c", `exec "$0"`)
	}
	try("true", 0, "capdrop", "--keep", "net_raw", "--user", "1000", "--")
	try("false", 0, "capdrop", "--user", "1000", "--")
	status := command(0, nil, "capdrop", "--caps=cap_net_raw+ip cap_setpcap,cap_setuid,cap_setgid+ep", "--keep=1", "--user=nobody", "--addamb=cap_net_raw", "--", "-c", "grep Cap /proc/self/status")
	out, err := status.Output()
	for _, set := range []string{"Inh", "Prm", "Eff", "Amb"} {
		if want := fmt.Sprintf("Cap%s:\t0000000000002000\n", set); !strings.Contains(string(out), want) {
			t.Errorf("%s, %v, want %s", out, err, want)
		}
	}
}
