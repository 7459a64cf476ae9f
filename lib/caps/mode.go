package caps

import (
	"fmt"
	"strings"
)

// A Mode is one of the ways to use capabilities that libcap has names for
// (cap_set_mode(3)).
type Mode int

// The modes, with libcap's numbers.
const (
	Uncertain  Mode = iota // none of the others
	NoPriv                 // no privilege, and no way to any
	Pure1EInit             // user 0 is worth nothing, and nothing is inheritable
	Pure1E                 // user 0 is worth nothing: capabilities come from files and by inheritance
	Hybrid                 // the kernel's default: user 0 has capabilities
)

// Modes are the names, by number.
var Modes = [...]string{"UNCERTAIN", "NOPRIV", "PURE1E_INIT", "PURE1E", "HYBRID"}

func (m Mode) String() string { return Modes[m] }

// ParseMode returns the mode called name, in any case.
func ParseMode(name string) (Mode, error) {
	for m := NoPriv; m <= Hybrid; m++ {
		if strings.EqualFold(name, Modes[m]) {
			return m, nil
		}
	}
	return Uncertain, fmt.Errorf("%q is no mode: they are %s", name, strings.Join(Modes[NoPriv:], " "))
}

// Pure are the securebits of the modes in which user 0 is worth nothing.
const Pure = NoRoot | NoRootLocked | NoSetuidFixup | NoSetuidFixupLocked | KeepCapsLocked |
	NoCapAmbientRaise | NoCapAmbientRaiseLocked

// Apply changes s to what it is in mode m. What s has of permitted capabilities stays, in
// every mode but NoPriv.
func (m Mode) Apply(s *State) {
	if m == Hybrid {
		s.Securebits = 0
		return
	}
	s.Securebits, s.Ambient = Pure, 0
	switch m {
	case NoPriv:
		s.Permitted, s.Effective, s.Inheritable, s.Bounding, s.NoNewPrivs = 0, 0, 0, 0, true
	case Pure1EInit:
		s.Inheritable = 0
	}
}

// Mode is the mode that s is in.
func (s *State) Mode() Mode {
	switch {
	case s.Securebits == 0:
		return Hybrid
	case s.Securebits&Pure != Pure || s.Ambient != 0:
		return Uncertain
	case s.Inheritable != 0:
		return Pure1E
	case s.Permitted|s.Effective|s.Bounding != 0:
		return Pure1EInit
	}
	return NoPriv
}
