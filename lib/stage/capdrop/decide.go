package capdrop

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"staves/lib/caps"
	"staves/lib/chain"
	"staves/lib/diag"
)

// decide says what the thread's state is to become, and finds out whether the kernel
// will have it so, from the state now and the ids that the thread is to have.
//
// Root gets what it has by being root: permitted = effective = the bounding set, and
// nothing needs to be ambient. Anybody else loses everything that is not ambient with
// the next execve; what is kept there must be named, or 'capdrop --user 1000' would
// hand Docker's dac_override and setuid to an ordinary user, for good.
func (s *stage) decide(link *chain.Link, now *caps.State, ids *caps.IDs) (*caps.State, error) {
	asked, held := s.sets.asked(link), now.Held()
	if missing := s.sets.keep.Named &^ held; missing != 0 {
		return nil, notHeld(missing, now)
	}
	want := *now
	want.Bounding = asked & now.Bounding
	want.NoNewPrivs = now.NoNewPrivs || s.noPriv.on()
	if ids != nil {
		want.UID = [3]uint32{ids.UID, ids.UID, ids.UID}
		want.GID = [3]uint32{ids.GID, ids.GID, ids.GID}
		var err error
		if want.Groups, err = ids.Reach(now); err != nil {
			return nil, err
		}
	}
	keep := asked & held
	want.Inheritable, want.Ambient = 0, 0
	if want.UID[1] != 0 || now.Securebits&caps.NoRoot != 0 {
		if !s.sets.keep.All {
			keep &= s.sets.keep.Named
		}
		want.Inheritable, want.Ambient = keep, keep
	}
	want.Permitted, want.Effective = keep, keep
	return &want, possible(now, &want)
}

// possible names the capability that the way from now to want takes and that is not
// there.
func possible(now, want *caps.State) error {
	need := func(what string, n int) error {
		err := fmt.Errorf("%s: %s: %w", what, caps.Name(n), unix.EPERM)
		if now.UID[1] != 0 && now.Permitted == 0 {
			return diag.WithHint(err,
				"an ordinary user holds it in a user namespace: nsrun -U -r -- capdrop ...",
				"no_new_privs alone needs no privilege: capdrop --preset all -- ...")
		}
		return diag.WithHint(err, "this process does not hold it: grep CapPrm /proc/self/status")
	}
	may := func(want, now [3]uint32) bool { // setresuid(2): any of the ids that it has
		return !slices.ContainsFunc(want[:], func(id uint32) bool { return !slices.Contains(now[:], id) })
	}
	switch {
	case want.Bounding != now.Bounding && !now.Permitted.Has(caps.SETPCAP):
		return need("lower the bounding set", caps.SETPCAP)
	case !may(want.UID, now.UID) && !now.Permitted.Has(caps.SETUID):
		return need("change the user", caps.SETUID)
	case !may(want.GID, now.GID) && !now.Permitted.Has(caps.SETGID):
		return need("change the group", caps.SETGID)
	case !caps.SameGroups(want.Groups, now.Groups) && !now.Permitted.Has(caps.SETGID):
		return need("change the supplementary groups", caps.SETGID)
	}
	return nil
}

// notHeld is the error for capabilities that were named and cannot be kept.
func notHeld(missing caps.Set, now *caps.State) error {
	err := fmt.Errorf("--keep: %s: not held by this process", missing)
	switch {
	case missing&^now.Permitted == 0:
		return diag.WithHint(fmt.Errorf("--keep: %s: not in the bounding set of this process", missing),
			"what is out of the bounding set cannot come back: grep CapBnd /proc/self/status")
	case now.Permitted == 0 && now.UID[1] != 0:
		return diag.WithHint(err, "an ordinary user holds none; in a user namespace it does: nsrun -U -r -- capdrop ...")
	}
	return diag.WithHint(err, "capabilities cannot be gained, only given up: grep CapPrm /proc/self/status")
}
