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

// part is what a filter has for one architecture.
type part struct {
	arch  Arch
	other Action // for calls that no rule is about
	// The alternatives for a call are a list that begins at its number's slot; what is
	// behind one without conditions is never reached.
	first [slots]int32
	nodes []alternative // from 1 on
	// conditions are what alternatives refer to, from 1 on.
	conditions [][]Arg
	// last is the highest number that the profile has a rule for. What comes after it is
	// newer than the profile, and fails with ENOSYS if newer is true: programs then do
	// without it, as they do on an older kernel.
	last  uint32
	newer bool
}

// An alternative is what happens to a call if its conditions are met.
type alternative struct {
	action     Action
	conditions int32 // 0 for none
	row        int32 // of the table; of a call that goes through another one, its own
	next       int32 // 0 for the last
}

// Filter compiles the profile. It fails if the program gets too long for the kernel.
func (p *Profile) Filter(m Machine) (*Filter, error) {
	if p.raw != nil {
		return &Filter{Program: p.raw}, nil
	}
	f := &Filter{flags: p.Flags}
	rules := p.resolve(&m)
	for _, a := range p.arches(m.Native) {
		t := newPart(a, p.Default, rules)
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

// resolved is a rule that counts on a machine.
type resolved struct {
	action     Action
	conditions [][]Arg // of each list, all are met; one list is enough
	rows       []int   // of the table
}

// resolve looks up what the rules are about.
func (p *Profile) resolve(m *Machine) []resolved {
	rules := make([]resolved, 0, len(p.Rules))
	for i := range p.Rules {
		r := &p.Rules[i]
		if !r.Includes.includes(m) || r.Excludes.excludes(m) {
			continue
		}
		rows := make([]int, 0, len(r.Names))
		for _, name := range r.Names {
			if row := find(name); row >= 0 {
				rows = append(rows, row)
			}
		}
		rules = append(rules, resolved{r.Action, split(r.Args), rows})
	}
	return rules
}

// newPart collects the rules for one architecture, by number.
func newPart(a Arch, other Action, rules []resolved) *part {
	t := &part{arch: a, other: other, nodes: make([]alternative, 1, 512), conditions: make([][]Arg, 1, 32)}
	// A list grows at its beginning, so the last rules come first.
	for i := len(rules) - 1; i >= 0; i-- {
		r := &rules[i]
		for _, row := range r.rows {
			c := &calls[row]
			nr, through := c.nr[a], a == X86 && c.through != 0
			if !through {
				t.last = uint32(max(int32(t.last), nr))
			}
			if r.action == other {
				continue // it says nothing, even where another rule does, as in runc
			}
			for k := len(r.conditions) - 1; k >= 0; k-- {
				if nr >= 0 {
					t.add(nr, row, r.action, r.conditions[k])
				}
				if through {
					t.add(int32(c.through), row, r.action, c.throughArgs(r.conditions[k]))
				}
			}
		}
	}
	for s, i := range t.first {
		if i == 0 || t.nodes[i].next == 0 {
			continue
		}
		for ; i != 0; i = t.nodes[i].next { // one without conditions covers all others
			if t.nodes[i].conditions == 0 {
				t.first[s] = i
				break
			}
		}
	}
	return t
}

// add puts an alternative in front of those for a call.
func (t *part) add(nr int32, row int, action Action, args []Arg) {
	n := alternative{action: action, row: int32(row), next: t.first[slot(nr)]}
	if len(args) > 0 {
		n.conditions = int32(len(t.conditions))
		t.conditions = append(t.conditions, args)
	}
	t.first[slot(nr)] = int32(len(t.nodes))
	t.nodes = append(t.nodes, n)
}

// Numbers are small, but for ARM's own, which have slots behind the others.
const (
	ownSlots = 560
	slots    = ownSlots + 16
	ownFirst = 0xf0000 // __ARM_NR_BASE of asm/unistd.h
)

func slot(nr int32) int {
	if nr >= ownFirst && nr < x32Bit {
		return int(nr) - ownFirst + ownSlots
	}
	return int(nr &^ x32Bit)
}

func slotNumber(a Arch, slot int) uint32 {
	switch {
	case slot >= ownSlots:
		return uint32(slot - ownSlots + ownFirst)
	case a == X32:
		return uint32(slot | x32Bit)
	}
	return uint32(slot)
}

// split makes lists of conditions that all must be met of a rule's.
func split(args []Arg) [][]Arg {
	var seen [6]bool
	for _, a := range args {
		if seen[a.Index] {
			var each [][]Arg
			for i := range args {
				each = append(each, args[i:i+1])
			}
			return each
		}
		seen[a.Index] = true
	}
	return [][]Arg{args}
}

// throughArgs are the conditions for a call that is made through another one. What its
// own argument 0 is cannot be seen then: it lies behind a pointer.
func (c *call) throughArgs(args []Arg) []Arg {
	through := []Arg{{Index: 0, Op: Equal, Value: uint64(c.sub)}}
	for _, a := range args {
		if a.Index != 0 {
			through = append(through, a)
		}
	}
	return through
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
