package overlay

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/entry"
	"staves/lib/mount"
)

// A state directory holds these two; the kernel wants them on one mount.
const (
	upperName = "upper"
	workName  = "work"
)

// stateFits finds a state directory that cannot be used, or had better not be.
func (s *stage) stateFits() error {
	var st unix.Stat_t
	err := unix.Stat(s.state, &st)
	if errors.Is(err, unix.ENOENT) {
		if unix.Lstat(s.state, &st) == nil {
			return fmt.Errorf("--state %s is a symbolic link that leads nowhere", s.state)
		}
		parent := filepath.Dir(s.state)
		if err := directory(parent); err != nil {
			return chain.PathError("use", parent, err)
		}
		return nil
	}
	switch {
	case err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR:
		err = unix.ENOTDIR
	case err == nil && int(st.Uid) != unix.Geteuid():
		return diag.WithHint(fmt.Errorf("--state %s belongs to user %d", s.state, st.Uid), "whoever owns it may change what the container sees: name a directory of your own, or a new one")
	case err == nil && st.Mode&0o077 != 0:
		return diag.WithHint(fmt.Errorf("--state %s is open to others (mode %03o)", s.state, st.Mode&0o7777),
			"a setuid program that the container makes would be within their reach: chmod 700 "+s.state)
	}
	if err != nil {
		return chain.PathError("use", s.state, err)
	}
	for _, dir := range []string{s.upper, s.work} {
		if err := directory(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			return chain.PathError("use", dir, err)
		}
	}
	return nil
}

// makeState begins what the making of a state is called in messages.
const makeState = "make the state "

// prepare makes what is missing of a state directory, for the caller alone.
func (s *stage) prepare(b *entry.Builder, euid int, top *unix.Stat_t) {
	mount.PlainModes(b, func() {
		dir := absolute(s.state)
		b.Try(makeState+dir, unix.EEXIST, unix.SYS_MKDIRAT, unix.AT_FDCWD, dir, 0o700)
		// It may have come into being since it was looked for: by somebody else.
		const statxUID = 16 // in its upper half, of struct statx: stx_nlink, stx_uid
		st := &entry.Buffer{Size: int(statxSize)}
		b.Do("stat "+dir, unix.SYS_STATX, unix.AT_FDCWD, dir, 0, unix.STATX_UID, st)
		b.Check("verify the owner of "+dir, entry.Field{Buffer: st, Offset: statxUID}, int(uint64(euid)<<32), 0xffffffff<<32, unix.EPERM)
		b.Try(makeState+absolute(s.work), unix.EEXIST, unix.SYS_MKDIRAT, unix.AT_FDCWD, absolute(s.work), 0o700)
		mount.MakeUpper(b, absolute(s.upper), top)
	})
}

// unmake removes a state that was made for an overlay which the kernel then refused. What
// holds anything stays.
func (s *stage) unmake(b *entry.Builder) {
	work := absolute(s.work)
	for _, dir := range []string{work + "/work", work + "/index", work, absolute(s.upper), absolute(s.state)} {
		b.Try("remove "+dir, entry.AnyError, unix.SYS_UNLINKAT, unix.AT_FDCWD, dir, unix.AT_REMOVEDIR)
	}
}

const statxSize = 256 // struct statx, statx(2)
