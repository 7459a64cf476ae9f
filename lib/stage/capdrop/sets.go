package capdrop

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"staves/lib/caps"
	"staves/lib/chain"
)

// sets are the options that say which capabilities are left: all in one, or set by set.
type sets struct {
	keep, drop    list
	preset        string
	inh, amb, bnd list
	iab           string

	parsed caps.IAB // of iab
}

func (s *sets) options(fs *pflag.FlagSet) {
	fs.Var(&s.keep, "keep", "keep the capabilities in `LIST`")
	fs.Var(&s.drop, "drop", "drop those in `LIST`")
	fs.StringVar(&s.preset, "preset", "docker", "begin with `NAME`: "+caps.Presets)
	fs.Var(&s.inh, "inh", "let the inheritable set be `LIST`")
	fs.Var(&s.amb, "amb", "let the ambient set be `LIST`, which is kept and inheritable as well")
	fs.Var(&s.bnd, "bnd", "let the bounding set be `LIST`")
	fs.StringVar(&s.iab, "iab", "", "set all three as a `TEXT` like '!%cap_chown,^cap_kill' says")
}

// list is a list of capabilities as an option's value; given again, it grows.
type list struct {
	caps.List
	text  string
	given bool
}

func (l *list) String() string { return l.text }
func (l *list) Type() string   { return "LIST" }

func (l *list) Set(text string) error {
	more, err := caps.ParseList(text)
	if err != nil {
		return err
	}
	l.Named |= more.Named
	l.All = l.All || more.All
	l.text, l.given = text, true
	return nil
}

// of is what the list makes of the set that "all" stands for.
func (l *list) of(all caps.Set) caps.Set {
	if l.All {
		return all | l.Named
	}
	return l.Named
}

func (s *sets) check(_ *chain.Chain, link *chain.Link) (err error) {
	if link.Flags.Changed("iab") {
		if s.parsed, err = parseIAB(s.iab); err != nil {
			return fmt.Errorf("--iab: %w", err)
		}
		for _, other := range []string{"inh", "amb", "bnd"} {
			if link.Flags.Changed(other) {
				return fmt.Errorf("--iab and --%s exclude each other", other)
			}
		}
		s.inh = list{List: caps.List{Named: s.parsed.Inheritable}, given: true}
		s.amb = list{List: caps.List{Named: s.parsed.Ambient}, given: true}
	}
	both := s.keep.Named & s.drop.Named
	switch _, ok := caps.Preset(s.preset); {
	case !ok:
		return fmt.Errorf("--preset: %q is none of %s", s.preset, caps.Presets)
	case both != 0:
		return fmt.Errorf("%s: both in --keep and in --drop", both)
	case s.keep.All && s.drop.All:
		return errors.New("all: both in --keep and in --drop")
	case s.drop.Named&s.amb.Named != 0:
		return fmt.Errorf("%s: both in --amb and in --drop", s.drop.Named&s.amb.Named)
	case s.inh.given && !s.inh.All && s.amb.Named&^s.inh.Named != 0:
		return fmt.Errorf("--amb: %s: not in --inh, and what is ambient must be inheritable", s.amb.Named&^s.inh.Named)
	}
	named := s.keep.Named | s.drop.Named | s.inh.Named | s.amb.Named | s.bnd.Named | s.parsed.Blocked
	if last := caps.Last(); named>>(last+1) != 0 {
		return fmt.Errorf("%s: this kernel's last capability is %s", named>>(last+1)<<(last+1), caps.Name(last))
	}
	return nil
}

// parseIAB is caps.ParseIAB for capabilities in any spelling.
func parseIAB(text string) (caps.IAB, error) {
	words := strings.Split(text, ",")
	for i, w := range words {
		bare := strings.TrimLeft(w, "!^%")
		n, err := caps.Parse(bare)
		if err != nil {
			return caps.IAB{}, err
		}
		words[i] = strings.TrimSuffix(w, bare) + strconv.Itoa(n)
	}
	return caps.ParseIAB(strings.Join(words, ","))
}

// base is the name of the set that --keep and --drop change: a preset's.
func (s *sets) base(link *chain.Link) string {
	switch {
	case s.drop.All:
		return "none"
	case s.keep.All:
		return "all"
	case s.keep.given && !link.Flags.Changed("preset"):
		return "none"
	}
	return s.preset
}

// asked is the set that the options describe, held or not. A capability's own name
// counts for more than a word for many.
func (s *sets) asked(link *chain.Link) caps.Set {
	set, _ := caps.Preset(s.base(link)) // check has seen the error
	return set&^s.drop.Named | s.keep.Named
}

// bounding is the bounding set that the options describe.
func (s *sets) bounding(link *chain.Link) caps.Set {
	if s.bnd.given {
		return s.bnd.of(caps.All)
	}
	return s.asked(link) &^ s.parsed.Blocked
}

// describe is the set that was asked for, in the words of the options.
func (s *sets) describe(link *chain.Link) string {
	if s.bnd.given {
		return s.bnd.text
	}
	base := s.base(link)
	var w []string
	if base != "none" || s.keep.Named == 0 {
		w = append(w, base)
	}
	if without := s.drop.Named | s.parsed.Blocked; without != 0 && base != "none" {
		w = append(w, fmt.Sprintf("without %s", without))
	}
	if s.keep.Named != 0 {
		w = append(w, s.keep.Named.String())
	}
	return strings.Join(w, " ")
}
