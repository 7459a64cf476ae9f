package capdrop

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"staves/lib/testkit"
)

// These tests run lines of shell twice: with Debian's programs, and with ours under their
// names. Standard output and exit status must be the same. What goes wrong we say on
// standard error alone, where theirs use both; so of a line that fails, our output is the
// beginning of theirs.

// result is what came of a line.
type result struct {
	out, err string
	status   int
}

// results runs lines, each in a shell of its own and an empty directory where f is a file,
// with the programs of a directory first in PATH, as the user with the number uid.
func results(t *testing.T, lines []string, dir string, uid uint32) []result {
	t.Helper()
	top, err := os.MkdirTemp(bin, "work")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(top)
	var script strings.Builder
	own := func(path string) error {
		return errors.Join(os.Chmod(path, 0o755), os.Lchown(path, int(uid), -1))
	}
	err = own(top)
	for i, line := range lines {
		work := fmt.Sprintf("%s/%d", top, i)
		err = errors.Join(err, os.Mkdir(work, 0o755), os.WriteFile(work+"/f", []byte("#!/bin/true\n"), 0o755),
			os.Mkdir(work+"/d", 0o755), os.Symlink("f", work+"/l"), own(work), own(work+"/f"))
		fmt.Fprintf(&script, "( cd %[1]s\n%[2]s\n) >%[1]s.out 2>%[1]s.err; echo $? >%[1]s.status\n", work, line)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(uid, nil, "/bin/bash", "-c", script.String())
	cmd.Env = append(cmd.Env, "PATH="+dir+":"+os.Getenv("PATH")+":/usr/sbin:/sbin", "HOME=/root", "USER=root")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("run the lines: %v: %s", err, out)
	}
	var all []result
	for i := range lines {
		read := func(what string) string {
			text, err := os.ReadFile(fmt.Sprintf("%s/%d.%s", top, i, what))
			if err != nil {
				t.Error(err)
			}
			return strings.ReplaceAll(string(text), top, "")
		}
		r := result{out: read("out"), err: read("err")}
		if r.status, err = strconv.Atoi(strings.TrimSpace(read("status"))); err != nil {
			t.Error(err)
		}
		all = append(all, r)
	}
	return all
}

