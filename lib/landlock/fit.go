package landlock

import (
	"fmt"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// Fitted is a ruleset in the rights that one kernel knows.
type Fitted struct {
	attr  rulesetAttr
	rules []rule // with bits only
}

// rulesetAttr is struct landlock_ruleset_attr. A kernel that knows only its beginning
// takes it while the rest is 0.
type rulesetAttr struct{ handled [kinds]uint64 }

// Types of rules.
const (
	rulePathBeneath = 1
	ruleNetPort     = 2
)

// Fit fits a ruleset to a version of the interface, 0 for a kernel without it. What was
// named and is not known there is an error, unless bestEffort: then it is left out, and
// so stays allowed.
func (r *Ruleset) Fit(abi int, bestEffort bool) (*Fitted, error) {
	var known [kinds]uint64
	for _, right := range Rights {
		if right.ABI <= abi {
			known[right.Kind] |= right.Bit
		}
	}
	f := &Fitted{}
	for k, a := range r.handled {
		if err := missing(Kind(k), a, known[k], abi); err != nil && !bestEffort {
			return nil, err
		}
		f.attr.handled[k] = a.bits & known[k]
		if a.all {
			f.attr.handled[k] = known[k]
		}
	}
	for _, n := range r.rules {
		handled := f.attr.handled[n.kind]
		if err := missing(n.kind, n.rights, known[n.kind], abi); err != nil && !bestEffort {
			return nil, err
		}
		if n.rights.all {
			n.rights = access{bits: handled}
		}
		n.rights.bits &= known[n.kind]
		if other := n.rights.bits &^ handled; other != 0 {
			return nil, fmt.Errorf("%s is allowed by a rule, and not refused: %w", nameOf(n.kind, other), unix.EINVAL)
		}
		if n.rights.bits != 0 {
			f.rules = append(f.rules, n)
		}
	}
	return f, nil
}

// missing names what the kernel does not know of rights.
func missing(k Kind, a access, known uint64, abi int) error {
	unknown := a.bits &^ known
	switch {
	case a.all && known == 0:
		return fmt.Errorf("this kernel's Landlock (version %d) has nothing of kind %s: %w", abi, k, unix.EOPNOTSUPP)
	case unknown == 0:
		return nil
	}
	for _, r := range Rights {
		if r.Kind == k && r.Bit&unknown != 0 {
			return fmt.Errorf("%s is of Landlock's version %d, and this kernel has %d: %w", r.Name, r.ABI, abi, unix.EOPNOTSUPP)
		}
	}
	return nil
}

func nameOf(k Kind, bits uint64) string {
	for _, r := range Rights {
		if r.Kind == k && r.Bit&bits != 0 {
			return r.Name
		}
	}
	return "nothing"
}

// Paths are those that the rules are about.
func (f *Fitted) Paths() []string {
	var paths []string
	for _, n := range f.rules {
		if n.kind == FS {
			paths = append(paths, n.path)
		}
	}
	return paths
}

// Restrict writes down the calls that put the ruleset in force for the calling thread.
// Paths mean what they mean then. They need no_new_privs, or CAP_SYS_ADMIN effective, and
// fail with EPERM without (landlock_restrict_self(2)).
func (f *Fitted) Restrict(b *entry.Builder) {
	if f.attr == (rulesetAttr{}) {
		return
	}
	attr := entry.Struct(&f.attr)
	set := b.Get("landlock_create_ruleset", unix.SYS_LANDLOCK_CREATE_RULESET, attr, len(attr), 0)
	for i := range f.rules {
		f.rules[i].add(b, set)
	}
	b.Do("landlock_restrict_self", unix.SYS_LANDLOCK_RESTRICT_SELF, set, 0)
	b.Close(set)
}

// add writes down the calls that add a rule to a ruleset.
func (n *rule) add(b *entry.Builder, set entry.Reg) {
	attr := &entry.Buffer{Size: 16} // struct landlock_path_beneath_attr, or landlock_net_port_attr
	rights, object := entry.Field{Buffer: attr}, entry.Field{Buffer: attr, Offset: 8}
	b.Store(rights, uintptr(n.rights.bits))
	if n.kind == Net {
		b.Store(object, uintptr(n.port))
		b.Do(fmt.Sprintf("landlock_add_rule for port %d", n.port), unix.SYS_LANDLOCK_ADD_RULE, set, ruleNetPort, attr, 0)
		return
	}
	what := "landlock_add_rule for " + n.path
	fd := b.Get("landlock: open "+n.path, unix.SYS_OPENAT, unix.AT_FDCWD, n.path, unix.O_PATH|unix.O_CLOEXEC, 0)
	b.Store(object, fd)
	args := []any{set, rulePathBeneath, attr, 0}
	if ofFile := n.rights.bits & fileRights(); n.loose && ofFile != 0 && ofFile != n.rights.bits {
		// What only a directory can have is EINVAL for a file.
		b.If(what, unix.EINVAL, b.Forget, func() {
			b.Store(rights, uintptr(ofFile))
			b.Do(what, unix.SYS_LANDLOCK_ADD_RULE, args...)
		}, unix.SYS_LANDLOCK_ADD_RULE, args...)
	} else {
		b.Do(what, unix.SYS_LANDLOCK_ADD_RULE, args...)
	}
	b.Close(fd)
}

// fileRights are those of FS that a file can have.
func fileRights() (bits uint64) {
	for _, r := range Rights {
		if r.Kind == FS && r.file {
			bits |= r.Bit
		}
	}
	return bits
}
