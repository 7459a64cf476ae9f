package capdrop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// These tests run the commands as a user does, and look at what the kernel says of
// the payload. bin holds the commands, and copies of this test binary.
var bin string

func TestMain(m *testing.M) {
	if os.Getenv("STAVES_TEST_RAW_SOCKET") != "" { // we are a payload
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
		fmt.Println(fd >= 0, err)
		os.Exit(0)
	}
	if os.Getenv("STAVES_TEST_SECUREBITS") != "" { // we are a caller
		const noCapAmbientRaise = 1 << 6
		err := unix.Prctl(unix.PR_SET_SECUREBITS, noCapAmbientRaise, 0, 0, 0)
		if err == nil {
			err = syscall.Exec(os.Args[1], os.Args[1:], nil)
		}
		panic(err)
	}
	if os.Getenv("STAVES_TEST_DENY_SETGROUPS") != "" { // a caller, too
		ids := []syscall.SysProcIDMap{{Size: 70000}}
		cmd := exec.Command(os.Args[1], os.Args[2:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
		_ = cmd.Run()
		os.Exit(cmd.ProcessState.ExitCode())
	}
	os.Exit(func() int {
		var err error
		if bin, err = os.MkdirTemp("", "capdrop"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(bin)
		if err := os.Chmod(bin, 0o755); err != nil {
			panic(err)
		}
		build := exec.Command("go", "build", "-ldflags", "-E staves/lib/entry.start", "-o", bin, "staves/cmd/capdrop", "staves/cmd/nsrun")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build the commands: %v\n%s", err, out)
			return 1
		}
		if err := linkCompat(); err != nil {
			fmt.Fprintln(os.Stderr, "link the commands:", err)
			return 1
		}
		return m.Run()
	}())
}

// needRoot skips a test that an ordinary user cannot run.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: needs capabilities to give up")
	}
}

// command makes a command of words, the first one of bin if it has no slash, that an
// ordinary user with these groups runs if uid is not 0.
func command(uid uint32, groups []uint32, words ...string) *exec.Cmd {
	name := words[0]
	if !strings.Contains(name, "/") {
		if path := filepath.Join(bin, name); exec.Command("test", "-e", path).Run() == nil {
			name = path
		}
	}
	cmd := exec.Command(name, words[1:]...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "STAVES_TEST_RAW_SOCKET=")
	if os.Geteuid() == 0 && uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: groups}}
	}
	return cmd
}

const statusLines = "^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs):"

// status runs words and then a program that prints its own status, one line for all
// that a stage changes: real ids, groups, inheritable permitted effective bounding
// ambient, no_new_privs.
func status(t *testing.T, cmd *exec.Cmd, program string) string {
	t.Helper()
	cmd.Args = append(cmd.Args, program, "-E", statusLines, "/proc/self/status")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Errorf("%q: %v: %s", cmd.Args[1:], err, exit.Stderr)
		}
		return ""
	}
	field := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(line, ":")
		words := strings.Fields(value)
		switch name {
		case "Uid", "Gid":
			for _, w := range words {
				if w != words[0] {
					t.Errorf("%s differ: %s", name, words)
				}
			}
			field[name] = words[0]
		case "Groups":
			field[name] = strings.Join(words, ",")
		default:
			field[name] = strings.TrimLeft(words[0], "0")
			if field[name] == "" {
				field[name] = "0"
			}
		}
	}
	return fmt.Sprintf("%s:%s [%s] %s %s %s %s %s nnp=%s", field["Uid"], field["Gid"], field["Groups"],
		field["CapInh"], field["CapPrm"], field["CapEff"], field["CapBnd"], field["CapAmb"], field["NoNewPrivs"])
}

