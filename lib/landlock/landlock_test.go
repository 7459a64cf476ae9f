package landlock

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

func ruleset(t *testing.T, texts ...string) *Ruleset {
	t.Helper()
	r := &Ruleset{}
	for _, text := range texts {
		if err := r.Restrict(text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	return r
}

func TestFit(t *testing.T) {
	const abi1 = 1<<13 - 1
	for _, c := range []struct {
		texts string
		abi   int
		want  Fitted
	}{
		{"fs", 1, Fitted{attr: rulesetAttr{[kinds]uint64{abi1}}}},
		{"fs", 7, Fitted{attr: rulesetAttr{[kinds]uint64{1<<16 - 1}}}},
		{"fs", 99, Fitted{attr: rulesetAttr{[kinds]uint64{1<<17 - 1}}}},
		{"net", 4, Fitted{attr: rulesetAttr{[kinds]uint64{0, 3}}}},
		{"net", 10, Fitted{attr: rulesetAttr{[kinds]uint64{0, 15}}}},
		{"scope", 6, Fitted{attr: rulesetAttr{[kinds]uint64{0, 0, 3}}}},
		{"scope:signal", 7, Fitted{attr: rulesetAttr{[kinds]uint64{0, 0, 2}}}},
		{"fs:ro:/usr", 1, Fitted{
			attr:  rulesetAttr{[kinds]uint64{abi1}},
			rules: []rule{{kind: FS, rights: access{bits: 13}, path: "/usr", loose: true}},
		}},
		{"fs::/a:b net:connect-tcp:65535", 4, Fitted{
			attr: rulesetAttr{[kinds]uint64{1<<15 - 1, 3}},
			rules: []rule{
				{kind: FS, rights: access{bits: 1<<15 - 1}, path: "/a:b", loose: true},
				{kind: Net, rights: access{bits: 2}, port: 65535},
			},
		}},
		{"fs:read-dir,execute:/x", 3, Fitted{
			attr:  rulesetAttr{[kinds]uint64{1<<15 - 1}},
			rules: []rule{{kind: FS, rights: access{bits: 9}, path: "/x"}},
		}},
	} {
		got, err := ruleset(t, strings.Fields(c.texts)...).Fit(c.abi, false)
		if err != nil || !reflect.DeepEqual(got, &c.want) {
			t.Errorf("%s, version %d: %+v, want %+v (%v)", c.texts, c.abi, got, c.want, err)
		}
	}
}

// A right that the kernel does not know is named, or left out if that will do.
func TestFitMissing(t *testing.T) {
	for text, want := range map[string]string{
		"fs:truncate:/": "truncate is of Landlock's version 3, and this kernel has 2",
		"net":           "this kernel's Landlock (version 2) has nothing of kind net",
		"scope:signal":  "signal is of Landlock's version 6",
	} {
		r := ruleset(t, text)
		if _, err := r.Fit(2, false); !errors.Is(err, unix.EOPNOTSUPP) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want: %s", text, err, want)
		}
		f, err := r.Fit(2, true)
		if err != nil || len(f.rules) != 0 {
			t.Errorf("%s, as far as it goes: %+v (%v)", text, f, err)
		}
	}
	f, err := ruleset(t, "fs", "net:bind-tcp:80").Fit(0, true)
	if err != nil || !reflect.DeepEqual(f, &Fitted{}) {
		t.Errorf("without Landlock: %+v (%v)", f, err)
	}
	var b entry.Builder
	if f.Restrict(&b); !b.Empty() {
		t.Error("without Landlock there are calls to make")
	}
}

func TestParseErrors(t *testing.T) {
	r := &Ruleset{}
	for _, c := range []struct {
		read       func(string) error
		text, want string
	}{
		{r.Handle, "", `"" is none of fs, net, scope`},
		{r.Handle, "fs:fly", `"fly" is no right of fs: execute`},
		{r.Handle, "net:ro", `"ro" is no right of net`},
		{r.Handle, "scope:rw", `"rw" is no right of scope`},
		{r.Handle, "fs:execute,", `"" is no right of fs`},
		{r.Allow, "fs:ro:/", `"fs" is neither path-beneath nor net-port`},
		{r.Allow, "path-beneath:ro", `"ro": RIGHTS:PATH expected`},
		{r.Allow, "path-beneath:ro:", `RIGHTS:PATH expected`},
		{r.Allow, "net-port::", `RIGHTS:PORT expected`},
		{r.Allow, "net-port::65536", `"65536" is no port`},
		{r.Allow, "net-port::http", `"http" is no port`},
		{r.Restrict, "fs:ro", `RIGHTS:PATH expected`},
		{r.Restrict, "ipc:ro:/", `"ipc" is none of`},
	} {
		if err := c.read(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want: %s", c.text, err, c.want)
		}
	}
	r = &Ruleset{}
	if err := errors.Join(r.Handle("fs:execute"), r.Allow("path-beneath:read-file:/")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Fit(7, false); !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "read-file is allowed by a rule, and not refused") {
		t.Errorf("%v", err)
	}
}

// needLandlock skips a test where the kernel has none; every kernel of 5.13 should.
func needLandlock(t *testing.T, abi int) {
	t.Helper()
	if n, err := ABI(); err != nil || n < abi {
		t.Skipf("needs Landlock, version %d: this kernel has %d (%v)", abi, n, err)
	}
}

// confined runs f on a thread of its own under a ruleset, which ends with the thread.
func confined(t *testing.T, r *Ruleset, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread goes when this ends
		done <- func() error {
			abi, err := ABI()
			if err != nil {
				return err
			}
			fitted, err := r.Fit(abi, false)
			if err != nil {
				return err
			}
			var b entry.Builder
			b.Do("no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
			fitted.Restrict(&b)
			if err := b.Run(); err != nil {
				return err
			}
			f()
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestRestrictFiles(t *testing.T) {
	needLandlock(t, 1)
	dir := t.TempDir()
	for _, d := range []string{"ro", "rw", "none"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, d, "file"), []byte("text"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// A file is given those rights that a file can have.
	r := ruleset(t, "fs:ro:"+dir+"/ro", "fs:rw:"+dir+"/rw", "fs:rw:"+dir+"/none/file")
	for i := range 70 { // more rules than there are registers for descriptors
		if err := r.Allow("path-beneath:ro:" + dir + "/ro"); err != nil {
			t.Fatal(i, err)
		}
	}
	confined(t, r, func() {
		for _, c := range []struct {
			path  string
			flags int
			ok    bool
		}{
			{"ro/file", unix.O_RDONLY, true},
			{"ro/file", unix.O_WRONLY, false},
			{"ro/new", unix.O_WRONLY | unix.O_CREAT, false},
			{"rw/file", unix.O_RDWR, true},
			{"rw/new", unix.O_WRONLY | unix.O_CREAT, true},
			{"none/file", unix.O_RDWR, true},
			{"none/new", unix.O_WRONLY | unix.O_CREAT, false},
			{"none", unix.O_RDONLY | unix.O_DIRECTORY, false},
			{"ro", unix.O_RDONLY | unix.O_DIRECTORY, true},
		} {
			fd, err := unix.Open(filepath.Join(dir, c.path), c.flags|unix.O_CLOEXEC, 0o644)
			if err == nil {
				unix.Close(fd)
			}
			if (err == nil) != c.ok || err != nil && !errors.Is(err, unix.EACCES) {
				t.Errorf("open %s, flags %#x: %v", c.path, c.flags, err)
			}
		}
	})
}

func TestRestrictNet(t *testing.T) {
	needLandlock(t, 4)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	connect := func(port int) error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	}
	r := ruleset(t, "net")
	r.rules = append(r.rules, rule{kind: Net, rights: access{bits: 2}, port: uint64(port)})
	confined(t, r, func() {
		if err := connect(port); err != nil {
			t.Errorf("connect to the port that is allowed: %v", err)
		}
		if err := connect(port ^ 1); !errors.Is(err, unix.EACCES) {
			t.Errorf("connect to another: %v", err)
		}
	})
}

func FuzzRestrict(f *testing.F) {
	f.Add("fs:ro,execute:/usr")
	f.Add("net:connect-tcp:443")
	f.Add("scope:signal")
	f.Fuzz(func(t *testing.T, text string) {
		r := &Ruleset{}
		if r.Restrict(text) != nil {
			return
		}
		fitted, err := r.Fit(7, true)
		if err != nil || fitted.attr == (rulesetAttr{}) && len(fitted.rules) > 0 {
			t.Errorf("%q: %+v (%v)", text, fitted, err)
		}
	})
}

// Kinds and rights come with the versions of the interface.
func TestKinds(t *testing.T) {
	for abi, want := range map[int]string{0: "[]", 1: "[fs]", 3: "[fs]", 4: "[fs net]", 6: "[fs net scope]", 99: "[fs net scope]"} {
		if got := fmt.Sprint(Kinds(abi)); got != want {
			t.Errorf("version %d: %s, want %s", abi, got, want)
		}
	}
	for _, k := range Kinds(99) {
		if got, err := ParseKind(k.String()); err != nil || got != k {
			t.Errorf("%s reads as %s, %v", k, got, err)
		}
	}
	if _, err := ParseKind("f"); err == nil {
		t.Error("f is no kind")
	}
}
