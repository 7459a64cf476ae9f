package capdrop

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"staves/lib/caps"
	"staves/lib/chain"
	"staves/lib/diag"
)

// target is what decide says, in a user namespace as well: an id must have a number there.
func (s *stage) target(c *chain.Chain, link *chain.Link, now *caps.State, ids *caps.IDs) (*caps.State, error) {
	want, err := s.decide(link, now, ids)
	if err == nil && c.InUserNS(link) && s.user.changes(link) {
		err = s.user.mapped(now, want)
	}
	return want, err
}

// decide says what the thread's state is to become, and finds out whether the kernel
// will have it so, from the state now and the ids that the thread is to have.
//
// Root gets what it has by being root: permitted = effective = the bounding set, and
// nothing needs to be ambient. Anybody else loses everything that is not ambient with
// the next execve; what is kept there must be named, or 'capdrop --user 1000' would
// hand Docker's dac_override and setuid to an ordinary user, for good.
//
// A set that has an option of its own is what that option says.
func (s *stage) decide(link *chain.Link, now *caps.State, ids *caps.IDs) (*caps.State, error) {
	asked, held := s.sets.asked(link), now.Held()
	if missing := s.sets.keep.Named &^ held; missing != 0 {
		return nil, notHeld("keep", missing, now)
	}
	if missing := s.sets.amb.Named &^ now.Permitted; missing != 0 {
		return nil, notHeld("amb", missing, now)
	}
	want := *now
	want.Bounding = s.sets.bounding(link) & now.Bounding
	if missing := s.sets.bnd.Named &^ now.Bounding; missing != 0 {
		return nil, notHeld("bnd", missing, now)
	}
	want.NoNewPrivs = now.NoNewPrivs || s.noPriv.on()
	want.Securebits = s.bits.of(now.Securebits)
	if err := s.user.become(&want, ids); err != nil {
		return nil, err
	}
	if s.leavesBounding(link, now, &want) {
		want.Bounding = now.Bounding
	}
	s.decideSets(&want, asked&held)
	if s.bits.mode != caps.Uncertain {
		s.bits.mode.Apply(&want)
	}
	if err := s.mayInherit(now, &want); err != nil {
		return nil, err
	}
	return &want, possible(now, &want)
}

// leavesBounding tells whether the bounding set stays as it is, since it cannot be lowered,
// nobody has asked for that, and it gives nothing: to a process that neither is root nor
// becomes it, only files have capabilities to give, and not under no_new_privs.
func (s *stage) leavesBounding(link *chain.Link, now, want *caps.State) bool {
	root := slices.Contains(now.UID[:], 0) || slices.Contains(want.UID[:], 0)
	return !now.Permitted.Has(caps.SETPCAP) && want.NoNewPrivs && !root && !s.asksForSets(link)
}

// asksForSets tells whether an option says anything about capabilities.
func (s *stage) asksForSets(link *chain.Link) bool {
	return slices.ContainsFunc([]string{"keep", "drop", "preset", "inh", "amb", "bnd", "iab", "mode"}, link.Flags.Changed)
}

// decideSets decides on the sets of a process; all is what was asked for and is held.
func (s *stage) decideSets(want *caps.State, all caps.Set) {
	keep := all
	want.Inheritable, want.Ambient = 0, 0
	if want.UID[1] != 0 || want.Securebits&caps.NoRoot != 0 {
		if !s.sets.keep.All {
			keep &= s.sets.keep.Named
		}
		want.Inheritable, want.Ambient = keep, keep
	}
	want.Permitted = keep
	if s.sets.amb.given {
		want.Ambient = s.sets.amb.of(all)
		want.Inheritable = want.Ambient
		want.Permitted |= want.Ambient
	}
	if s.sets.inh.given {
		want.Inheritable = s.sets.inh.of(want.Permitted)
		want.Ambient &= want.Inheritable
	}
	want.Effective = want.Permitted
}

