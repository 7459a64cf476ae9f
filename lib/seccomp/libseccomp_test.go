package seccomp

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"staves/lib/caps"
	"staves/lib/testkit"
)

// python is Debian's, which the package python3-seccomp is for.
const python = "/usr/bin/python3"

func needLibseccomp(t *testing.T) {
	t.Helper()
	if exec.Command(python, "-c", "import seccomp").Run() != nil {
		t.Skip("needs the package python3-seccomp")
	}
}

// compiled is what testdata/libseccomp.py answers.
type compiled struct {
	Filter  string
	Unknown []string
	Last    map[string]int64
	program []unix.SockFilter
}

func libseccomp(t *testing.T, profile any, m Machine) compiled {
	t.Helper()
	names := []string{}
	for n := range 64 {
		if m.Bounding.Has(n) {
			names = append(names, strings.ToUpper(caps.Name(n)))
		}
	}
	kernel := fmt.Sprintf("%d.%d", m.Kernel[0], m.Kernel[1])
	in, err := json.Marshal(map[string]any{
		"profile": profile, "machine": map[string]any{"arch": arches[m.Native].goes, "kernel": kernel, "caps": names},
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "testdata/libseccomp.py")
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("libseccomp: %v\n%s", err, stderr.Bytes())
	}
	var c compiled
	if err := json.Unmarshal(out, &c); err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(c.Filter)
	if err != nil {
		t.Fatal(err)
	}
	p, err := parseRaw(raw)
	if err != nil {
		t.Fatal(err)
	}
	c.program = p.raw
	return c
}

// answer is what runc has the kernel answer: ENOSYS for what is newer than the profile,
// else what libseccomp's filter says (libcontainer/seccomp/patchbpf).
func (c *compiled) answer(p *Profile, e event) Action {
	if !p.Default.permissive() {
		x32 := e.arch == unix.AUDIT_ARCH_X86_64 && e.nr&x32Bit != 0
		for name, last := range c.Last {
			a, _ := parseArch(name)
			if last != 0 && arches[a].audit == e.arch && (a == X32) == x32 && int64(e.nr) > last {
				return Errno(unix.ENOSYS)
			}
		}
	}
	return run(c.program, e)
}

// strip takes names out of a profile, as JSON.
func strip(profile map[string]any, names []string) {
	for _, r := range profile["syscalls"].([]any) {
		rule := r.(map[string]any)
		rule["names"] = slices.DeleteFunc(rule["names"].([]any), func(n any) bool { return slices.Contains(names, n.(string)) })
	}
}

// What libseccomp answers, in a simulation of the kernel's machine, for every call by
// every architecture, with arguments on both sides of every value in the profile.
func TestAsLibseccomp(t *testing.T) {
	needLibseccomp(t)
	files := map[string]string{
		"docker": filepath.Join(testkit.Module(t, "github.com/moby/profiles/seccomp@v0.2.3"), "default.json"),
		"podman": filepath.Join(testkit.Module(t, "github.com/containers/common@v0.64.2"), "pkg/seccomp/seccomp.json"),
	}
	own, err := filepath.Glob("testdata/*.json")
	if err != nil || len(own) < 3 {
		t.Fatal("no profiles in testdata: ", err)
	}
	for _, f := range own {
		files[strings.TrimSuffix(filepath.Base(f), ".json")] = f
	}
	for name, file := range files {
		t.Run(name, func(t *testing.T) {
			for _, m := range []Machine{
				{Native: AMD64, Kernel: Version{6, 1}, Bounding: 0xa80425fb},
				{Native: AMD64, Kernel: Version{4, 4}, Bounding: caps.All},
				{Native: ARM64, Kernel: Version{6, 1}},
			} {
				compare(t, file, m)
			}
		})
	}
}

func compare(t *testing.T, file string, m Machine) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var profile map[string]any
	if err := json.Unmarshal(text, &profile); err != nil {
		t.Fatal(err)
	}
	// The library may be older than the profile: then both are given what it knows.
	strip(profile, libseccomp(t, profile, m).Unknown)
	theirs := libseccomp(t, profile, m)
	if text, err = json.Marshal(profile); err != nil {
		t.Fatal(err)
	}
	p := &Profile{}
	if p, err = parseKnown(text); err != nil {
		t.Fatal(err)
	}
	ours := filter(t, p, m)
	t.Logf("%s: %d instructions, libseccomp %d", arches[m.Native].name, len(ours.Program), len(theirs.program))
	bad := 0
	for e := range events(p) {
		if got, want := run(ours.Program, e), theirs.answer(p, e); got != want {
			if bad++; bad <= 20 {
				t.Errorf("%v: %s, libseccomp: %s", e, got, want)
			}
		}
	}
	if bad > 20 {
		t.Errorf("and %d more", bad-20)
	}
}

// parseKnown parses a profile that strip may have left rules without names in.
func parseKnown(text []byte) (*Profile, error) {
	var profile map[string]any
	if err := json.Unmarshal(text, &profile); err != nil {
		return nil, err
	}
	rules := profile["syscalls"].([]any)
	profile["syscalls"] = slices.DeleteFunc(rules, func(r any) bool { return len(r.(map[string]any)["names"].([]any)) == 0 })
	text, err := json.Marshal(profile)
	if err != nil {
		return nil, err
	}
	return Parse(text)
}

// events are calls by every architecture: each number, with arguments near the profile's
// values.
func events(p *Profile) func(func(event) bool) {
	values := []uint64{0, 1, 0xffffffff, 1 << 32, ^uint64(0)}
	for _, r := range p.Rules {
		for _, a := range r.Args {
			for _, v := range []uint64{a.Value, a.ValueTwo} {
				values = append(values, v, v-1, v+1, v|1<<40, v&0xffffffff)
			}
		}
	}
	slices.Sort(values)
	values = slices.Compact(values)
	var numbers []uint32
	for n := range uint32(600) {
		numbers = append(numbers, n, n|x32Bit, n|0xf0000)
	}
	numbers = append(numbers, x32Bit-1, 1<<31, 1<<31|1, ^uint32(0), ^uint32(0)-1)
	rnd := rand.New(rand.NewPCG(1, 2))
	return func(yield func(event) bool) {
		for _, arch := range []uint32{
			unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_AARCH64, unix.AUDIT_ARCH_ARM, unix.AUDIT_ARCH_RISCV64,
		} {
			for _, nr := range numbers {
				for range 40 {
					e := event{nr: nr, arch: arch}
					for i := range e.args {
						e.args[i] = values[rnd.IntN(len(values))]
						if arch == unix.AUDIT_ARCH_I386 || arch == unix.AUDIT_ARCH_ARM {
							e.args[i] &= 0xffffffff // as the kernel has it
						}
					}
					if !yield(e) {
						return
					}
				}
			}
		}
	}
}
