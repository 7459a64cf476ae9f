package caps

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A User is a user as one writes it: a name or a number, and perhaps a group.
type User struct {
	name, group string
	uid, gid    uint32 // where the name is a number
	hasUID      bool
	hasGroup    bool
	hasGID      bool
}

// ParseUser reads USER or USER:GROUP, each a name or a number.
func ParseUser(text string) (User, error) {
	name, group, colon := strings.Cut(text, ":")
	u := User{name: name, group: group, hasGroup: colon}
	switch {
	case name == "":
		return u, errors.New("the user is missing")
	case colon && group == "":
		return u, errors.New("the group after ':' is missing")
	}
	var err error
	if u.uid, u.hasUID, err = number(name); err != nil {
		return u, err
	}
	if u.gid, u.hasGID, err = number(group); err != nil {
		return u, err
	}
	return u, nil
}

// number reads an id, and tells whether text is one rather than a name. The highest
// number means "no change" to the kernel, and is no id.
func number(text string) (id uint32, is bool, err error) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 1<<32-1 {
		return 0, false, fmt.Errorf("%s is no id: ids are 0 to 4294967294", text)
	}
	return uint32(n), true, nil
}

// Number returns the user's number if it needs no file to know it.
func (u *User) Number() (uint32, bool) { return u.uid, u.hasUID }

// IDs looks u up.
//
// The group is the one written; else that of the user's line in passwd; else, for a
// number without a line, the same number. The supplementary groups are those of which
// a named user is a member, if no group was written; a number has none, and neither
// has a user whose group was written. With numbers alone no file is read; a
// number alone does without a passwd file.
func (db Database) IDs(u User) (IDs, error) {
	ids := IDs{UID: u.uid, GID: u.gid}
	if !u.hasUID || !u.hasGroup {
		account, err := db.account(u)
		switch {
		case err == nil:
			ids.UID, ids.GID = account.UID, account.GID
		case u.hasUID && (errors.Is(err, errUnknown) || noFile(err)):
			ids.GID = u.uid
		default:
			return IDs{}, err
		}
	}
	var err error
	switch {
	case u.hasGID:
		ids.GID = u.gid
	case u.hasGroup:
		ids.GID, err = db.GroupID(u.group)
	case !u.hasUID:
		ids.Groups, err = db.GroupsOf(u.name, ids.GID)
	}
	return ids, err
}