func TestPayload(t *testing.T) {
	needRoot(t)
	for words, want := range map[string]string{
		"":                                      "0:0 [] 0 a80425fb a80425fb a80425fb 0 nnp=1",
		"--user 0":                              "0:0 [] 0 a80425fb a80425fb a80425fb 0 nnp=1",
		"--allow-new-privs":                     "0:0 [] 0 a80425fb a80425fb a80425fb 0 nnp=0",
		"--preset podman":                       "0:0 [] 0 800405fb 800405fb 800405fb 0 nnp=1",
		"--preset none":                         "0:0 [] 0 0 0 0 0 nnp=1",
		"--drop all --allow-new-privs":          "0:0 [] 0 0 0 0 0 nnp=0",
		"--keep 10,CAP_KILL":                    "0:0 [] 0 420 420 420 0 nnp=1",
		"--user 1000":                           "1000:1000 [] 0 0 0 a80425fb 0 nnp=1",
		"--user 1234:5 --preset none":           "1234:5 [] 0 0 0 0 0 nnp=1",
		"--user 1234 --keep net_raw":            "1234:1234 [] 2000 2000 2000 2000 2000 nnp=1",
		"--user 1 --keep net_raw,setpcap":       "1:1 [] 2100 2100 2100 2100 2100 nnp=1",
		"--user root --preset none":             "0:0 [0] 0 0 0 0 0 nnp=1",
		"--user 1 --keep 13 --allow-new-privs":  "1:1 [] 2000 2000 2000 2000 2000 nnp=0",
		"--user 9 --keep net_raw --preset runc": "9:9 [] 2000 2000 2000 20002420 2000 nnp=1",

		"--amb net_raw":                               "0:0 [] 2000 a80425fb a80425fb a80425fb 2000 nnp=1",
		"--amb sys_admin --user 1234":                 "1234:1234 [] 200000 200000 200000 a80425fb 200000 nnp=1",
		"--amb sys_admin --inh all --user 1234":       "1234:1234 [] 200000 200000 200000 a80425fb 200000 nnp=1",
		"--inh net_raw --user 1234":                   "1234:1234 [] 2000 0 0 a80425fb 0 nnp=1",
		"--inh net_raw --keep none --user 1234":       "1234:1234 [] 2000 0 0 0 0 nnp=1",
		"--keep net_raw,kill --inh kill --user 1234":  "1234:1234 [] 20 20 20 2020 20 nnp=1",
		"--keep net_raw --amb none --user 1234":       "1234:1234 [] 0 0 0 2000 0 nnp=1",
		"--bnd kill --keep net_raw --user 1234":       "1234:1234 [] 2000 2000 2000 20 2000 nnp=1",
		"--bnd none --preset all --user 1234":         "1234:1234 [] 0 0 0 0 0 nnp=1",
		"--bnd none --preset all":                     "0:0 [] 0 0 0 0 0 nnp=1",
		"--iab !^net_raw,%CAP_KILL --user 1234":       "1234:1234 [] 2020 2000 2000 a80405fb 2000 nnp=1",
		"--iab ^13 --preset none --user 1234":         "1234:1234 [] 2000 2000 2000 0 2000 nnp=1",
		"--groups 4,27":                               "0:0 [4,27] 0 a80425fb a80425fb a80425fb 0 nnp=1",
		"--groups 27,4,root --user 1234 --drop all":   "1234:1234 [0,4,27] 0 0 0 0 0 nnp=1",
		"--clear-groups --user root --preset none":    "0:0 [] 0 0 0 0 0 nnp=1",
		"--keep-groups --user root --preset none":     "0:0 [] 0 0 0 0 0 nnp=1",
		"--amb all --user 1234 --preset podman":       "1234:1234 [] 800405fb 800405fb 800405fb 800405fb 800405fb nnp=1",
		"--mode nopriv":                               "0:0 [] 0 0 0 0 0 nnp=1",
		"--mode PURE1E --keep net_raw --user 1234":    "1234:1234 [] 2000 0 0 2000 0 nnp=1",
		"--mode pure1e_init --keep net_raw":           "0:0 [] 0 0 0 2000 0 nnp=1",
		"--mode hybrid --keep net_raw":                "0:0 [] 0 2000 2000 2000 0 nnp=1",
		"--securebits noroot --keep net_raw":          "0:0 [] 2000 2000 2000 2000 2000 nnp=1",
		"--securebits no_cap_ambient_raise --amb 13":  "0:0 [] 2000 a80425fb a80425fb a80425fb 2000 nnp=1",
		"--securebits noroot,-noroot_locked --drop 0": "0:0 [] 0 0 0 a80425fa 0 nnp=1",
	} {
		if strings.Contains(words, "--user 9 ") {
			want = strings.Replace(want, "9:9", "9:"+primaryGroup("9"), 1)
		}
		if strings.Contains(words, "--user 1 ") {
			want = strings.Replace(want, "1:1", "1:"+primaryGroup("1"), 1)
		}
		cmd := command(0, nil, append([]string{"capdrop"}, append(strings.Fields(words), "--")...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{}} // no groups
		if got := status(t, cmd, "grep"); got != "" && got != want {
			t.Errorf("%s: %s, want %s", words, got, want)
		}
	}
}

// primaryGroup is the group of a user's line in /etc/passwd, else the number itself.
func primaryGroup(uid string) string {
	text, _ := os.ReadFile("/etc/passwd")
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(line, ":"); len(f) > 3 && f[2] == uid {
			return f[3]
		}
	}
	return uid
}

