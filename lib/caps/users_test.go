package caps

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	testPasswd = `root:x:0:0:root:/root:/bin/sh
+nis::::::
short:x:7
empty:x:::::
huge:x:99999999999:1::/:/bin/sh
nochange:x:4294967295:4294967295::/:/bin/sh
hex:x:0x5:5::/:/bin/sh
minus:x:-1:-1::/:/bin/sh
alice:x:1000:100::/home/alice:/bin/sh
alice:x:0:0:a second line of the same name::
twin:x:1000:200::/:/bin/sh
77:x:5:5:a name of digits:/:/bin/sh
`
	testGroup = `root:x:0:
users:x:100:
audio:x:29:bob,alice
sudo:x:27:alice
odd:x:28:malice,alice2
bad:x:notanumber:alice
nochange:x:4294967295:alice
again:x:29:alice
`
)

func database(t *testing.T, passwd, group string) Database {
	t.Helper()
	dir := t.TempDir()
	db := Database{Passwd: filepath.Join(dir, "passwd"), Group: filepath.Join(dir, "group")}
	for name, text := range map[string]string{db.Passwd: passwd, db.Group: group} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

func TestIDs(t *testing.T) {
	full, bare := database(t, testPasswd, testGroup), database(t, "", "")
	for _, tt := range []struct {
		user string
		db   Database
		want IDs
		err  string
	}{
		{user: "root", db: full, want: IDs{0, 0, []uint32{0}}},
		{user: "alice", db: full, want: IDs{1000, 100, []uint32{100, 29, 27}}},
		{user: "1000", db: full, want: IDs{1000, 100, nil}},
		{user: "alice:audio", db: full, want: IDs{1000, 29, nil}},
		{user: "alice:7", db: full, want: IDs{1000, 7, nil}},
		{user: "1000:audio", db: full, want: IDs{1000, 29, nil}},
		{user: "77", db: full, want: IDs{77, 77, nil}}, // digits are a number
		{user: "4294967294:0", db: full, want: IDs{4294967294, 0, nil}},
		{user: "1234", db: bare, want: IDs{1234, 1234, nil}},
		{user: "1:2", db: bare, want: IDs{1, 2, nil}},
		{user: "alice", db: Database{full.Passwd, bare.Group}, want: IDs{1000, 100, []uint32{100}}},
		{user: "alice", db: bare, err: "no such file"},
		{user: "1:audio", db: bare, err: "no such file"},
		{user: "bob", db: full, err: "look up user bob in " + full.Passwd + ": no such entry"},
		{user: "alice:bad", db: full, err: "look up group bad"},
		{user: "nochange", db: full, err: "no such entry"},
		{user: "1:nochange", db: full, err: "no such entry"},
		{user: "huge", db: full, err: "no such entry"},
		{user: "hex", db: full, err: "no such entry"},
		{user: "minus", db: full, err: "no such entry"},
		{user: "empty", db: full, err: "no such entry"},
		{user: "short", db: full, err: "no such entry"},
		{user: "+nis", db: full, err: "no such entry"},
		{user: "", err: "user is missing"},
		{user: ":0", err: "user is missing"},
		{user: "0:", err: "group after ':' is missing"},
		{user: "4294967295", err: "ids are 0 to 4294967294"},
		{user: "0:4294967295", err: "ids are 0 to 4294967294"},
		{user: "18446744073709551616", err: "ids are 0 to 4294967294"},
	} {
		var got IDs
		u, err := ParseUser(tt.user)
		if err == nil {
			got, err = tt.db.IDs(u)
		}
		switch {
		case tt.err == "" && err != nil, tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%q: error %v, want %q", tt.user, err, tt.err)
		case err == nil && !reflect.DeepEqual(got, tt.want):
			t.Errorf("%q: %v, want %v", tt.user, got, tt.want)
		}
	}
}

// A root may be hostile: no file in it blocks the reader, or fills the memory.
func TestHostileFiles(t *testing.T) {
	user, err := ParseUser("alice")
	if err != nil {
		t.Fatal(err)
	}
	for name, prepare := range map[string]func(path string) error{
		"not a regular file":     func(p string) error { return unix.Mkfifo(p, 0o644) },
		"regular file":           func(p string) error { return os.Symlink("/dev/zero", p) },
		"file too large":         func(p string) error { return os.WriteFile(p, nil, 0o644) },
		"too many levels":        func(p string) error { return os.Symlink(p, p) },
		"alice in":               func(p string) error { return os.Mkdir(p, 0o755) },
		"passwd: no such entry":  func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte("alice:"), 1<<16), 0o644) },
		"passwd: no such entry ": func(p string) error { return os.WriteFile(p, make([]byte, 1<<20), 0o644) },
	} {
		db := database(t, "", testGroup)
		if err := prepare(db.Passwd); err != nil {
			t.Fatal(err)
		}
		if name == "file too large" {
			if err := os.Truncate(db.Passwd, maxFile+1); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := db.IDs(user); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(name)) {
			t.Errorf("error %v, want %q", err, name)
		}
	}
}

func TestGroupsLeft(t *testing.T) {
	ids := IDs{UID: 0, GID: 0, Groups: []uint32{0, 5}}
	missing, left := ids.groupsLeft([]uint32{0, 5, Overflow})
	if missing != nil || left != nil {
		t.Errorf("missing %v, left %v", missing, left)
	}
	missing, left = ids.groupsLeft([]uint32{27, Overflow})
	if !reflect.DeepEqual(missing, []uint32{5}) || !reflect.DeepEqual(left, []uint32{27}) {
		t.Errorf("missing %v, left %v", missing, left)
	}
}

// No line of passwd or group gives the id that means "no change" to the kernel.
func FuzzIDs(f *testing.F) {
	f.Add("alice", testPasswd, testGroup)
	f.Add("1000:audio", testPasswd, testGroup)
	f.Add("a:b", "a:x:1:1:::", "b:x:4294967295:a")
	f.Fuzz(func(t *testing.T, user, passwd, group string) {
		u, err := ParseUser(user)
		if err != nil {
			return
		}
		ids, err := database(t, passwd, group).IDs(u)
		if err != nil {
			return
		}
		for _, id := range append([]uint32{ids.UID, ids.GID}, ids.Groups...) {
			if id == 1<<32-1 {
				t.Errorf("%q: %v", user, ids)
			}
		}
	})
}

// Who may not call setgroups(2) may ask for what is there, but for the group itself.
func TestReachWithout(t *testing.T) {
	for _, tt := range []struct {
		now, want []uint32
		same      bool
	}{
		{[]uint32{1000}, nil, true},
		{nil, []uint32{1000}, true},
		{[]uint32{5, 1000}, []uint32{5}, true},
		{[]uint32{5}, nil, false},
		{nil, []uint32{5}, false},
		{[]uint32{Overflow}, nil, false},
	} {
		ids := IDs{UID: 1000, GID: 1000, Groups: tt.want}
		got, err := ids.Reach(&State{Groups: tt.now})
		if err != nil || SameGroups(got, tt.now) != tt.same {
			t.Errorf("%v from %v: %v, %v", tt.want, tt.now, got, err)
		}
	}
}
