package capdrop

import (
	"fmt"
	"strconv"
	"strings"

	"staves/lib/caps"
)

// A capChange is a change of a set: what is put in, and what is taken out.
type capChange struct{ add, drop caps.Set }

func (c capChange) of(set caps.Set) caps.Set { return set&^c.drop | c.add }

// signed finds a word of a list that does not begin with + or -.
func signed(list string) error {
	for word := range strings.SplitSeq(list, ",") {
		if word == "" || word[0] != '+' && word[0] != '-' {
			return fmt.Errorf("%q: each word begins with + or -", word)
		}
	}
	return nil
}

func (s *setpriv) readSets() error {
	for _, o := range []struct {
		name   string
		change *capChange
	}{{"inh-caps", &s.inh}, {"ambient-caps", &s.amb}, {"bounding-set", &s.bnd}} {
		text, ok := s.opts[o.name]
		if !ok {
			continue
		}
		var err error
		if *o.change, err = parseChange(text); err != nil {
			return fmt.Errorf("--%s: %w", o.name, err)
		}
	}
	return nil
}

// parseChange reads names with commas between, each after + or -, in order: without cap_,
// or cap_N for a number, and "all".
func parseChange(text string) (capChange, error) {
	var c capChange
	if err := signed(text); err != nil {
		return c, err
	}
	last := caps.Last()
	for word := range strings.SplitSeq(text, ",") {
		set := caps.All >> (63 - last)
		if name := word[1:]; name != "all" {
			n, err := parseBare(name)
			if err != nil {
				return c, err
			}
			if n > last {
				return c, fmt.Errorf("%s: this kernel's last capability is %s", name, bareName(last))
			}
			set = 1 << n
		}
		if word[0] == '+' {
			c.add, c.drop = c.add|set, c.drop&^set
		} else {
			c.add, c.drop = c.add&^set, c.drop|set
		}
	}
	return c, nil
}

// parseBare reads a capability as setpriv has it: cap_ is for numbers.
func parseBare(name string) (int, error) {
	digits, isNumber := strings.CutPrefix(name, "cap_")
	if _, err := strconv.Atoi(digits); isNumber && err != nil {
		return 0, fmt.Errorf("%q is no capability here: write it without cap_", name)
	} else if !isNumber && err == nil {
		return 0, fmt.Errorf("%q is no capability: write cap_%s", name, name)
	}
	return caps.Parse(name)
}