// Groups that the caller has do not outlive a change of user.
func TestGroupsAreGone(t *testing.T) {
	needRoot(t)
	cmd := command(0, nil, "capdrop", "--user", "1234")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Groups: []uint32{4, 27}}}
	if got := status(t, cmd, "grep"); !strings.HasPrefix(got, "1234:1234 [] ") {
		t.Error(got)
	}
	cmd = command(0, nil, "capdrop")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Groups: []uint32{4, 27}}}
	if got := status(t, cmd, "grep"); !strings.HasPrefix(got, "0:0 [4,27] ") {
		t.Error("without a change of user:", got)
	}
}

// In a user namespace of an ordinary user the groups cannot be changed: those from
// outside stay, and root's own group is no obstacle.
func TestUserNamespace(t *testing.T) {
	for words, want := range map[string]string{
		"capdrop":                  "0:0 [GROUPS] 0 a80425fb a80425fb a80425fb 0 nnp=1",
		"capdrop --user 0":         "0:0 [GROUPS] 0 a80425fb a80425fb a80425fb 0 nnp=1",
		"capdrop --user root":      "0:0 [GROUPS] 0 a80425fb a80425fb a80425fb 0 nnp=1",
		"capdrop --keep sys_admin": "0:0 [GROUPS] 0 200000 200000 200000 0 nnp=1",
		"/capdrop --preset none":   "0:0 [GROUPS] 0 0 0 0 0 nnp=1",
	} {
		words = strings.Replace(words, "/capdrop", bin+"/capdrop", 1)
		cmd := command(1000, []uint32{27, 1000}, append([]string{"nsrun", "-U", "-r"}, strings.Fields(words)...)...)
		got := status(t, cmd, "grep")
		if os.Geteuid() == 0 {
			want = strings.Replace(want, "GROUPS", "65534,0", 1)
		} else {
			got, want = cutGroups(got), cutGroups(want)
		}
		if got != "" && strings.Replace(got, "0,65534", "65534,0", 1) != want {
			t.Errorf("%s: %s, want %s", words, got, want)
		}
	}
}

// Where setgroups is denied, groups that have a number in the namespace are not kept
// in silence.
func TestSetgroupsDenied(t *testing.T) {
	needRoot(t)
	run := func(groups []uint32, words ...string) *exec.Cmd {
		cmd := command(0, nil, append([]string{"/proc/self/exe", bin + "/capdrop"}, words...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Groups: groups}}
		cmd.Env = append(cmd.Env, "STAVES_TEST_DENY_SETGROUPS=1")
		return cmd
	}
	for _, tt := range []struct {
		groups []uint32
		user   string
		want   string
	}{
		{groups: nil, user: "1234", want: "1234:1234 [] "},
		{groups: []uint32{1234}, user: "1234", want: "1234:1234 [1234] "},
		{groups: []uint32{27}, user: "1234:27", want: "1234:27 [27] "},
		{groups: []uint32{80000}, user: "1234", want: "1234:1234 [65534] "},
		{groups: []uint32{0}, user: "root", want: "0:0 [0] "},
	} {
		if got := status(t, run(tt.groups, "--user", tt.user), "grep"); !strings.HasPrefix(got, tt.want) {
			t.Errorf("groups %v, user %s: %s, want %s", tt.groups, tt.user, got, tt.want)
		}
	}
	const want = "capdrop: leave groups 4,27: this user namespace denies setgroups(2) (operation not permitted)\n" +
		"capdrop: hint: root can change the groups before the namespace is made: capdrop --preset all --user 0 -- nsrun -U ...\n"
	if out, err := run([]uint32{4, 27}, "--user", "1234", "true").CombinedOutput(); err == nil || string(out) != want {
		t.Errorf("%v: %s", err, out)
	}
}

func cutGroups(s string) string {
	before, rest, _ := strings.Cut(s, "[")
	_, after, _ := strings.Cut(rest, "]")
	return before + after
}

// A program with capabilities in its file gets none of them under no_new_privs, since
// the permitted set is empty by then (setpriv leaves it full, and the file wins).
func TestFileCapabilities(t *testing.T) {
	needRoot(t)
	grep := copyFile(t, "/bin/grep")
	setFileCaps(t, grep, 1<<10, false) // net_bind_service, not effective at once
	for words, want := range map[string]string{
		"--user 1234":                   "1234:1234 [] 0 0 0 a80425fb 0 nnp=1",
		"--user 1234 --allow-new-privs": "1234:1234 [] 0 400 0 a80425fb 0 nnp=0",
		"--user 1234 --preset none":     "1234:1234 [] 0 0 0 0 0 nnp=1",
	} {
		cmd := command(0, nil, append([]string{"capdrop"}, strings.Fields(words)...)...)
		if got := status(t, cmd, grep); got != want {
			t.Errorf("%s: %s, want %s", words, got, want)
		}
	}

	setFileCaps(t, grep, 1<<10, true) // the file insists
	out, err := command(0, nil, "capdrop", "--preset", "none", "--user", "1234", grep).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 126 || !strings.Contains(string(out), "capabilities that the bounding set lacks") {
		t.Errorf("%v: %s", err, out)
	}
}

