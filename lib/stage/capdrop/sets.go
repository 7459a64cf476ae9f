package capdrop

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"staves/lib/caps"
	"staves/lib/chain"
)

// sets are the options that say which capabilities are left.
type sets struct {
	keep, drop list
	preset     string
}

func (s *sets) options(fs *pflag.FlagSet) {
	fs.Var(&s.keep, "keep", "keep the capabilities in `LIST`")
	fs.Var(&s.drop, "drop", "drop those in `LIST`")
	fs.StringVar(&s.preset, "preset", "docker", "begin with `NAME`: "+caps.Presets)
}

// list is a list of capabilities as an option's value; given again, it grows.
type list struct {
	caps.List
	text string
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
	l.text = text
	return nil
}

func (s *sets) check(*chain.Chain, *chain.Link) error {
	both := s.keep.Named & s.drop.Named
	switch _, ok := caps.Preset(s.preset); {
	case !ok:
		return fmt.Errorf("--preset: %q is none of %s", s.preset, caps.Presets)
	case both != 0:
		return fmt.Errorf("%s: both in --keep and in --drop", both)
	case s.keep.All && s.drop.All:
		return errors.New("all: both in --keep and in --drop")
	}
	now, err := caps.Read()
	if err != nil {
		return err
	}
	if unknown := (s.keep.Named | s.drop.Named) &^ now.Supported(); unknown != 0 {
		return fmt.Errorf("%s: this kernel's last capability is %s", unknown, caps.Name(now.Last))
	}
	return nil
}

// base is the name of the set that --keep and --drop change: a preset's.
func (s *sets) base(link *chain.Link) string {
	switch {
	case s.drop.All:
		return "none"
	case s.keep.All:
		return "all"
	case link.Flags.Changed("keep") && !link.Flags.Changed("preset"):
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

// describe is the set that was asked for, in the words of the options.
func (s *sets) describe(link *chain.Link) string {
	base := s.base(link)
	var w []string
	if base != "none" || s.keep.Named == 0 {
		w = append(w, base)
	}
	if s.drop.Named != 0 && base != "none" {
		w = append(w, fmt.Sprintf("without %s", s.drop.Named))
	}
	if s.keep.Named != 0 {
		w = append(w, s.keep.Named.String())
	}
	return strings.Join(w, " ")
}
