package caps

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Database is where names are looked up: the paths of passwd(5) and group(5).
type Database struct{ Passwd, Group string }

// Files is the database of the root that the process is in now.
var Files = Database{Passwd: "/etc/passwd", Group: "/etc/group"}

// errUnknown: the file is there, but has no such line.
var errUnknown = errors.New("no such entry")

// maxFile is more than any file of users has; reading ends there with an error.
const maxFile = 16 << 20

// An Account is a line of passwd(5).
type Account struct {
	Name        string
	UID, GID    uint32
	Home, Shell string
}

// Account returns the first account called name.
func (db Database) Account(name string) (Account, error) { return db.account(User{name: name}) }

// AccountOf returns the first account with the number uid.
func (db Database) AccountOf(uid uint32) (Account, error) {
	return db.account(User{name: strconv.FormatUint(uint64(uid), 10), uid: uid, hasUID: true})
}

// account returns u's account: the first with its name, or with its number.
func (db Database) account(u User) (Account, error) {
	what := "user " + u.name
	text, err := readFile(what, db.Passwd)
	if err != nil {
		return Account{}, err
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
			return Account{Name: f[0], UID: id, GID: group, Home: f[5], Shell: f[6]}, nil
		}
	}
	return Account{}, fmt.Errorf("look up %s in %s: %w", what, db.Passwd, errUnknown)
}

// GroupID returns the number of the group called name.
func (db Database) GroupID(name string) (uint32, error) {
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

// UID returns the number of a user that is written as a name or as a number.
func (db Database) UID(text string) (uint32, error) {
	id, is, err := number(text)
	if is || err != nil {
		return id, err
	}
	a, err := db.Account(text)
	return a.UID, err
}

// GID returns the number of a group that is written as a name or as a number.
func (db Database) GID(text string) (uint32, error) {
	id, is, err := number(text)
	if is || err != nil {
		return id, err
	}
	return db.GroupID(text)
}

// GroupName returns the name of the group with a number.
func (db Database) GroupName(gid uint32) (string, error) {
	what := fmt.Sprintf("group %d", gid)
	text, err := readFile(what, db.Group)
	if err != nil {
		return "", err
	}
	for line := range strings.SplitSeq(text, "\n") {
		if name, g, _, ok := groupLine(line); ok && g == gid {
			return name, nil
		}
	}
	return "", fmt.Errorf("look up %s in %s: %w", what, db.Group, errUnknown)
}

// GroupsOf returns gid and the groups that list user as a member, as initgroups(3). A
// root without a file of groups has none to list.
func (db Database) GroupsOf(user string, gid uint32) ([]uint32, error) {
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
