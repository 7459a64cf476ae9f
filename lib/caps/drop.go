package caps

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// DropBounding takes set out of the bounding set: no execve gives these capabilities
// again, be it to root or through a file. It wants CAP_SETPCAP effective
// (PR_CAPBSET_DROP of prctl(2)).
func DropBounding(set Set) error {
	for n := range 64 {
		if !set.Has(n) {
			continue
		}
		if _, errno := prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0); errno != 0 {
			return fmt.Errorf("drop %s from the bounding set: %w", Name(n), errno)
		}
	}
	return nil
}

// SetThread sets the permitted, effective and inheritable sets, exactly. Nothing can
// be added to permitted, and losing a capability there or in inheritable takes it out
// of ambient (capset(2)).
func SetThread(permitted, effective, inheritable Set) error {
	data := [2]unix.CapUserData{
		{Permitted: uint32(permitted), Effective: uint32(effective), Inheritable: uint32(inheritable)},
		{Permitted: uint32(permitted >> 32), Effective: uint32(effective >> 32), Inheritable: uint32(inheritable >> 32)},
	}
	if err := capCall(unix.SYS_CAPSET, &data); err != nil {
		return fmt.Errorf("capset to %s: %w", permitted, err)
	}
	return nil
}

// SetAmbient sets the ambient set, exactly: what a program executed by an ordinary
// user keeps. A capability must be permitted and inheritable to become ambient
// (PR_CAP_AMBIENT of prctl(2)).
func SetAmbient(set Set) error {
	if _, errno := prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0); errno != 0 {
		return fmt.Errorf("clear the ambient set: %w", errno)
	}
	for n := range 64 {
		if !set.Has(n) {
			continue
		}
		if _, errno := prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(n)); errno != 0 {
			return fmt.Errorf("raise %s in the ambient set: %w", Name(n), errno)
		}
	}
	return nil
}

// NoNewPrivs has no execve grant anything that the thread does not have: setuid bits
// and file capabilities do nothing from now on. It cannot be taken back
// (PR_SET_NO_NEW_PRIVS of prctl(2)).
func NoNewPrivs() error {
	if _, errno := prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0); errno != 0 {
		return fmt.Errorf("set no_new_privs: %w", errno)
	}
	return nil
}
