package caps

import (
	"fmt"
	"strings"
)

// IAB are the sets that decide what an execve can carry over or give, as
// cap_iab_init(3) groups them. Blocked are the capabilities that are not in the bounding
// set, so that the zero value takes nothing away.
type IAB struct{ Inheritable, Ambient, Blocked Set }

// IAB returns these sets of s.
func (s *State) IAB() IAB {
	return IAB{s.Inheritable, s.Ambient, s.Supported() &^ s.Bounding}
}

// ParseIAB reads names with commas between, each after any of the marks ! (out of the
// bounding set), ^ (ambient and inheritable) and % (inheritable), as
// cap_iab_from_text(3); without a mark it is inheritable. The empty text is empty sets.
func ParseIAB(text string) (IAB, error) {
	var iab IAB
	for rest := text; rest != ""; {
		bare := strings.TrimLeft(rest, "!^%")
		marks := rest[:len(rest)-len(bare)]
		if bare == "" {
			break // marks at the end, without a name, say nothing
		}
		n, after, ok := cutName(bare)
		if !ok || after != "" && after[0] != ',' {
			return IAB{}, fmt.Errorf("%q: no text for inheritable, ambient and bounding sets: see cap_text_formats(7)", text)
		}
		bit := Set(1) << n
		if strings.Contains(marks, "!") {
			iab.Blocked |= bit
		}
		if strings.Contains(marks, "^") {
			iab.Ambient |= bit
		}
		if marks == "" || strings.ContainsAny(marks, "^%") {
			iab.Inheritable |= bit
		}
		rest = strings.TrimPrefix(after, ",")
	}
	return iab, nil
}

// String writes the sets as cap_iab_to_text(3) does, in the order of the kernel's
// capabilities.
func (iab IAB) String() string {
	var words []string
	last := Last()
	for n := range last + 1 {
		mark := ""
		blocked := iab.Blocked.Has(n)
		if blocked {
			mark = "!"
		}
		switch {
		case iab.Ambient.Has(n):
			mark += "^"
		case iab.Inheritable.Has(n) && blocked:
			mark += "%"
		case !iab.Inheritable.Has(n) && !blocked:
			continue
		}
		words = append(words, mark+TextName(n))
	}
	return strings.Join(words, ",")
}
