package capdrop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"staves/lib/caps"
	"staves/lib/testkit"
)

// What becomes of each system call, made natively and by a 32-bit program, is what
// becomes of it in a container that runc has made with the same profile.
func TestSeccompAsRunc(t *testing.T) {
	needRoot(t)
	testkit.NeedExec(t, "runc")
	profiles := map[string]string{
		"docker": filepath.Join(testkit.Module(t, "github.com/moby/profiles/seccomp@v0.2.3"), "default.json"),
		"podman": filepath.Join(testkit.Module(t, "github.com/containers/common@v0.64.2"), "pkg/seccomp/seccomp.json"),
	}
	now, err := caps.Read()
	if err != nil {
		t.Fatal(err)
	}
	docker, _ := caps.Preset("docker")
	for name, file := range profiles {
		for _, set := range []caps.Set{docker & now.Permitted, now.Permitted & now.Bounding} {
			t.Run(fmt.Sprintf("%s/%d", name, len(strings.Split(set.String(), ","))), func(t *testing.T) { asRunc(t, file, set) })
		}
	}
}

func asRunc(t *testing.T, file string, set caps.Set) {
	dir := t.TempDir()
	ours, theirs := resolve(t, file, set)
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	profile := write("profile.json", ours)
	for _, arch := range []string{"amd64", "386"} {
		probe := filepath.Join(dir, "root", "probe-"+arch)
		buildFor(t, arch, probe, "testdata/probe/main.go")
		list := probes(arch)
		calls := write("root/calls-"+arch, []byte(strings.Join(list, "\n")+"\n"))
		write("config.json", bundle(t, set, theirs, "/"+filepath.Base(probe), "/"+filepath.Base(calls)))

		want := lines(t, exec.Command("runc", "run", "--bundle", dir, fmt.Sprintf("staves-test-%d", os.Getpid())))
		got := lines(t, command(0, nil, "nsrun", "-i", "capdrop", "--preset", "none", "--keep", set.String(), "--seccomp", profile, "--", probe, calls))
		free := lines(t, command(0, nil, "nsrun", "-i", "capdrop", "--preset", "none", "--keep", set.String(), "--", probe, calls))
		if len(got) != len(list) || len(want) != len(list) || len(free) != len(list) {
			t.Fatalf("%s: %d calls, %d answers, runc %d, without a filter %d", arch, len(list), len(got), len(want), len(free))
		}
		changed := 0
		for i, call := range list {
			if got[i] != want[i] {
				t.Errorf("%s: call %s: errno %s, runc %s, without a filter %s", arch, call, got[i], want[i], free[i])
			}
			if got[i] != free[i] {
				changed++
			}
		}
		t.Logf("%s: %d calls, of which the filter changes %d", arch, len(list), changed)
		if changed < 20 {
			t.Errorf("%s: the filter changes only %d of %d calls", arch, changed, len(list))
		}
	}
}

// buildFor builds a program of one file for an architecture.
func buildFor(t *testing.T, arch, binary, source string) {
	t.Helper()
	build := exec.Command("go", "build", "-o", binary, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s for %s: %v\n%s", source, arch, err, out)
	}
}

// resolve returns a profile without what libseccomp does not know, and the same for a
// container with these capabilities, as runc is given it.
func resolve(t *testing.T, file string, set caps.Set) (ours, theirs []byte) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var profile map[string]any
	if err := json.Unmarshal(text, &profile); err != nil {
		t.Fatal(err)
	}
	var result struct {
		Unknown []string
		OCI     json.RawMessage
	}
	for range 2 { // the second time without what is unknown
		in, err := json.Marshal(map[string]any{"profile": profile, "machine": map[string]any{
			"arch": "amd64", "kernel": "6.1", "caps": strings.Split(strings.ToUpper(set.String()), ","),
		}})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/usr/bin/python3", "../../seccomp/testdata/libseccomp.py")
		cmd.Stdin = bytes.NewReader(in)
		out, err := cmd.Output()
		if err != nil {
			t.Skip("needs the package python3-seccomp: ", err)
		}
		if err := json.Unmarshal(out, &result); err != nil {
			t.Fatal(err)
		}
		for _, r := range profile["syscalls"].([]any) {
			rule := r.(map[string]any)
			rule["names"] = slices.DeleteFunc(rule["names"].([]any), func(n any) bool { return slices.Contains(result.Unknown, n.(string)) })
		}
		profile["syscalls"] = slices.DeleteFunc(profile["syscalls"].([]any), func(r any) bool { return len(r.(map[string]any)["names"].([]any)) == 0 })
	}
	ours, err = json.Marshal(profile)
	if err != nil {
		t.Fatal(err)
	}
	return ours, result.OCI
}

