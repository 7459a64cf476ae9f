package caps

import (
	"errors"
	"fmt"
	"strings"
)

// Sets are the three sets that capset(2) sets, and that a file can have: what
// cap_from_text(3) reads and cap_to_text(3) writes.
type Sets struct{ Permitted, Effective, Inheritable Set }

// Sets returns the three sets of s.
func (s *State) Sets() Sets { return Sets{s.Permitted, s.Effective, s.Inheritable} }

// flags is a combination of sets, one bit for each.
type flags uint8

const (
	inEffective flags = 1 << iota
	inInheritable
	inPermitted
)

// String writes f as the letters of cap_text_formats(7).
func (f flags) String() string {
	s := ""
	for i, letter := range "eip" {
		if f>>i&1 != 0 {
			s += string(letter)
		}
	}
	return s
}

// of returns the sets that capability n is in.
func (s *Sets) of(n int) (f flags) {
	for i, set := range [...]Set{s.Effective, s.Inheritable, s.Permitted} {
		if set.Has(n) {
			f |= 1 << i
		}
	}
	return f
}

// change puts list into the sets of f, or takes it out of them.
func (s *Sets) change(list Set, f flags, in bool) {
	for i, set := range [...]*Set{&s.Effective, &s.Inheritable, &s.Permitted} {
		switch {
		case f>>i&1 == 0:
		case in:
			*set |= list
		default:
			*set &^= list
		}
	}
}

var errText = errors.New("no text for capability sets: see cap_text_formats(7)")

// ParseText reads clauses with white space between, as cap_from_text(3) does:
// "cap_chown,cap_kill=ep", "all=p cap_bpf-p", "=ep". A clause changes what the clauses
// before it say of the capabilities in its list; without a list they are all. The empty
// text is three empty sets. Names are those of [ParseName].
func ParseText(text string) (Sets, error) {
	var s Sets
	for {
		text = strings.TrimLeft(text, space)
		if text == "" {
			return s, nil
		}
		var err error
		if text, err = s.clause(text); err != nil {
			return Sets{}, err
		}
	}
}

// space are the characters that isspace(3) knows.
const space = " \t\n\v\f\r"

// clause applies the clause that text begins with, and returns what follows it.
func (s *Sets) clause(text string) (rest string, err error) {
	list, rest, err := clauseList(text, All>>(63-Last()))
	if err != nil {
		return "", err
	}
	listed := len(rest) < len(text)
	if rest == "" {
		return "", fmt.Errorf("%q: %w", text, errText)
	}
	op := rest[0]
	rest = rest[1:]
	switch {
	case op == '=':
		s.change(list, inEffective|inInheritable|inPermitted, false)
		if rest != "" && (rest[0] == '+' || rest[0] == '-') {
			if !listed { // "=+" is about a list, as "+" alone is
				return "", fmt.Errorf("%q: %w", text, errText)
			}
			op, rest = rest[0], rest[1:]
		}
	case op != '+' && op != '-' || !listed:
		return "", fmt.Errorf("%q: %w", text, errText)
	}
	for {
		var f flags
		for len(rest) > 0 && strings.IndexByte("eip", rest[0]) >= 0 {
			f |= 1 << strings.IndexByte("eip", rest[0])
			rest = rest[1:]
		}
		if f == 0 && op != '=' { // only "=" may stand for nothing
			return "", fmt.Errorf("%q: %w", text, errText)
		}
		s.change(list, f, op != '-')
		switch {
		case rest == "" || strings.IndexByte(space, rest[0]) >= 0:
			return rest, nil
		case listed && (rest[0] == '+' || rest[0] == '-'):
			op, rest = rest[0], rest[1:]
		default:
			return "", fmt.Errorf("%q: %w", text, errText)
		}
	}
}

// clauseList reads the capabilities that a clause begins with: all if there are none.
func clauseList(text string, all Set) (list Set, rest string, err error) {
	if !nameByte(text[0]) {
		return all, text, nil
	}
	for rest = text; ; rest = rest[1:] {
		name := rest
		if after, ok := cutWord(rest, "all"); ok {
			list, rest = all, after // what stands before it is not in it
		} else if n, after, ok := cutName(rest); ok {
			list, rest = list|1<<n, after
		} else {
			return 0, "", fmt.Errorf("%q: %w", name, errText)
		}
		if rest == "" || rest[0] != ',' {
			return list, rest, nil
		}
		if len(rest) == 1 || !nameByte(rest[1]) {
			return 0, "", fmt.Errorf("%q: %w", name, errText)
		}
	}
}

// String writes the sets as cap_to_text(3) does: first what most of the kernel's
// capabilities have in common, then what is different about the others; last the
// capabilities that the kernel does not have.
func (s Sets) String() string {
	last := Last()
	var lists, beyond [8][]string // by the sets that they are in
	for n := range 64 {
		f := s.of(n)
		if n > last {
			beyond[f] = append(beyond[f], TextName(n))
		} else {
			lists[f] = append(lists[f], TextName(n))
		}
	}
	common := flags(0)
	order := [...]flags{0, 1, 4, 5, 2, 3, 6, 7} // the C library's: by e, p, i
	for _, f := range order {
		if len(lists[f]) > len(lists[common]) {
			common = f
		}
	}
	words := []string{"=" + common.String()}
	for i := range order {
		f := order[len(order)-1-i]
		if f == common || len(lists[f]) == 0 {
			continue
		}
		more, less := f&^common, common&^f
		w := strings.Join(lists[f], ",")
		if more != 0 {
			op := "+"
			if words[0] == "=" { // "= cap_x+e" is "cap_x=e"
				words, op = words[1:], "="
			}
			w += op + more.String()
		}
		if less != 0 {
			w += "-" + less.String()
		}
		words = append(words, w)
	}
	for i := range order {
		if f := order[len(order)-1-i]; f != 0 && len(beyond[f]) > 0 {
			words = append(words, strings.Join(beyond[f], ",")+"+"+f.String())
		}
	}
	return strings.Join(words, " ")
}
