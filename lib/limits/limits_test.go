package limits

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

func TestParseLimit(t *testing.T) {
	for in, want := range map[string]string{
		"nofile=256":              "nofile=256",
		"NOFILE=256:512":          "nofile=256:512",
		"core=0":                  "core=0",
		"as=unlimited":            "as=unlimited",
		"stack=100:infinity":      "stack=100:unlimited",
		"cpu=5:5":                 "cpu=5",
		"rttime=1":                "rttime=1",
		"nofile":                  "error",
		"nofile=":                 "error",
		"nofile=a":                "error",
		"nofile=-1":               "error",
		"nofile=5:":               "error",
		"nofile=5:4":              "error",
		"nofile=5:4:3":            "error",
		"nosuch=5":                "error",
		"=5":                      "error",
		"as=unlimited:5":          "error",
		"as=99999999999999999999": "error",
	} {
		got := "error"
		if l, err := ParseLimit(in); err == nil {
			got = l.String()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func FuzzParseLimit(f *testing.F) {
	f.Add("nofile=256:512")
	f.Fuzz(func(t *testing.T, in string) {
		l, err := ParseLimit(in)
		if err != nil {
			return
		}
		if again, err := ParseLimit(l.String()); err != nil || again != l {
			t.Errorf("%q: %s reads as %s, %v", in, l, again, err)
		}
	})
}

func TestParseUmask(t *testing.T) {
	for in, want := range map[string]int{"0": 0, "022": 0o22, "777": 0o777, "1000": -1, "8": -1, "": -1, "-1": -1, "+2": -1, "u=rwx": -1} {
		got, err := ParseUmask(in)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%s: %o, want %o", in, got, want)
		}
	}
}

// run carries a program out on a thread of its own, which ends with the test.
func run(t *testing.T, write func(b *entry.Builder)) error {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		var b entry.Builder
		write(&b)
		done <- b.Run()
	}()
	return <-done
}

func TestSet(t *testing.T) {
	var before, after unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &before); err != nil {
		t.Fatal(err)
	}
	l := Limit{Resource: unix.RLIMIT_CORE, Soft: 0, Hard: before.Max}
	if err := run(t, l.Set); err != nil {
		t.Fatal(err)
	}
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &after); err != nil || after.Cur != 0 || after.Max != before.Max {
		t.Errorf("%+v, %v", after, err)
	}
	if raises, err := l.Raises(); err != nil || raises {
		t.Errorf("it raises nothing: %v, %v", raises, err)
	}
	if err := run(t, func(b *entry.Builder) { SetNice(b, 19) }); err != nil {
		t.Error(err)
	}
	if err := run(t, func(b *entry.Builder) { SetDeathsig(b, unix.SIGTERM) }); err != nil {
		t.Error(err)
	}
	score, err := os.ReadFile(oomFile)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.WriteFile(oomFile, score, 0) }()
	if err := run(t, func(b *entry.Builder) { SetOOMScoreAdj(b, MaxOOM) }); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(oomFile); err != nil || string(text) != "1000\n" {
		t.Errorf("%q, %v", text, err)
	}
	mask := unix.Umask(0o22)
	defer unix.Umask(mask)
	if err := run(t, func(b *entry.Builder) { SetUmask(b, 0o27) }); err != nil {
		t.Error(err)
	}
	if got := unix.Umask(0); got != 0o27 {
		t.Errorf("%o", got)
	}
}

// What was written, to no effect, is found out.
func TestSetOOMScoreAdjReadsBack(t *testing.T) {
	err := run(t, func(b *entry.Builder) { setOOMScoreAdj(b, "/dev/null", 900) })
	if want := "read back: /dev/null is not 900"; !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}