// mayInherit finds what --inh names and cannot be made inheritable: it is neither held
// nor, with CAP_SETPCAP, in the bounding set.
func (s *stage) mayInherit(now, want *caps.State) error {
	can := now.Inheritable | now.Permitted
	if now.Permitted.Has(caps.SETPCAP) {
		can |= now.Bounding
	}
	// What is in neither the set now nor the bounding set cannot be added.
	if missing := want.Inheritable &^ (can & (now.Inheritable | now.Bounding)); missing != 0 {
		return notHeld("inh", missing, now)
	}
	return nil
}

// possible names the capability that the way from now to want takes and that is not
// there.
func possible(now, want *caps.State) error {
	need := func(what string, n int, without ...string) error {
		err := fmt.Errorf("%s: %s: %w", what, caps.Name(n), unix.EPERM)
		if now.UID[1] != 0 && now.Permitted == 0 {
			return diag.WithHint(err, append([]string{"an ordinary user holds it in a user namespace: nsrun -U -r -- capdrop ..."}, without...)...)
		}
		return diag.WithHint(err, "this process does not hold it: grep CapPrm /proc/self/status")
	}
	may := func(want, now [3]uint32) bool { // setresuid(2): any of the ids that it has
		return !slices.ContainsFunc(want[:], func(id uint32) bool { return !slices.Contains(now[:], id) })
	}
	has := now.Permitted.Has
	switch {
	case !may(want.UID, now.UID) && !has(caps.SETUID):
		return need("change the user", caps.SETUID)
	case !may(want.GID, now.GID) && !has(caps.SETGID):
		return need("change the group", caps.SETGID)
	case !caps.SameGroups(want.Groups, now.Groups) && !has(caps.SETGID):
		return need("change the supplementary groups", caps.SETGID, "to leave them as they are takes no privilege: --keep-groups")
	case want.Bounding != now.Bounding && !has(caps.SETPCAP):
		return need("lower the bounding set", caps.SETPCAP, "to leave it as it is takes no privilege: capdrop --preset all -- ...")
	case want.Securebits != now.Securebits && !has(caps.SETPCAP):
		return need("change the securebits", caps.SETPCAP)
	case want.Ambient != 0 && now.Securebits&caps.NoCapAmbientRaise != 0:
		return diag.WithHint(fmt.Errorf("make %s ambient: the securebit %s forbids it: %w", want.Ambient, caps.NoCapAmbientRaise, unix.EPERM),
			"only a new user namespace has it clear: nsrun -U -r -- capdrop ...")
	case loses(now, want) && want.Permitted != 0 && now.Securebits&caps.KeepCapsLocked != 0:
		return fmt.Errorf("keep %s over a change of user: the securebit %s forbids it: %w", want.Permitted, caps.KeepCapsLocked, unix.EPERM)
	}
	return locked(now.Securebits, want.Securebits)
}

// loses tells whether the change of user takes the permitted set away: from root to
// somebody else, unless a securebit says otherwise (capabilities(7)).
func loses(now, want *caps.State) bool {
	return now.Securebits&caps.NoSetuidFixup == 0 && slices.Contains(now.UID[:], 0) && !slices.Contains(want.UID[:], 0)
}

// notHeld is the error for capabilities that an option names and that cannot be kept.
func notHeld(option string, missing caps.Set, now *caps.State) error {
	err := fmt.Errorf("--%s: %s: not held by this process", option, missing)
	switch {
	case missing&now.Bounding != missing && (option == "bnd" || missing&^now.Permitted == 0):
		return diag.WithHint(fmt.Errorf("--%s: %s: not in the bounding set of this process", option, missing&^now.Bounding),
			"what is out of the bounding set cannot come back: grep CapBnd /proc/self/status")
	case now.Permitted == 0 && now.UID[1] != 0:
		return diag.WithHint(err, "an ordinary user holds none; in a user namespace it does: nsrun -U -r -- capdrop ...")
	}
	return diag.WithHint(err, "capabilities cannot be gained, only given up: grep CapPrm /proc/self/status")
}
