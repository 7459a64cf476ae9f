package entry

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var b Builder
	b.WriteFile(file, "one write")
	b.Try("allowed to fail", unix.ENOENT, unix.SYS_CHDIR, "/no/such/directory")
	b.Do("chmod", unix.SYS_FCHMODAT, unix.AT_FDCWD, file, uintptr(0o640))
	if err := (&Program{Ops: b.Ops()}).Run(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || string(text) != "one write" {
		t.Errorf("the file holds %q (%v)", text, err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode() != 0o640 {
		t.Errorf("mode %v (%v)", st.Mode(), err)
	}
}

func TestRunStopsAtTheFirstError(t *testing.T) {
	made := filepath.Join(t.TempDir(), "made")
	err := (&Program{Ops: []Op{
		Call{Label: "remove nothing", Nr: unix.SYS_UNLINKAT, Args: []any{unix.AT_FDCWD, made, 0}},
		Call{Label: "mkdir", Nr: unix.SYS_MKDIRAT, Args: []any{unix.AT_FDCWD, made, 0o700}},
	}}).Run()
	var op *OpError
	if !errors.As(err, &op) || op.Label != "remove nothing" || !errors.Is(err, unix.ENOENT) || op.Exec {
		t.Errorf("error %#v", err)
	}
	if _, err := os.Stat(made); err == nil {
		t.Error("the second call was made after the first had failed")
	}
}

// A condition runs one branch and skips the other, wherever it stands.
func TestRunIf(t *testing.T) {
	for _, c := range []struct {
		dir, want string
	}{{"/", "before then after"}, {"/no/such/directory", "before otherwise after"}} {
		dir := t.TempDir()
		var b Builder
		mark := func(name string) {
			b.Do("mark "+name, unix.SYS_MKDIRAT, unix.AT_FDCWD, filepath.Join(dir, name), 0o700)
		}
		mark("before")
		b.If("open", unix.ENOENT, func(r Reg) {
			mark("then")
			b.Close(r)
		}, func() { mark("otherwise") },
			unix.SYS_OPENAT, unix.AT_FDCWD, c.dir, unix.O_PATH|unix.O_CLOEXEC, 0)
		mark("after")
		if err := (&Program{Ops: b.Ops()}).Run(); err != nil {
			t.Fatal(err)
		}
		for _, name := range strings.Fields("before then otherwise after") {
			_, err := os.Stat(filepath.Join(dir, name))
			if want := strings.Contains(c.want, name); (err == nil) != want {
				t.Errorf("open %s: %s was run: %v, want %v", c.dir, name, err == nil, want)
			}
		}
	}
}

func TestRunCheck(t *testing.T) {
	for _, c := range []struct {
		x, y, mask uintptr
		want       error
	}{{5, 5, ^uintptr(0), nil}, {5, 7, 5, nil}, {5, 7, 2, unix.EPERM}} {
		var b Builder
		b.Check("compare", c.x, c.y, c.mask, unix.EPERM)
		if err := (&Program{Ops: b.Ops()}).Run(); !errors.Is(err, c.want) {
			t.Errorf("%d and %d under %d: %v, want %v", c.x, c.y, c.mask, err, c.want)
		}
	}
}

func TestRunRefusesForks(t *testing.T) {
	for _, op := range []Op{Fork{Label: "x"}, Init{Label: "x"}, Exec{Label: "x"}} {
		if err := (&Program{Ops: []Op{op}}).Run(); err == nil {
			t.Errorf("%T was carried out in place", op)
		}
	}
}

func TestEncodeErrors(t *testing.T) {
	big := Call{Label: "big", Nr: unix.SYS_GETPID, Args: []any{strings.Repeat("x", maxProgram)}}
	if _, err := (&Program{Ops: []Op{big}}).encode(""); !errors.Is(err, unix.E2BIG) {
		t.Errorf("a program that does not fit: %v", err)
	}
	odd := Call{Label: "odd", Nr: unix.SYS_GETPID, Args: []any{3.14}}
	if _, err := (&Program{Ops: []Op{odd}}).encode(""); err == nil {
		t.Error("a float was encoded")
	}
}

// forks writes what a list of operations is, for comparing: f fork, m movable call,
// c call, i init.
func shape(ops []Op) string {
	var s strings.Builder
	for _, op := range ops {
		switch o := op.(type) {
		case Fork:
			s.WriteString("f" + o.Label)
		case Init:
			s.WriteString("i")
		case Call:
			if o.Movable {
				s.WriteString("m")
			} else {
				s.WriteString("c")
			}
			s.WriteString(o.Label)
		}
		s.WriteByte(' ')
	}
	return strings.TrimSpace(s.String())
}

func call1(label string) Call { return Call{Label: label} }

func TestMerge(t *testing.T) {
	move := Call{Label: "1", Movable: true}
	stay := Call{Label: "2"}
	plain := Fork{Label: "A", After: []Call{call1("a")}, Cleaner: []string{"cgset", "x"}}
	space := Fork{Label: "B", Flags: unix.CLONE_NEWPID, After: []Call{call1("b")}}
	other := Fork{Label: "C", Cleaner: []string{"netbr", "y"}}
	again := Fork{Label: "D", Cleaner: []string{"cgset", "z"}}
	dies := Fork{Label: "E", Deathsig: unix.SIGKILL}
	for _, c := range []struct {
		ops  []Op
		want string
	}{
		{nil, ""},
		{[]Op{plain, move, space, stay}, "fB m1 c2"},
		{[]Op{plain, space}, "fB"},
		{[]Op{plain, stay, space}, "fA c2 fB"},
		{[]Op{space, move, plain}, "fB m1 fA"},
		{[]Op{dies, move, space}, "fE m1 fB"},
		{[]Op{plain, move, other}, "fA m1 fC"},
		{[]Op{plain, move, again, move, space}, "fB m1 m1"},
		{[]Op{plain, Init{}, space}, "fA i fB"},
		{[]Op{move, plain}, "m1 fA"},
	} {
		before := shape(c.ops)
		if got := shape(Merge(c.ops)); got != c.want {
			t.Errorf("%s: %s, want %s", before, got, c.want)
		}
		if shape(c.ops) != before {
			t.Errorf("%s was changed in place", before)
		}
	}
	f := Merge([]Op{plain, move, again, space})[0].(Fork)
	if !reflect.DeepEqual(f.After, []Call{call1("b"), call1("a")}) || !reflect.DeepEqual(f.Cleaner, []string{"cgset", "z", "x"}) {
		t.Errorf("clean-up from the inside out: %+v, %q", f.After, f.Cleaner)
	}
}

// Merging keeps every call and its order among those that may not move, and takes
// away nothing but forks into no namespace.
func FuzzMerge(f *testing.F) {
	f.Add([]byte{0, 2, 1})
	f.Add([]byte{0, 2, 0, 3, 1, 4})
	f.Fuzz(func(t *testing.T, kinds []byte) {
		var ops []Op
		for i, k := range kinds {
			label := string(rune('a' + i%26))
			switch k % 5 {
			case 0:
				ops = append(ops, Fork{Label: label, After: []Call{call1(label)}})
			case 1:
				ops = append(ops, Fork{Label: label, Flags: unix.CLONE_NEWPID, InitFollows: true})
			case 2:
				ops = append(ops, Call{Label: label, Movable: true})
			case 3:
				ops = append(ops, call1(label))
			case 4:
				ops = append(ops, Init{Label: label})
			}
		}
		merged := Merge(ops)
		count := func(ops []Op) (calls string, spaces, after int) {
			for _, op := range ops {
				switch o := op.(type) {
				case Call:
					calls += o.Label
				case Fork:
					after += len(o.After)
					if o.Flags != 0 {
						spaces++
					}
				}
			}
			return calls, spaces, after
		}
		c1, s1, a1 := count(ops)
		c2, s2, a2 := count(merged)
		if c1 != c2 || s1 != s2 || a1 != a2 {
			t.Errorf("%s became %s", shape(ops), shape(merged))
		}
	})
}

// Every address in an encoded program lies inside it, whatever the strings.
func FuzzEncode(f *testing.F) {
	f.Add("path", "state", uint8(3))
	f.Add("", "", uint8(0))
	f.Fuzz(func(t *testing.T, text, state string, n uint8) {
		p := Program{}
		for range n % 20 {
			p.Ops = append(p.Ops,
				Call{Label: text, Nr: 1, Args: []any{text, []byte(state), 7, Reg(1), &Buffer{8}}},
				Fork{Label: text, After: []Call{{Label: state, Args: []any{state}}}, Cleaner: []string{text, state}},
				Exec{Label: text, Paths: []string{text}})
		}
		words, err := p.encode(state)
		if errors.Is(err, unix.E2BIG) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		raw := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 8*len(words))
		word := func(i int) uint64 { return binary.NativeEndian.Uint64(raw[8*i:]) }
		if got := string(raw[word(hdrState):][:word(hdrLen)]); got != state {
			t.Errorf("state %q, want %q", got, state)
		}
		inside := func(at uint64) {
			if at < 8*hdrWords || at >= uint64(len(raw)) {
				t.Errorf("address %d outside of %d bytes", at, len(raw))
			}
		}
		for i := range int(word(hdrOps)) {
			op := hdrWords + i*opWords
			inside(word(op + opLabel))
			for a := range 6 {
				if word(op+opPtr)&(1<<a) != 0 {
					inside(word(op + opArgs + a))
				}
			}
		}
	})
}

func TestWords(t *testing.T) {
	for _, words := range [][]string{nil, {""}, {"a"}, {"a", "", "b"}, {"\x01", "\x02\x01\x02", "x\x02"}} {
		if got := splitWords(joinWords(words)); !reflect.DeepEqual(got, words) {
			t.Errorf("%q became %q", words, got)
		}
	}
}