// bundle is the configuration of a container.
func bundle(t *testing.T, set caps.Set, profile []byte, args ...string) []byte {
	t.Helper()
	names := strings.Split(strings.ToUpper(set.String()), ",")
	namespaces := []map[string]string{}
	for _, ns := range []string{"mount", "pid", "ipc", "uts"} {
		namespaces = append(namespaces, map[string]string{"type": ns})
	}
	text, err := json.Marshal(map[string]any{
		"ociVersion": "1.0.2",
		"process": map[string]any{
			"args": args, "cwd": "/", "noNewPrivileges": true,
			"user":         map[string]int{"uid": 0, "gid": 0},
			"capabilities": map[string]any{"bounding": names, "effective": names, "permitted": names},
		},
		"root":   map[string]any{"path": "root", "readonly": true},
		"mounts": []map[string]any{{"destination": "/proc", "type": "proc", "source": "proc"}},
		"linux":  map[string]any{"namespaces": namespaces, "seccomp": json.RawMessage(profile)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func lines(t *testing.T, cmd *exec.Cmd) []string {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, stderr.Bytes())
	}
	return strings.Fields(string(out))
}

// probes are the calls that are tried: every number, with arguments that make it fail
// without doing anything, but for those that would not; and those that a profile looks at
// the arguments of.
func probes(arch string) []string {
	const bad = " 18446744073709551615"
	var list []string
	special := map[string][]int{
		// exit, exit_group, fork, vfork, clone; rt_sigreturn, sigreturn, uretprobe, uprobe;
		// pause, sigsuspend, vhangup, kill, msgget; setsid, which runc has called already
		"amd64": {60, 231, 57, 58, 56, 15, 335, 336, 34, 153, 62, 68, 112},
		"386":   {1, 252, 2, 190, 120, 173, 119, 29, 72, 111, 37, 399, 66},
	}
	for nr := range 600 {
		if !slices.Contains(special[arch], nr) {
			list = append(list, fmt.Sprint(nr)+strings.Repeat(bad, 6))
		}
		if arch == "amd64" && nr < 512 && !slices.Contains(special[arch], nr) { // x32: this kernel has none of it
			list = append(list, fmt.Sprint(nr|0x40000000)+strings.Repeat(bad, 6))
		}
	}
	nr := map[string]map[string]int{
		"amd64": {"socket": 41, "personality": 135, "clone": 56, "kill": 62, "msgget": 68, "shmget": 29},
		"386":   {"socket": 359, "personality": 136, "clone": 120, "kill": 37, "msgget": 399, "socketcall": 102, "ipc": 117},
	}[arch]
	add := func(name string, args ...uint64) {
		if n, ok := nr[name]; ok {
			line := strconv.Itoa(n)
			for i := range 6 {
				arg := uint64(0)
				if i < len(args) {
					arg = args[i]
				}
				line += " " + strconv.FormatUint(arg, 10)
			}
			list = append(list, line)
		}
	}
	for family := range uint64(48) {
		add("socket", family, 0x7fffffff) // no such type
	}
	add("socket", 16, 0x7fffffff, 9) // NETLINK_AUDIT
	for _, p := range []uint64{0, 8, 0x20000, 0x20008, 0xffffffff, 1, 0x40000, 0x0400000} {
		add("personality", p)
	}
	add("personality", 0)
	for bit := range 32 {
		const sighand = 0x800 // without CLONE_VM it is EINVAL
		if bit != 8 {         // CLONE_VM
			add("clone", sighand|1<<bit)
		}
	}
	add("kill", 0x7ffffff0, 0)
	add("msgget", 0x5aa5a55a, 0)
	for sub := range uint64(22) {
		add("socketcall", sub, ^uint64(0))
	}
	for sub := range uint64(26) {
		add("ipc", sub, 0x7fffffff, ^uint64(0), 0, ^uint64(0), 0)
	}
	return list
}
