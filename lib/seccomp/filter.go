package seccomp

import (
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"staves/lib/caps"
	"staves/lib/entry"
)

// A Machine is what the conditions of a profile's rules are about.
type Machine struct {
	Native Arch
	Kernel Version
	// Bounding is the bounding set of the process that will be filtered.
	Bounding caps.Set
}

// Here is this machine, for a process with that bounding set.
func Here(bounding caps.Set) Machine {
	m := Machine{Native: Native(), Bounding: bounding}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &m.Kernel[0], &m.Kernel[1])
	}
	return m
}

// includes tells whether a rule for such machines counts. All capabilities must be there;
// in what excludes, one is enough.
func (w *Where) includes(m *Machine) bool {
	return (len(w.Arches) == 0 || slices.Contains(w.Arches, arches[m.Native].goes)) &&
		!slices.ContainsFunc(w.Caps, func(name string) bool { return !m.holds(name) }) &&
		m.Kernel.atLeast(w.MinKernel)
}

func (w *Where) excludes(m *Machine) bool {
	return slices.Contains(w.Arches, arches[m.Native].goes) || slices.ContainsFunc(w.Caps, m.holds) ||
		w.MinKernel != (Version{}) && m.Kernel.atLeast(w.MinKernel)
}

// holds tells whether the capability is in the bounding set. One that has no name here is
// newer than these tools, which cannot have kept it.
func (m *Machine) holds(name string) bool {
	n, err := caps.Parse(name)
	return err == nil && m.Bounding.Has(n)
}

func (v Version) atLeast(min Version) bool { return slices.Compare(v[:], min[:]) >= 0 }

// A Filter is a profile made into a program for one machine.
type Filter struct {
	// Program is what the kernel runs on each system call.
	Program []unix.SockFilter
	flags   uint
	parts   []*part // nil for a filter that was none of ours
}

// Filter compiles the profile. It fails if the program gets too long for the kernel.
func (p *Profile) Filter(m Machine) (*Filter, error) {
	if p.raw != nil {
		return &Filter{Program: p.raw}, nil
	}
	if len(p.Rules) > maxRules {
		return nil, fmt.Errorf("%d rules: at most %d: %w", len(p.Rules), maxRules, unix.E2BIG)
	}
	f := &Filter{flags: p.Flags}
	counts := make([]bool, len(p.Rules))
	for i := range p.Rules {
		r := &p.Rules[i]
		counts[i] = r.Includes.includes(&m) && !r.Excludes.excludes(&m)
	}
	for _, a := range p.arches(m.Native) {
		t := &part{arch: a, other: p.Default, rules: p.Rules, counts: counts, index: p.index(a)}
		t.last = t.lastCall()
		t.newer = t.last != 0 && p.named(a, m.Native) && !p.Default.permissive()
		f.parts = append(f.parts, t)
	}
	f.Program = compile(f.parts)
	if len(f.Program) > maxProgram {
		return nil, fmt.Errorf("a filter of %d instructions: at most %d: %w", len(f.Program), maxProgram, unix.E2BIG)
	}
	return f, nil
}

// arches are those that the filter has a part for, the native one first.
func (p *Profile) arches(native Arch) []Arch {
	list := []Arch{native}
	add := func(more []Arch) {
		for _, a := range more {
			if a < Foreign && !slices.Contains(list, a) {
				list = append(list, a)
			}
		}
	}
	add(p.Arches)
	for _, family := range p.Families {
		if family[0] == native {
			add(family)
		}
	}
	return list
}

// named tells whether the profile itself names the architecture.
func (p *Profile) named(a, native Arch) bool {
	return slices.Contains(p.Arches, a) || slices.ContainsFunc(p.Families, func(f []Arch) bool {
		return f[0] == native && slices.Contains(f, a)
	})
}

// Load writes down the calls that have the calling thread filtered from then on. They
// need no_new_privs, or CAP_SYS_ADMIN effective, and fail with EACCES without (seccomp(2)).
func (f *Filter) Load(b *entry.Builder) {
	program := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(f.Program))), len(f.Program)*sockFilterSize)
	fprog := &entry.Buffer{Size: int(unsafe.Sizeof(unix.SockFprog{}))}
	const what = "seccomp(SECCOMP_SET_MODE_FILTER)"
	b.Store(entry.Field{Buffer: fprog, Offset: int(unsafe.Offsetof(unix.SockFprog{}.Len))}, len(f.Program))
	b.Store(entry.Field{Buffer: fprog, Offset: int(unsafe.Offsetof(unix.SockFprog{}.Filter))}, program)
	b.Do(what, unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, f.flags, fprog)
}
