package seccomp

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxSize is the size in bytes of the longest profile that [Parse] reads. Docker's has
// 16 KB, Podman's 21 KB.
const MaxSize = 1 << 20

// Parse reads a profile: JSON as runc has it (config-linux.md of the OCI runtime
// specification, "Seccomp"), with what Docker and Podman add to it, or a filter as the
// kernel has it, an array of struct sock_filter.
//
// What it does not know it does not skip: a member or a system call that is misspelt
// would make the profile another one. A name that some architecture of Linux has is fine.
func Parse(text []byte) (*Profile, error) {
	switch {
	case len(text) == 0:
		return nil, errors.New("it is empty")
	case len(text) > MaxSize:
		return nil, fmt.Errorf("longer than %d bytes: %w", MaxSize, unix.EFBIG)
	case bytes.IndexByte(text, 0) >= 0: // in each sock_filter, and in no JSON
		return parseRaw(text)
	}
	r := &reader{text: text}
	file := r.profile()
	if r.peek() != 0 {
		r.fail("something follows the end of the profile")
	}
	if r.err != nil {
		return nil, r.err
	}
	return file.profile()
}

// profileFile is a profile as it is written.
type profileFile struct {
	action, errno string
	errnoRet      *uint64
	arches        []string
	archMap       [][]string // each architecture with its subArchitectures
	flags         []string
	rules         []ruleFile
}

type ruleFile struct {
	name               string // before Docker 1.12.2
	names              []string
	action, errno      string
	errnoRet           *uint64
	args               []argFile
	includes, excludes whereFile
}

type argFile struct {
	index, value, valueTwo uint64
	op                     string
}

type whereFile struct {
	caps, arches []string
	minKernel    string
}

func (r *reader) profile() (f profileFile) {
	r.object(func(name string) {
		switch name {
		case "defaultAction":
			f.action = r.string()
		case "defaultErrnoRet":
			f.errnoRet = r.optional()
		case "defaultErrno": // Podman's: the same by name
			f.errno = r.string()
		case "architectures":
			f.arches = r.strings()
		case "archMap":
			r.array(func() { f.archMap = append(f.archMap, r.family()) })
		case "flags":
			f.flags = r.strings()
		case "listenerPath", "listenerMetadata": // for SCMP_ACT_NOTIFY, which is refused
			r.string()
		case "syscalls":
			r.array(func() { f.rules = append(f.rules, r.rule()) })
		default:
			r.fail("a profile has no member %q", name)
		}
	})
	return f
}

func (r *reader) family() (arches []string) {
	var sub []string
	r.object(func(name string) {
		switch name {
		case "architecture":
			arches = []string{r.string()}
		case "subArchitectures":
			sub = r.strings()
		default:
			r.fail("archMap has no member %q", name)
		}
	})
	if len(arches) == 0 {
		r.fail("archMap: no architecture")
	}
	return append(arches, sub...)
}

func (r *reader) rule() (f ruleFile) {
	r.object(func(name string) {
		switch name {
		case "name":
			f.name = r.string()
		case "names":
			f.names = r.strings()
		case "action":
			f.action = r.string()
		case "errnoRet":
			f.errnoRet = r.optional()
		case "errno":
			f.errno = r.string()
		case "args":
			r.array(func() { f.args = append(f.args, r.arg()) })
		case "comment":
			r.string()
		case "includes":
			f.includes = r.where()
		case "excludes":
			f.excludes = r.where()
		default:
			r.fail("a rule has no member %q", name)
		}
	})
	return f
}

func (r *reader) arg() (a argFile) {
	r.object(func(name string) {
		switch name {
		case "index":
			a.index = r.number()
		case "value":
			a.value = r.number()
		case "valueTwo":
			a.valueTwo = r.number()
		case "op":
			a.op = r.string()
		default:
			r.fail("an argument has no member %q", name)
		}
	})
	return a
}

func (r *reader) where() (w whereFile) {
	r.object(func(name string) {
		switch name {
		case "caps":
			w.caps = r.strings()
		case "arches":
			w.arches = r.strings()
		case "minKernel":
			w.minKernel = r.string()
		default:
			r.fail("includes and excludes have no member %q", name)
		}
	})
	return w
}

func (f *profileFile) profile() (*Profile, error) {
	if f.action == "" {
		return nil, errors.New("no defaultAction")
	}
	p := &Profile{}
	var err error
	if p.Default, err = parseAction(f.action, f.errnoRet, f.errno); err != nil {
		return nil, fmt.Errorf("defaultAction: %w", err)
	}
	if p.Flags, err = parseFlags(f.flags); err != nil {
		return nil, err
	}
	if len(f.arches) > 0 && len(f.archMap) > 0 {
		return nil, errors.New("both architectures and archMap: one of them is enough")
	}
	if p.Arches, err = parseArches(f.arches); err != nil {
		return nil, err
	}
	for _, m := range f.archMap {
		family, err := parseArches(m)
		if err != nil {
			return nil, err
		}
		p.Families = append(p.Families, family)
	}
	for i := range f.rules {
		rule, err := f.rules[i].rule()
		if err != nil {
			return nil, fmt.Errorf("syscalls[%d]: %w", i, err)
		}
		p.Rules = append(p.Rules, rule)
	}
	return p, nil
}

func parseArches(names []string) ([]Arch, error) {
	var list []Arch
	for _, name := range names {
		a, ok := parseArch(name)
		if !ok {
			return nil, fmt.Errorf("%q is no architecture", name)
		}
		list = append(list, a)
	}
	return list, nil
}

func (f *ruleFile) rule() (Rule, error) {
	r := Rule{Names: f.names}
	switch {
	case f.name != "" && len(f.names) > 0:
		return r, fmt.Errorf("both name and names: %q", f.name)
	case f.name != "":
		r.Names = []string{f.name}
	case len(f.names) == 0:
		return r, errors.New("no names")
	}
	for _, name := range r.Names {
		if !known(name) {
			return r, fmt.Errorf("%q is no system call", name)
		}
	}
	var err error
	if r.Action, err = parseAction(f.action, f.errnoRet, f.errno); err != nil {
		return r, fmt.Errorf("%s: %w", r.Names[0], err)
	}
	for _, a := range f.args {
		op := slices.Index(ops[:], a.op)
		switch {
		case op < 0:
			return r, fmt.Errorf("%s: %q is no comparison", r.Names[0], a.op)
		case a.index > 5:
			return r, fmt.Errorf("%s: a system call has no argument %d", r.Names[0], a.index)
		}
		r.Args = append(r.Args, Arg{Index: uint(a.index), Op: Op(op), Value: a.value, ValueTwo: a.valueTwo})
	}
	if r.Includes, err = f.includes.where(); err == nil {
		r.Excludes, err = f.excludes.where()
	}
	return r, err
}

func (f *whereFile) where() (Where, error) {
	w := Where{Caps: f.caps, Arches: f.arches}
	if f.minKernel == "" {
		return w, nil
	}
	major, minor, ok := strings.Cut(f.minKernel, ".")
	var err error
	if w.MinKernel[0], err = strconv.Atoi(major); err == nil && ok {
		w.MinKernel[1], err = strconv.Atoi(minor)
	}
	if err != nil || !ok || slices.Min(w.MinKernel[:]) < 0 || w.MinKernel == (Version{}) {
		return w, fmt.Errorf("minKernel: %q is no version like 4.8", f.minKernel)
	}
	return w, nil
}
