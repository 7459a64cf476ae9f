package capdrop

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"staves/lib/caps"
)

// readIDs looks users and groups up: by name, or else by number.
func (s *setpriv) readIDs() error {
	for _, o := range []struct {
		name  string
		id    []**uint32
		group bool
	}{
		{"ruid", []**uint32{&s.uid[0]}, false},
		{"euid", []**uint32{&s.uid[1], &s.uid[2]}, false},
		{"reuid", []**uint32{&s.uid[0], &s.uid[1], &s.uid[2]}, false},
		{"rgid", []**uint32{&s.gid[0]}, true},
		{"egid", []**uint32{&s.gid[1], &s.gid[2]}, true},
		{"regid", []**uint32{&s.gid[0], &s.gid[1], &s.gid[2]}, true},
	} {
		word, ok := s.opts[o.name]
		if !ok {
			continue
		}
		id, err := lookUp(word, o.group)
		if err != nil {
			return fmt.Errorf("--%s: %w", o.name, err)
		}
		for _, p := range o.id {
			if *p != nil {
				return fmt.Errorf("--%s: that id is given twice", o.name)
			}
			*p = &id
		}
	}
	return nil
}

// lookUp returns the number of a user or a group.
func lookUp(word string, group bool) (uint32, error) {
	if group {
		if id, err := caps.Files.GroupID(word); err == nil {
			return id, nil
		}
	} else if account, err := caps.Files.Account(word); err == nil {
		return account.UID, nil
	}
	id, err := strconv.ParseUint(word, 10, 32)
	if err != nil || id == 1<<32-1 {
		return 0, fmt.Errorf("%q is neither a name here nor a number", word)
	}
	return uint32(id), nil
}

func (s *setpriv) readGroups() error {
	words := 0
	for _, name := range []string{"clear-groups", "keep-groups", "init-groups", "groups"} {
		if _, ok := s.opts[name]; ok {
			words++
		}
	}
	list, given := s.opts["groups"]
	_, cleared := s.opts["clear-groups"]
	_, init := s.opts["init-groups"]
	switch {
	case words > 1:
		return errors.New("--clear-groups, --keep-groups, --init-groups and --groups exclude each other")
	case words == 0 && (s.gid[0] != nil || s.gid[1] != nil):
		return errors.New("a change of group wants a word on the supplementary groups: --clear-groups, --keep-groups, --init-groups or --groups")
	case init && s.uid[0] == nil:
		return errors.New("--init-groups wants a user: --reuid or --ruid")
	case cleared:
		s.groups = []uint32{}
	case given:
		s.groups = []uint32{}
		for word := range strings.SplitSeq(list, ",") {
			id, err := lookUp(word, true)
			if err != nil {
				return fmt.Errorf("--groups: %w", err)
			}
			s.groups = append(s.groups, id)
		}
	case init:
		account, err := caps.Files.AccountOf(*s.uid[0])
		if err != nil {
			return fmt.Errorf("--init-groups: %w", err)
		}
		if s.groups, err = caps.Files.GroupsOf(account.Name, account.GID); err != nil {
			return fmt.Errorf("--init-groups: %w", err)
		}
	}
	return nil
}
