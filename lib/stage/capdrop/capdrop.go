// Package capdrop is the stage that gives up privileges: capabilities, user and
// groups, and the means to get them back. It is the last of a full container, since
// most other stages need what it takes away.
package capdrop

import (
	"github.com/spf13/pflag"

	"staves/lib/caps"
	"staves/lib/chain"
)

// Tool is what the registry knows of capdrop.
var Tool = &chain.Tool{
	Name:     ownName,
	Summary:  "Run NEXT with fewer privileges.",
	New:      func() chain.Stage { return &stage{} },
	Guises:   guises,
	Disguise: disguise,
	Notes: `
A LIST has commas between capabilities, in any spelling (cap_net_raw, NET_RAW, 13),
or is 'all' or 'none'. What is left is the preset, without what --drop names, with
what --keep names; no set is ever larger than that, the bounding set included. A
preset is cut down to what the process holds; a capability that --keep names and
the process does not hold is an error.

The preset is docker; with --keep and no --preset it is none. no_new_privs is set,
whatever the other options, unless --allow-new-privs. An ordinary user may
not lower the bounding set: under no_new_privs, where it gives nothing, it stays as it
is for one who says nothing about capabilities.

Root (user 0) has what is left. Another user has what --keep names, as ambient
capabilities, which programs need not know of; the preset only bounds what a setuid
program could get, as in Docker. --inh, --amb, --bnd and --iab say it set by set.

--user looks names up in the root that NEXT runs in. A named user gets the group of
its line in /etc/passwd and the groups that list it in /etc/group; a number gets the
group of its line, or else the same number, and no further groups; with a group
written (U:G) there is that group alone. The caller's groups stay with --keep-groups
only. HOME and the like stay as they are. Where a user namespace denies
setgroups(2), groups from outside it stay: nothing can drop them.

--landlock refuses access to files, the network and other processes, but for what its
rules allow: all of a kind, and RIGHTS (setpriv's; for files also ro and rw; none is all)
beneath PATH, as NEXT's root has it, or for PORT. A right that this kernel cannot refuse
is an error, unless --landlock-best-effort.
  capdrop --landlock fs:ro:/usr --landlock fs:rw:/tmp --landlock net:connect-tcp:443 -- PROGRAM

--seccomp reads profiles as Docker, Podman and runc do, or a filter as the kernel has
it, and loads it last, when the payload is all that is left. Where new privileges are
allowed and cap_sys_admin is not kept, both come before capabilities are dropped, and
must allow that.
  capdrop -- sh                                root with Docker's capabilities
  capdrop --keep net_raw --user 1000 -- ping ::1
  capdrop --preset all --drop sys_admin,sys_module -- sh
  capdrop --user 1000 --rlimit nproc=64 --umask 077 -- make

The words of libcap's capsh do here what they do there, in order: see 'capsh --help',
which is this program by another name, as are getpcaps, getcap and setcap.
  capdrop --print
  capdrop --decode=00000000a80425fb
  capdrop --chroot=ROOT --drop=cap_sys_chroot -- -c 'exec CMD'`,
}

// A stage is its parts: each with options of its own, its own errors, and its own steps.
type stage struct {
	confinement confinement
	attributes  attributes
	sets        sets
	user        user
	bits        securebits
	noPriv      noPriv
	lock        lock
	filter      filter
	run         program
}

// A part is one of the things that the stage does.
type part interface {
	// options declares the part's options.
	options(fs *pflag.FlagSet)
	// check finds what is wrong with them, before anything is changed.
	check(c *chain.Chain, link *chain.Link) error
}

func (s *stage) parts() []part {
	return []part{&s.sets, &s.user, &s.bits, &s.noPriv, &s.attributes, &s.confinement, &s.lock, &s.filter, &s.run}
}

func (s *stage) Options(fs *pflag.FlagSet) {
	for _, p := range s.parts() {
		p.options(fs)
	}
}

// dropped tells a later capdrop that what it will hold is less than what is held now.
const dropped chain.Fact = "privileges dropped"

func (s *stage) Check(c *chain.Chain, link *chain.Link) error {
	for _, p := range s.parts() {
		if err := p.check(c, link); err != nil {
			return err
		}
	}
	if ids := s.user.expected(c, link); ids != nil {
		c.SetIDs(link, int(ids.UID), int(ids.GID))
	}
	if !c.Made(chain.UserNS, link) && !c.Has(dropped, link) {
		// What is held now is what the first step will see: errors come up here.
		now, err := caps.Read()
		if err != nil {
			return err
		}
		if _, err := s.target(c, link, &now, s.user.expected(c, link)); err != nil {
			return err
		}
		if err := s.lock.allowed(&now, s.noPriv.on()); err != nil {
			return err
		}
		if err := s.filter.allowed(&now, s.noPriv.on()); err != nil {
			return err
		}
	}
	c.Provide(dropped, link)
	return nil
}