// needTheirs skips where a program to compare with is missing, and returns the directory
// of nothing but it.
func needTheirs(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && len(d) > 1; d = filepath.Dir(d) {
		_ = os.Chmod(d, 0o755)
	}
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("nothing to compare with: %v", err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// same holds our result against theirs.
func same(t *testing.T, line string, want, got result) {
	t.Helper()
	if got.status != want.status {
		t.Errorf("%s: status %d, theirs %d; ours says %q, theirs %q", line, got.status, want.status, got.err, want.err)
	}
	if want.status == 0 && got.out != want.out || want.status != 0 && !strings.HasPrefix(want.out, got.out) {
		t.Errorf("%s: output\n%s\ntheirs\n%s", line, got.out, want.out)
	}
	for l := range strings.Lines(got.err) {
		if !ourError.MatchString(l) {
			t.Errorf("%s: this is no error of ours: %s", line, l)
		}
	}
}

// ourError is how each line to standard error begins; bash speaks for itself.
var ourError = regexp.MustCompile("^(capsh|setpriv|getcap|setcap|getpcaps): |^(/bin/)?bash: |^Capabilities for ")

// rootOnly stands before lines in which an ordinary user's result differs on purpose:
// setpriv does not say that it cannot lower the bounding set, and takes a directory of PATH
// that may not be searched for one where the program is.
const rootOnly = "root: "

// table runs each line of a text, and compares.
func table(t *testing.T, theirs, text string, uid uint32) {
	t.Helper()
	lines := linesOf(text, uid)
	want, got := results(t, lines, theirs, uid), results(t, lines, compatDir, uid)
	for i, line := range lines {
		same(t, line, want[i], got[i])
	}
}

// linesOf are the lines of a text that a user runs.
func linesOf(text string, uid uint32) (lines []string) {
	for line := range strings.Lines(text) {
		line, root := strings.CutPrefix(strings.TrimSpace(line), rootOnly)
		if line != "" && (uid == 0 || !root) {
			lines = append(lines, line)
		}
	}
	return lines
}

const capshLines = `
capsh
capsh --print
capsh --current
capsh --quiet --print
capsh --mode
capsh --modes
capsh --decode=00000000a80425fb
capsh --decode=0x10 --decode=zz --decode= --decode=-1 --decode=a80425fbzz --decode=ffffffffffffffff
capsh --decode=7fffffffffffffffff
capsh --supports=cap_chown --supports=CAP_BPF --supports=40
capsh --supports=60
capsh --supports=xx
capsh --explain=zz
capsh --explain=41
capsh --explain=cap_chown | head -1
capsh --suggest=nothingatall
capsh --has-p=cap_chown
capsh --has-p=cap_nosuch
capsh --has-p=60
capsh --has-i=cap_chown
capsh --has-a=cap_chown
capsh --has-a=60
capsh --has-b=cap_chown
capsh --has-b=60
capsh --has-b=64
capsh --has-ambient
capsh --has-no-new-privs
capsh --no-new-privs --has-no-new-privs --print
capsh --is-uid=0 --is-gid=0
capsh --is-uid=5
capsh --is-gid=7
capsh --dropped=cap_chown
capsh --drop=cap_chown --dropped=cap_chown --current
capsh --dropped=60
capsh --inmode=HYBRID
capsh --inmode=PURE1E
capsh --mode=XX
capsh --mode=hybrid
capsh --mode=NOPRIV --print
capsh --mode=PURE1E --print
capsh --mode=PURE1E_INIT --print
capsh --inh=cap_chown --mode=PURE1E --print
capsh --mode=HYBRID --print
capsh --secbits=0x1 --print
capsh --secbits=0xffff
capsh --secbits=x
capsh --keep=1 --print
capsh --keep=2
capsh --keep=x
capsh --uid=abc
capsh --uid=0x10 --print
capsh --uid=010 --print
capsh --gid=5 --print
capsh --gid=5 --uid=5 --print
capsh --uid=5 --gid=5
capsh --keep=1 --uid=5 --print
capsh --cap-uid=5 --print
capsh --groups=root,5 --print
capsh --groups=0,nogroup --print
capsh --groups=nosuchgroup
capsh --groups= --print
capsh --user=nobody --print
capsh --user=nosuchuser
capsh --user=65534
capsh --user=nobody -- -c 'id; echo $HOME $USER'
capsh --noenv --user=nobody -- -c 'id; echo $HOME $USER'
capsh --user=nobody --caps=cap_setuid=p --cap-uid=0 --print
capsh --chroot=/nonexistent
capsh --chroot=d -- -c true
capsh --chroot=/ -- -c pwd
capsh --caps= --current
capsh --caps=cap_chown=ep --current
capsh --caps=cap_chown=e --current
capsh --caps=cap_setpcap=p --drop=cap_chown --current
capsh --caps=cap_setpcap=p --strict --drop=cap_chown
capsh --caps=cap_setpcap=p --strict --strict --drop=cap_chown --current
capsh --caps=zz
capsh --caps=60=p --current
capsh --caps= --drop=cap_chown
capsh --caps= --chroot=/
capsh --caps= --cap-uid=0
capsh --caps= --mode=PURE1E
capsh --caps= --iab=^cap_chown
capsh --caps= --secbits=1
capsh --caps= --user=nobody
capsh --caps= --noamb --delamb=cap_chown
capsh --caps='=p cap_setpcap-p' --inh=cap_setpcap
capsh --inh=cap_chown --current
capsh --inh=cap_chown,cap_kill --inh=none --current
capsh --inh=cap_chown --inh= --current
capsh --inh=zz
capsh --inh=all --current
capsh --drop=all --print
capsh --drop=cap_chown,,cap_kill --current
capsh --drop=zz
capsh --drop=chown
capsh --drop= --current
capsh --drop=60
capsh --addamb=cap_chown
capsh --addamb=all
capsh --addamb=zz
capsh --inh=cap_chown --addamb=cap_chown --print
capsh --inh=cap_chown,cap_kill --addamb=cap_chown,cap_kill --delamb=cap_chown --current
capsh --inh=cap_chown,cap_kill --addamb=cap_chown,cap_kill --noamb --current
capsh --inh=cap_chown --addamb=cap_chown --drop=cap_chown --current
capsh --drop=cap_chown --inh=cap_chown
capsh --iab=zz
capsh --iab='!^cap_chown,%cap_kill,cap_bpf' --print
capsh --iab='^cap_chown' --current
capsh --iab= --current
capsh --caps=cap_net_raw=eip --addamb=cap_net_raw --current
capsh --forkfor=0
capsh --forkfor=x
capsh --forkfor=1 --forkfor=1
capsh --forkfor=1 --killit=9
capsh --forkfor=1 --killit=15 --current
capsh --forkfor=1 --killit=0
capsh --killit=9
capsh bogus
capsh --bogus
capsh --print --bogus
capsh --help >/dev/null
capsh -h >/dev/null
capsh --license >/dev/null
capsh -- -c 'echo $0 $*' a b
capsh -- -c 'exit 7'
capsh -- -c 'kill -9 $$'
echo 'echo $1 script' | capsh -- -e
echo 'echo $1 script' | capsh -- -s one
capsh --shell=/bin/echo -- a b
capsh --shell=/nonexistent -- a b
capsh --shell=/dev/null -- a b
capsh -+ -c 'exit 3'
capsh -+ -c 'kill -9 $$'
capsh --shell=/nonexistent -+ -c x
capsh =+ --decode=1
capsh == --decode=1
capsh == --bogus
capsh =+ --bogus
capsh == == == -- -c 'echo $0 is $1' a b
capsh -- f
capsh --caps= -- -c 'grep Cap /proc/self/status'
capsh --secbits=1 --caps= -- -c 'grep Cap /proc/self/status'
capsh --inh=cap_chown --addamb=cap_chown --keep=1 --uid=5 -- -c 'grep Cap /proc/self/status'
capsh --keep=1 --user=nobody --inh=cap_chown --addamb=cap_chown -- -c 'grep Cap /proc/self/status'
capsh --user=nobody --addamb=cap_chown -- -c 'grep Cap /proc/self/status'
capsh --drop=cap_chown -- -c 'grep -E "Cap|NoNew" /proc/self/status; ulimit -Sn; umask; trap'
ulimit -Sn 256; trap '' TERM USR1 PIPE; capsh --print >/dev/null; capsh -- -c 'ulimit -Sn; grep Sig[IB] /proc/self/status'
ulimit -Sn 256; trap '' TERM USR1 PIPE; capsh -+ -c 'ulimit -Sn; grep Sig[IB] /proc/self/status'
`

func TestCapshIsTheirs(t *testing.T) {
	needRoot(t)
	table(t, needTheirs(t, "capsh"), capshLines, 0)
}

// As an ordinary user most of the lines fail, with them and with us.
func TestCapshIsTheirsForUsers(t *testing.T) {
	needRoot(t)
	table(t, needTheirs(t, "capsh"), capshLines, 1000)
}

const setprivLines = `
setpriv
setpriv --nosuch
setpriv -d
setpriv --dump
setpriv -dd
setpriv -d --dump -d
setpriv -d true
setpriv --dump --nnp
setpriv --list-caps
setpriv --list-caps true
root: setpriv nosuchprogram
setpriv ./nosuchprogram
setpriv /etc/passwd
root: setpriv d
setpriv true
setpriv -- echo --dump
setpriv echo --dump
setpriv --reuid
setpriv --reuid=nosuch true
setpriv --reuid= true
setpriv --reuid=1000 --ruid=5 true
setpriv --euid=1000 --reuid=5 true
setpriv --rgid=1000 --regid=5 --keep-groups true
setpriv --regid=5 true
setpriv --rgid=5 true
setpriv --regid=5 --clear-groups --keep-groups true
setpriv --clear-groups --groups 5 true
setpriv --clear-groups --clear-groups true
setpriv --init-groups true
setpriv --reuid 1000 --init-groups id
setpriv --reuid nobody --init-groups id
setpriv --reuid nobody id
setpriv --reuid=nobody --regid=nogroup --clear-groups id
setpriv --reuid 1 --regid 1 --clear-groups -- grep -E '^(Uid|Gid|Groups|Cap|NoNew)' /proc/self/status
setpriv --reu 1 --reg 1 --cl -- grep -E '^(Uid|Gid|Groups|Cap|NoNew)' /proc/self/status
setpriv --euid nobody grep -E '^(Uid|Gid|Groups|Cap)' /proc/self/status
setpriv --ruid nobody grep -E '^(Uid|Gid|Groups|Cap)' /proc/self/status
setpriv --rgid 5 --keep-groups grep -E '^(Uid|Gid|Groups|Cap)' /proc/self/status
setpriv --egid 5 --keep-groups grep -E '^(Uid|Gid|Groups|Cap)' /proc/self/status
setpriv --groups 5,root,adm id
setpriv --groups zz id
setpriv --groups '' id
setpriv --inh-caps=+net_raw grep Cap /proc/self/status
setpriv --inh-caps=+cap_net_raw true
setpriv --inh-caps=net_raw true
setpriv --inh-caps= true
setpriv --inh-caps=+NET_RAW,-chown grep Cap /proc/self/status
setpriv --inh-caps=+cap_13 grep Cap /proc/self/status
setpriv --inh-caps=+13 true
setpriv --inh-caps=+cap_63 true
setpriv --inh-caps=+nosuch true
setpriv --inh-caps=+chown --inh-caps=+chown true
setpriv --inh-caps=+net_raw --ambient-caps=+net_raw grep Cap /proc/self/status
setpriv --inh-caps=+net_raw --ambient-caps=+net_raw setpriv --inh-caps=-net_raw grep Cap /proc/self/status
setpriv --inh-caps=+net_raw,+kill --ambient-caps=+net_raw,+kill setpriv --ambient-caps=-all setpriv --dump
setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=+net_raw --ambient-caps=+net_raw -- setpriv -dd
setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=+net_raw --nnp -- setpriv -dd
setpriv --inh-caps=+net_raw --ambient-caps=+net_raw setpriv --reuid 1000 --regid 1000 --clear-groups -- setpriv -dd
root: setpriv --bounding-set=-all grep Cap /proc/self/status
root: setpriv --bounding-set=-all,+net_raw grep Cap /proc/self/status
setpriv --bounding-set=-net_raw --inh-caps=+net_raw grep Cap /proc/self/status
root: setpriv --bounding-set=-net_raw setpriv --bounding-set=-chown setpriv --dump
setpriv --securebits=+noroot setpriv --dump
setpriv --securebits=+noroot,+noroot_locked setpriv --securebits=-noroot true
setpriv --securebits=+noroot setpriv --securebits=-all setpriv --dump
setpriv --securebits=noroot true
setpriv --securebits=+nosuch true
setpriv --securebits=+all true
setpriv --securebits=-noroot,+no_setuid_fixup_locked,+keep_caps_locked setpriv --dump
setpriv --securebits=+keep_caps setpriv -d
setpriv --securebits=+no_setuid_fixup setpriv --reuid=1000 setpriv -dd
setpriv --pdeathsig=TERM setpriv --dump
setpriv --pdeathsig=usr1 setpriv --dump
setpriv --pdeathsig=TERM setpriv --pdeathsig=keep setpriv --dump
setpriv --pdeathsig=TERM setpriv --pdeathsig=clear setpriv --dump
setpriv --pdeathsig=TERM setpriv --pdeathsig=keep --reuid=1000 setpriv --dump
setpriv --pdeathsig=TERM setpriv --pdeathsig=keep --regid=1000 --clear-groups setpriv --dump
setpriv --pdeathsig=TERM setpriv --reuid=1000 setpriv --dump
setpriv --pdeathsig=TERM --reuid=1000 setpriv --dump
setpriv --pdeathsig=nosuch true
setpriv --selinux-label=x true
setpriv --apparmor-profile=x true
setpriv --reset-env env
TERM=dumb setpriv --reset-env --reuid=nobody --regid=nogroup --clear-groups env
setpriv --reset-env env -u PATH /usr/bin/env
setpriv --reset-env --reuid=12345 --clear-groups env
setpriv --reset-env --ruid=1 --clear-groups env
setpriv --reset-env --euid=1 --clear-groups env
setpriv --reset-env --ruid=12345 --euid=1 --clear-groups env
setpriv --re=5 true
setpriv --r=5 true
setpriv --no-new-privs --nnp true
setpriv --nnp setpriv --dump
setpriv --version >/dev/null
setpriv --help >/dev/null
setpriv -h >/dev/null
setpriv sh -c 'exit 9'
setpriv sh -c 'kill -TERM $$'
ulimit -Sn 256; trap '' TERM USR1 PIPE; setpriv --nnp bash -c 'ulimit -Sn; grep Sig[IB] /proc/self/status'
`

func TestSetprivIsTheirs(t *testing.T) {
	needRoot(t)
	theirs := needTheirs(t, "setpriv")
	table(t, theirs, setprivLines, 0)
	table(t, theirs, setprivLines, 1000)
}

// Where setpriv runs the program without what was asked for, ours ends with 127; and what
// a file with capabilities could have under no_new_privs, it cannot have with ours.
func TestSetprivIsBetter(t *testing.T) {
	needRoot(t)
	for words, want := range map[string]string{
		"--ambient-caps=+net_raw": "setpriv: --ambient-caps: make cap_net_raw ambient: it is not inheritable: operation not permitted\n" +
			"setpriv: hint: add --inh-caps=+net_raw\n",
		"--ambient-caps=+net_raw --reuid=1000 --regid=1000 --clear-groups": "setpriv: --ambient-caps: make cap_net_raw ambient: it is not inheritable: operation not permitted\n" +
			"setpriv: hint: add --inh-caps=+net_raw\n",
	} {
		cmd := command(0, nil, append([]string{compatDir + "/setpriv"}, append(strings.Fields(words), "true")...)...)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 127 || string(out) != want {
			t.Errorf("%s: %d: %s", words, code, out)
		}
	}
	cmd := command(0, nil, compatDir+"/setpriv", "--ptracer", "any", "true")
	out, _ := cmd.CombinedOutput()
	want := "" // Yama allows it
	if _, err := os.Stat("/proc/sys/kernel/yama"); err != nil {
		want = "setpriv: allow a tracer: invalid argument\nsetpriv: hint: who may trace whom is for the security module Yama"
	}
	if !strings.HasPrefix(string(out), want) || want == "" && len(out) > 0 {
		t.Errorf("%s, want %s", out, want)
	}
	grep := copyFile(t, "/bin/grep")
	setFileCaps(t, grep, 1<<10, false)
	cmd = command(0, nil, compatDir+"/setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--nnp")
	if got := status(t, cmd, grep); !strings.Contains(got, " 0 0 0 ") {
		t.Errorf("a file with capabilities under no_new_privs: %s", got)
	}
}

func TestGetcapIsTheirs(t *testing.T) {
	needRoot(t)
	theirs := needTheirs(t, "setcap", "getcap", "getpcaps")
	lines := `
setcap cap_chown=ep f; getcap f; getcap -v f l d; getcap -r .
setcap cap_chown=e f; getcap f
setcap cap_chown=p f; setcap 'cap_chown=ep cap_kill+p' f; echo $?; getcap f
setcap 'cap_chown=p cap_kill+e' f; echo $?; getcap f
setcap cap_chown,50=p f; getcap f
setcap = f; getcap f
setcap cap_chown=p f; setcap -r f; getcap f; getcap -v f; setcap -r f
setcap cap_chown=ep l
setcap cap_chown=ep d
setcap cap_chown=ep nosuch
getcap nosuch f
setcap -n 1000 cap_chown=p f; getcap f; getcap -n f; setcap -v cap_chown=p f; setcap -v -n 1000 cap_chown=p f
setcap cap_chown=p f; setcap -q -v cap_kill=ep f
setcap cap_chown=p f; setcap -v cap_kill=ei f
setcap cap_chown=p f; setcap -v -r f
setcap -v -r f; setcap -v = f
setcap bogus f
setcap
setcap cap_chown=p
setcap -n 0 cap_chown=p f
setcap -n x cap_chown=p f
cp f g; setcap cap_chown=p f cap_kill=p g; getcap f g; getcap g f
echo cap_kill=ep | setcap -q - f; getcap f
printf 'cap_kill=p\n\nfoo' | setcap -q - f; getcap f
setcap cap_chown=i f; getcap -- f; getcap f -n; getcap -nv f
getcap
getcap -x f
getcap -h 2>/dev/null >&2
getpcaps
getpcaps 0
getpcaps 1 0
getpcaps 0 99999999 0
getpcaps --verbose 0
getpcaps --iab 1
getpcaps --legacy 0
getpcaps --verbose --iab 1
getpcaps -1
getpcaps 1x
getpcaps --bogus 0
getpcaps 0x1
getpcaps +0 ' 0'
getpcaps 99999999999
`
	table(t, theirs, lines, 0)
	table(t, theirs, lines, 1000)
}

// compatDir holds links by which our tools stand in for other programs.
var compatDir string

func linkCompat() error {
	compatDir = filepath.Join(bin, "compat")
	out, err := exec.Command(testkit.Root()+"/scripts/compat", compatDir, "../").CombinedOutput()
	if err != nil {
		return errors.New(string(out))
	}
	return nil
}
