package caps

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// What another process's files and calls say of this one is what it says itself.
func TestProcess(t *testing.T) {
	self, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{0, unix.Gettid()} {
		if got, err := Of(pid); err != nil || got != self.Sets() {
			t.Errorf("%d: %s, %v, want %s", pid, got, err, self.Sets())
		}
	}
	for _, pid := range []int{0, os.Getpid()} {
		if got, err := IABOf(pid); err != nil || got != self.IAB() {
			t.Errorf("%d: %s, %v, want %s", pid, got, err, self.IAB())
		}
	}
	const none = 1 << 30
	if _, err := Of(none); !errors.Is(err, unix.ESRCH) {
		t.Errorf("no process: %v", err)
	}
	if _, err := IABOf(none); !errors.Is(err, unix.ENOENT) {
		t.Errorf("no process: %v", err)
	}
}

// A state that a mode was applied to is in that mode.
func TestMode(t *testing.T) {
	for m := NoPriv; m <= Hybrid; m++ {
		s := State{Permitted: 7, Effective: 7, Inheritable: 1, Bounding: 7, Ambient: 1, Securebits: NoRoot, Last: 40}
		m.Apply(&s)
		if s.Mode() != m {
			t.Errorf("%s: %s", m, s.Mode())
		}
		if got, err := ParseMode(m.String()); err != nil || got != m {
			t.Errorf("%s: reads as %s, %v", m, got, err)
		}
	}
	if s := (State{Securebits: NoRoot}); s.Mode() != Uncertain {
		t.Error(s.Mode())
	}
	if _, err := ParseMode("UNCERTAIN"); err == nil {
		t.Error("UNCERTAIN is no mode to be in")
	}
}

func TestSecurebits(t *testing.T) {
	for i, name := range securebitNames {
		bit, err := ParseSecurebit(name)
		if err != nil || bit != 1<<i || bit.String() != name {
			t.Errorf("%s: %#x %s, %v", name, uint32(bit), bit, err)
		}
	}
	if _, err := ParseSecurebit("nosuch"); err == nil {
		t.Error("nosuch is none")
	}
	if s := Securebits(1 | 1<<20).String(); s != "noroot,bit_20" {
		t.Error(s)
	}
}
