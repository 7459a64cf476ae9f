package capdrop

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/caps"
	"staves/lib/chain"
	"staves/lib/diag"
)

// securebits are the options about what user 0 is worth.
type securebits struct {
	list    string
	name    string
	on, off caps.Securebits
	mode    caps.Mode // Uncertain: none was asked for
}

func (s *securebits) options(fs *pflag.FlagSet) {
	fs.StringVar(&s.list, "securebits", "", "set the securebits in `LIST`, clear those with - before them")
	fs.StringVar(&s.name, "mode", "", "set all securebits and sets as `MODE` wants: nopriv|pure1e|pure1e_init|hybrid")
}

// parseSecurebits reads names with commas between, each perhaps after + or -.
func parseSecurebits(text string) (on, off caps.Securebits, err error) {
	for word := range strings.SplitSeq(text, ",") {
		bare := strings.TrimLeft(word, "+-")
		bit, err := caps.ParseSecurebit(bare)
		switch {
		case err != nil:
			return 0, 0, err
		case len(word)-len(bare) > 1:
			return 0, 0, fmt.Errorf("%q: one sign is enough", word)
		case bit == caps.KeepCaps:
			return 0, 0, fmt.Errorf("%s: an execve clears it", bare)
		case word[0] == '-':
			off |= bit
		default:
			on |= bit
		}
	}
	if both := on & off; both != 0 {
		return 0, 0, fmt.Errorf("%s: both set and cleared", both)
	}
	return on, off, nil
}

func (s *securebits) check(_ *chain.Chain, link *chain.Link) (err error) {
	if link.Flags.Changed("mode") {
		if s.mode, err = caps.ParseMode(s.name); err != nil {
			return fmt.Errorf("--mode: %w", err)
		}
		for _, other := range []string{"securebits", "amb", "iab"} {
			if link.Flags.Changed(other) {
				return fmt.Errorf("--mode and --%s exclude each other", other)
			}
		}
		for _, other := range []string{"keep", "bnd", "allow-new-privs"} {
			if s.mode == caps.NoPriv && link.Flags.Changed(other) {
				return fmt.Errorf("--mode %s and --%s exclude each other", s.name, other)
			}
		}
	}
	if link.Flags.Changed("securebits") {
		if s.on, s.off, err = parseSecurebits(s.list); err != nil {
			return fmt.Errorf("--securebits: %w", err)
		}
	}
	return nil
}

func (s *securebits) given(link *chain.Link) bool {
	return link.Flags.Changed("securebits") || link.Flags.Changed("mode")
}

// of returns the securebits that the options make of those that there are.
func (s *securebits) of(now caps.Securebits) caps.Securebits {
	switch s.mode {
	case caps.Uncertain:
		return now&^s.off | s.on
	case caps.Hybrid:
		return 0
	}
	return caps.Pure
}

// locked names what cannot be changed any more.
func locked(now, want caps.Securebits) error {
	for bit := caps.NoRoot; bit <= caps.ExecDenyInteractive; bit <<= 2 {
		lock := bit << 1
		if stuck := (now ^ want) & bit; now&lock != 0 && (stuck != 0 || want&lock == 0) {
			return diag.WithHint(fmt.Errorf("change the securebit %s: it is locked: %w", bit, unix.EPERM),
				"a lock holds for a process and its children; a new user namespace begins without")
		}
	}
	return nil
}
