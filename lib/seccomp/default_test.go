package seccomp

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"staves/lib/caps"
	"staves/lib/testkit"
)

// The profiles that others publish, as they are in their Go modules.
func dockers(t testing.TB) *Profile {
	return load(t, filepath.Join(testkit.Module(t, "github.com/moby/profiles/seccomp@v0.2.3"), "default.json"))
}

func load(t testing.TB, file string) *Profile {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return p
}

// The built-in profile is the published one, to the instruction, whatever a process may
// do, on both machines.
func TestDefaultIsDockers(t *testing.T) {
	theirs := dockers(t)
	for _, native := range []Arch{AMD64, ARM64} {
		for _, bounding := range capSamples() {
			m := Machine{Native: native, Kernel: Version{6, 1}, Bounding: bounding}
			if a, b := filter(t, Default(), m), filter(t, theirs, m); !slices.Equal(a.Program, b.Program) {
				t.Errorf("%s, %s: the programs differ", native, bounding)
			}
		}
	}
}

// capSamples are no capabilities, all, and each alone.
func capSamples() []caps.Set {
	sets := []caps.Set{0, caps.All}
	for n := range 41 {
		sets = append(sets, 1<<n)
	}
	return sets
}

func filter(t testing.TB, p *Profile, m Machine) *Filter {
	t.Helper()
	f, err := p.Filter(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(f.Program); err != nil {
		t.Fatal(err)
	}
	return f
}

func BenchmarkDefault(b *testing.B) {
	m := Here(0xa80425fb)
	b.ReportAllocs()
	for b.Loop() {
		f, err := Default().Filter(m)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(f.Program)), "instructions")
	}
}
