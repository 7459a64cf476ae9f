package caps

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
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

// A Database is where names are looked up: the paths of passwd(5) and group(5).
type Database struct{ Passwd, Group string }

// Files is the database of the root that the process is in now.
var Files = Database{Passwd: "/etc/passwd", Group: "/etc/group"}

// errUnknown: the file is there, but has no such line.
var errUnknown = errors.New("no such entry")

// maxFile is more than any file of users has; reading ends there with an error.
const maxFile = 16 << 20

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
		uid, gid, err := db.passwd(u)
		switch {
		case err == nil:
			ids.UID, ids.GID = uid, gid
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
		ids.GID, err = db.group(u.group)
	case !u.hasUID:
		ids.Groups, err = db.groups(u.name, ids.GID)
	}
	return ids, err
}

// passwd returns the ids of u's line: the first with its name, or with its number.
func (db Database) passwd(u User) (uid, gid uint32, err error) {
	what := "user " + u.name
	text, err := readFile(what, db.Passwd)
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.SplitSeq(text, "\n") {
		f := strings.Split(line, ":")
		if len(f) != 7 {
			continue
		}
		id, ok1, err1 := number(f[2])
		group, ok2, err2 := number(f[3])
		if !ok1 || !ok2 || err1 != nil || err2 != nil {
			continue
		}
		if u.hasUID && id == u.uid || !u.hasUID && f[0] == u.name {
			return id, group, nil
		}
	}
	return 0, 0, fmt.Errorf("look up %s in %s: %w", what, db.Passwd, errUnknown)
}

// group returns the number of the group called name.
func (db Database) group(name string) (uint32, error) {
	what := "group " + name
	text, err := readFile(what, db.Group)
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(text, "\n") {
		if gname, gid, _, ok := groupLine(line); ok && gname == name {
			return gid, nil
		}
	}
	return 0, fmt.Errorf("look up %s in %s: %w", what, db.Group, errUnknown)
}

// groups returns gid and the groups that list user as a member, as initgroups(3). A
// root without a file of groups has none to list.
func (db Database) groups(user string, gid uint32) ([]uint32, error) {
	ids := []uint32{gid}
	text, err := readFile("groups of "+user, db.Group)
	if noFile(err) {
		return ids, nil
	} else if err != nil {
		return nil, err
	}
	for line := range strings.SplitSeq(text, "\n") {
		_, g, members, ok := groupLine(line)
		if ok && slices.Contains(strings.Split(members, ","), user) && !slices.Contains(ids, g) {
			ids = append(ids, g)
		}
	}
	return ids, nil
}

func noFile(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) }

func groupLine(line string) (name string, gid uint32, members string, ok bool) {
	f := strings.Split(line, ":")
	if len(f) != 4 {
		return "", 0, "", false
	}
	gid, ok, err := number(f[2])
	return f[0], gid, f[3], ok && err == nil
}

// readFile returns a file's text. The root may be somebody else's: what is no regular
// file (a FIFO would block, a device never end) is refused, and so is a huge one.
func readFile(what, path string) (string, error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("look up %s in %s: %w", what, path, err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fail(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fail(errors.New("not a regular file"))
	}
	if st.Size > maxFile {
		return fail(unix.EFBIG)
	}
	buf := make([]byte, 0, st.Size+1) // the one more is for the end of the file to show
	for {
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return fail(err)
		case n == 0:
			return string(buf), nil
		}
		if buf = buf[:len(buf)+n]; len(buf) == cap(buf) {
			if len(buf) > maxFile {
				return fail(unix.EFBIG)
			}
			buf = slices.Grow(buf, len(buf))
		}
	}
}