// An ambient cap_net_raw lets a program without any privilege of its own, as ping
// copied to a place of one's own, open a raw socket.
func TestRawSocket(t *testing.T) {
	needRoot(t)
	self := copyFile(t, "/proc/self/exe")
	for words, want := range map[string]string{
		"--keep net_raw --user 1234":    "true <nil>",
		"--keep chown --user 1234":      "false operation not permitted",
		"--preset docker --user 1234":   "false operation not permitted",
		"--preset docker":               "true <nil>",
		"--preset docker --drop CAP_13": "false operation not permitted",
	} {
		cmd := command(0, nil, append([]string{"capdrop"}, append(strings.Fields(words), self)...)...)
		cmd.Env = append(cmd.Env, "STAVES_TEST_RAW_SOCKET=1")
		if out, err := cmd.Output(); err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%s: %s%v, want %s", words, out, err, want)
		}
	}
}

// What setpriv makes of the same request is the same.
func TestAsSetpriv(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("setpriv"); err != nil {
		t.Skip("no setpriv: apt-get install util-linux")
	}
	for ours, theirs := range map[string]string{
		"--keep net_raw --user 1234":          "--reuid 1234 --regid 1234 --clear-groups --bounding-set -all,+net_raw --inh-caps -all,+net_raw --ambient-caps +net_raw --nnp",
		"--preset none":                       "--bounding-set -all --inh-caps -all --nnp",
		"--preset none --user 1:2":            "--reuid 1 --regid 2 --clear-groups --bounding-set -all --inh-caps -all --nnp",
		"--keep chown,kill --allow-new-privs": "--bounding-set -all,+chown,+kill --inh-caps -all",
	} {
		got := status(t, command(0, nil, append([]string{"capdrop"}, strings.Fields(ours)...)...), "grep")
		want := status(t, command(0, nil, append([]string{"setpriv"}, strings.Fields(theirs)...)...), "grep")
		if got != want {
			t.Errorf("%s: %s, setpriv: %s", ours, got, want)
		}
	}
}

// A securebit that the caller has set is an error, not a payload with less.
func TestAmbientForbidden(t *testing.T) {
	needRoot(t)
	cmd := command(0, nil, "/proc/self/exe", bin+"/capdrop", "--keep", "net_raw", "--user", "1234", "true")
	cmd.Env = append(cmd.Env, "STAVES_TEST_SECUREBITS=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "make cap_net_raw ambient: the securebit no_cap_ambient_raise forbids it: operation not permitted\n") ||
		!strings.Contains(string(out), "hint: only a new user namespace") {
		t.Errorf("%v: %s", err, out)
	}
}

// Numbers need no file and no /proc. The payload is capdrop again, which finds either
// that it does not hold what it should keep, or that its own payload is missing.
func TestEmptyRoot(t *testing.T) {
	needRoot(t)
	root := filepath.Join(bin, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(bin+"/capdrop", root+"/capdrop"); err != nil {
		t.Fatal(err)
	}
	const held, notHeld = "capdrop: /none: no such file or directory", "capdrop: --keep: cap_net_raw: not held by this process"
	for words, want := range map[string]string{
		"--keep net_raw --user 1234":     held,
		"--keep net_raw --user 1234:5":   held,
		"--preset docker --user 1234":    notHeld,
		"--keep net_raw --user somebody": "capdrop: --user: look up user somebody in /etc/passwd: no such file or directory",
	} {
		cmd := command(0, nil, append([]string{"/capdrop"}, append(strings.Fields(words), "/capdrop", "--keep", "net_raw", "/none")...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
		out, _ := cmd.CombinedOutput()
		if line, _, _ := strings.Cut(string(out), "\n"); line != want {
			t.Errorf("%s: %s, want %s", words, out, want)
		}
	}
}

// copyFile copies a program to where any user can execute it.
func copyFile(t *testing.T, from string) string {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(bin, filepath.Base(from)+".copy")
	if err := os.WriteFile(to, text, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(to) })
	return to
}

// setFileCaps gives a file capabilities, as setcap does: struct vfs_cap_data of
// linux/capability.h, revision 2.
func setFileCaps(t *testing.T, path string, permitted uint32, effective bool) {
	t.Helper()
	data := make([]byte, 20)
	magic := uint32(0x02000000)
	if effective {
		magic |= 1
	}
	binary.LittleEndian.PutUint32(data, magic)
	binary.LittleEndian.PutUint32(data[4:], permitted)
	if err := unix.Setxattr(path, "security.capability", data, 0); err != nil {
		t.Skipf("cannot give files capabilities here: setxattr %s: %v", path, err)
	}
}
