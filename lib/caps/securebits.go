package caps

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// Securebits say what user 0 is worth, and what a change of user does to the
// capabilities (capabilities(7), linux/securebits.h). Each has a lock, the bit above it:
// a bit that is locked cannot change any more.
type Securebits uint32

// The securebits and their locks.
const (
	NoRoot Securebits = 1 << iota // user 0 gains nothing by being user 0
	NoRootLocked
	NoSetuidFixup // a change of user leaves the capabilities alone
	NoSetuidFixupLocked
	KeepCaps // it leaves the permitted ones; ended by execve
	KeepCapsLocked
	NoCapAmbientRaise // nothing can become ambient
	NoCapAmbientRaiseLocked
	ExecRestrictFile // scripts run only from files that may be executed (Linux 6.14)
	ExecRestrictFileLocked
	ExecDenyInteractive // interpreters take no commands but from files (Linux 6.14)
	ExecDenyInteractiveLocked
)

// securebitNames are the names by bit, as setpriv(1) has them.
var securebitNames = [...]string{
	"noroot", "noroot_locked", "no_setuid_fixup", "no_setuid_fixup_locked", "keep_caps", "keep_caps_locked",
	"no_cap_ambient_raise", "no_cap_ambient_raise_locked",
	"exec_restrict_file", "exec_restrict_file_locked", "exec_deny_interactive", "exec_deny_interactive_locked",
}

// ParseSecurebit returns the bit called name.
func ParseSecurebit(name string) (Securebits, error) {
	i := slices.Index(securebitNames[:], strings.ToLower(name))
	if i < 0 {
		return 0, fmt.Errorf("%q is no securebit: they are %s", name, strings.Join(securebitNames[:], " "))
	}
	return 1 << i, nil
}

// String writes the names with commas between, "none" for no bit.
func (s Securebits) String() string {
	var w []string
	for i := range 32 {
		switch {
		case s>>i&1 == 0:
		case i < len(securebitNames):
			w = append(w, securebitNames[i])
		default:
			w = append(w, fmt.Sprintf("bit_%d", i))
		}
	}
	if w == nil {
		return "none"
	}
	return strings.Join(w, ",")
}

// SetSecurebits sets the securebits, exactly; it wants CAP_SETPCAP effective
// (PR_SET_SECUREBITS of prctl(2)).
func SetSecurebits(b *entry.Builder, bits Securebits) {
	prctl(b, fmt.Sprintf("set the securebits to %s", bits), unix.PR_SET_SECUREBITS, int(bits), 0)
}
