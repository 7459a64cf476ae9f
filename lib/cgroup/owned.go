package cgroup

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// A group that is removed when its payload ends must be known as such by others, should
// nobody be left to do that: see Collect, and docs/design/0016-dead-groups.md.
//
//   - It has the sticky bit, from the moment it is made: mkdir(2) takes it, and to
//     cgroupfs, which nobody else makes sticky directories in, it means nothing.
//   - Who is to remove it holds a lock on it, flock(2), for as long as it lives. The
//     kernel gives that back, whatever the process dies of.
//
// So a sticky group that can be locked is a dead one, and who locked it may remove it.
//
// Who removes a dead group also sets its set-user-ID bit, which mkdir(2) cannot do: so
// that somebody who is about to make it anew waits until it is gone, and does not take the
// one who has the lock for an owner.
//
// A group that is made to stay has the set-group-ID bit, which means as little: see nest.
const (
	modeOwned     = 0o1755
	modeCondemned = modeOwned | unix.S_ISUID
	modePlain     = 0o755
)

// errGone tells that a group has been removed since it was made or seen.
var errGone = errors.New("the group is gone")

// lock opens the group called name and takes the lock on it. The error is errGone, or
// EWOULDBLOCK where somebody else has the lock.
func lock(at int, name string) (fd int, err error) {
	fd, err = openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return -1, errGone
	} else if err != nil {
		return -1, err
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		return -1, err
	}
	// Who had the lock before may have removed the group, and another may have its name.
	var open, named unix.Stat_t
	err = unix.Fstat(fd, &open)
	if err == nil {
		err = unix.Fstatat(at, name, &named, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil || open.Dev != named.Dev || open.Ino != named.Ino {
		unix.Close(fd)
		return -1, errGone
	}
	return fd, nil
}

const procsFile = "cgroup.procs"

// owned tells whether a group has the mark of one that is to be removed, condemned
// whether somebody is about to do that.
func owned(at int, name string) bool     { return mode(at, name)&unix.S_ISVTX != 0 }
func condemned(at int, name string) bool { return mode(at, name)&unix.S_ISUID != 0 }

func mode(at int, name string) uint32 {
	var st unix.Stat_t
	if unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return 0
	}
	return st.Mode
}

// makeOwned makes the group called name, or takes over a dead one, whether it is to be
// removed, or with keep to stay. It tells whether the group is ours now, also with an error.
func (g *Group) makeOwned(at int, name string, fresh, keep bool) (ours bool, err error) {
	perm := uint32(modeOwned)
	if keep {
		perm = modePlain
	}
	deadline := time.Now().Add(patience)
	for made := false; ; {
		err := unix.Mkdirat(at, name, perm)
		switch {
		case err == nil && keep:
			return true, unix.Fchmodat(at, name, mode(at, name)&0o777|unix.S_ISGID, 0)
		case err == nil:
			made = true
		case !errors.Is(err, unix.EEXIST) || fresh:
			return false, err
		case !owned(at, name):
			return false, nil
		}
		fd, err := lock(at, name)
		switch {
		case errors.Is(err, errGone):
			continue
		// Somebody was faster with the lock on what was made, or removes what was there.
		case errors.Is(err, unix.EWOULDBLOCK) && (made || condemned(at, name)) && time.Now().Before(deadline):
			entry.Pause(time.Millisecond)
			continue
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil // it is alive, and somebody else's to remove
		case err != nil: // no descriptor is left: what was made just now is still ours to remove
			return made, fmt.Errorf("lock it: %w", err)
		}
		if keep {
			err := unix.Fchmod(fd, modePlain|unix.S_ISGID)
			unix.Close(fd)
			return true, err
		}
		if condemned(at, name) { // by somebody who died of that
			err = unix.Fchmod(fd, modeOwned)
		}
		g.locks = append(g.locks, fd)
		return true, err
	}
}

// Locks are descriptors that tell, while one of them is open, that the group has somebody
// to remove it.
func (g *Group) Locks() []int { return g.locks }
