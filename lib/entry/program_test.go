package entry

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
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
	if err := b.Run(); err != nil {
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

// A file must begin with what is wanted of it, to the last byte; without the right to read
// it nothing is wanted.
func TestRunWantFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	for _, c := range []struct {
		is, wanted string
		want       error
	}{
		{"900\n", "900\n", nil},
		{"-1000\n", "-1000\n", nil},
		{"900\n", "90\n", unix.EPERM},
		{"90\n", "900\n", unix.EPERM},
		{"", "0\n", unix.EPERM},
		{"anything", "", nil},
		{"system_u:system_r:one_t:s0", "system_u:system_r:one_t:s0\x00", nil},
		{"system_u:system_r:one_t:s0\x00", "system_u:system_r:one_t:s0\x00", nil},
		{"system_u:system_r:one_t:s0:c1", "system_u:system_r:one_t:s0\x00", unix.EPERM},
		{"system_u:system_r:two_t:s0", "system_u:system_r:one_t:s0\x00", unix.EPERM},
		{"profile (enforce)\n", "profile (", nil},
		{"profile2 (enforce)\n", "profile (", unix.EPERM},
	} {
		if err := os.WriteFile(file, []byte(c.is), 0o600); err != nil {
			t.Fatal(err)
		}
		before := openFiles(t)
		var b Builder
		b.WantFile("read back", file, c.wanted)
		b.Do("go on", unix.SYS_GETPID)
		err := b.Run()
		var op *OpError
		if !errors.Is(err, c.want) || err != nil && (!errors.As(err, &op) || op.Label != "read back") {
			t.Errorf("%q, %q wanted: %v, want %v", c.is, c.wanted, err, c.want)
		}
		if after := openFiles(t); err == nil && after != before {
			t.Errorf("%d files are open, %d were", after, before)
		}
	}
	var b Builder
	b.WantFile("read back", filepath.Join(dir, "none"), "")
	if err := b.Run(); !errors.Is(err, unix.ENOENT) {
		t.Error("no file: ", err)
	}
	if err := os.Chmod(file, 0); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: it ends as somebody else
		_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, 65534, 0, 0)
		var b Builder
		b.WantFile("read back", file, "x")
		done <- b.Run()
	}()
	if err := <-done; err != nil {
		t.Error("a file that may not be read: ", err)
	}
}

func openFiles(t *testing.T) int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestRunStopsAtTheFirstError(t *testing.T) {
	made := filepath.Join(t.TempDir(), "made")
	b := Builder{Tool: "tool"}
	b.Do("remove nothing", unix.SYS_UNLINKAT, unix.AT_FDCWD, made, 0)
	b.Do("mkdir", unix.SYS_MKDIRAT, unix.AT_FDCWD, made, 0o700)
	err := b.Run()
	var op *OpError
	if !errors.As(err, &op) || op.Tool != "tool" || op.Label != "remove nothing" || !errors.Is(err, unix.ENOENT) || op.Exec {
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
		if err := b.Run(); err != nil {
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
		if err := b.Run(); !errors.Is(err, c.want) {
			t.Errorf("%d and %d under %d: %v, want %v", c.x, c.y, c.mask, err, c.want)
		}
	}
}

// Two words that differ lead into the block, two that do not lead past it.
func TestRunIfDiffer(t *testing.T) {
	for _, c := range []struct {
		y    int
		want error
	}{{5, nil}, {6, unix.ENOTTY}} {
		var b Builder
		b.IfDiffer("compare", 5, c.y, func() { b.Check("fail", 0, 1, 1, unix.ENOTTY) })
		if err := b.Run(); !errors.Is(err, c.want) {
			t.Errorf("5 and %d: %v, want %v", c.y, err, c.want)
		}
	}
}

// A structure is filled with pointers, numbers and results of earlier calls.
func TestRunStore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	iov, poll := &Buffer{Size: 32}, &Buffer{Size: 8} // two of struct iovec, struct pollfd
	var b Builder
	fd := b.Get("open", unix.SYS_OPENAT, unix.AT_FDCWD, file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	b.Store(Field{Buffer: iov}, "a string, ")
	b.Store(Field{Buffer: iov, Offset: 8}, len("a string, "))
	b.Store(Field{Buffer: iov, Offset: 16}, []byte("bytes"))
	b.Store(Field{Buffer: iov, Offset: 24}, uintptr(len("bytes")))
	b.Do("writev", unix.SYS_WRITEV, fd, iov, 2)
	b.Store(Field{Buffer: poll}, fd)
	b.Want("poll", 0, unix.SYS_PPOLL, poll, 1, Field{Buffer: &Buffer{Size: 16}}, 0, 0) // no events asked for
	b.Close(fd)
	if err := b.Run(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "a string, bytes" {
		t.Errorf("the file holds %q (%v)", text, err)
	}
}

func TestRunEachBit(t *testing.T) {
	const read = unix.PR_CAPBSET_READ
	var b Builder
	b.EachBit("read {}", 1<<0|1<<5, unix.SYS_PRCTL, read, Bit, 0, 0, 0)
	if err := b.Run(); err != nil {
		t.Error(err)
	}
	b.EachBit("read {}", 1<<0|1<<63, unix.SYS_PRCTL, read, Bit, 0, 0, 0)
	if err := b.Run(); !errors.Is(err, unix.EINVAL) || !strings.HasPrefix(err.Error(), "read 63: ") {
		t.Errorf("no such capability: %v", err)
	}
	has, _ := unix.PrctlRetInt(read, 0, 0, 0, 0)
	b.CheckEachBit("read {}", 1, uint64(has), unix.SYS_PRCTL, read, Bit, 0, 0, 0)
	if err := b.Run(); err != nil {
		t.Error(err)
	}
	b.CheckEachBit("read {}", 1, uint64(1-has), unix.SYS_PRCTL, read, Bit, 0, 0, 0)
	if err := b.Run(); !errors.Is(err, unix.EPERM) {
		t.Errorf("a result that is not right: %v", err)
	}
}

func TestRunLoadsAndWants(t *testing.T) {
	var b Builder
	pid := &Buffer{16}
	b.Do("write a word", unix.SYS_GETCWD, pid, 16)
	b.Want("getppid", uintptr(os.Getppid()), unix.SYS_GETPPID)
	r := b.Get("getpid", unix.SYS_GETPID)
	b.Do("signal 0", unix.SYS_KILL, r, 0)
	b.Check("getpid", r, os.Getpid(), ^uintptr(0), unix.EDOM)
	t.Chdir("/")
	if err := b.Run(); err != nil {
		t.Error(err)
	}
	b.Want("getppid", 1<<30, unix.SYS_GETPPID)
	if err := b.Run(); !errors.Is(err, unix.EPERM) {
		t.Errorf("a result that is not wanted: %v", err)
	}
	zero := &Buffer{8}
	b.Do("signal what is in the buffer", unix.SYS_KILL, os.Getpid(), Load{Field{Buffer: zero}})
	if err := b.Run(); err != nil {
		t.Error(err)
	}
}

func TestRunRefusesForks(t *testing.T) {
	for name, write := range map[string]func(b *Builder){
		"fork": func(b *Builder) { b.Fork("x", Fork{}) },
		"init": func(b *Builder) { b.Init("x") },
		"exec": func(b *Builder) { b.Exec("x", nil, Words{}, false) },
	} {
		var b Builder
		write(&b)
		if err := b.Run(); err == nil {
			t.Errorf("%s was carried out in place", name)
		}
	}
}

func TestEncodeErrors(t *testing.T) {
	for name, c := range map[string]struct {
		write func(b *Builder)
		want  error
	}{
		"too big": {func(b *Builder) { b.Do("big", unix.SYS_GETPID, strings.Repeat("x", maxProgram)) }, unix.E2BIG},
		"a NUL":   {func(b *Builder) { b.Do("nul", unix.SYS_GETPID, "a\x00b") }, unix.EINVAL},
		"many fds": {func(b *Builder) {
			for range maxRegs {
				b.Get("fd", unix.SYS_GETPID)
			}
		}, unix.EMFILE},
		"a float": {func(b *Builder) { b.Do("odd", unix.SYS_GETPID, 3.14) }, nil},
	} {
		var b Builder
		c.write(&b)
		if _, err := b.encode(""); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// shape writes what a program is, for comparing: f fork, i init, c call, with labels.
func shape(b *Builder) string {
	var s []string
	for _, op := range b.ops {
		label := b.blob[op.label:]
		label = label[:bytes.IndexByte(label, 0)]
		s = append(s, map[uint8]string{kindFork: "f", kindInit: "i", kindCall: "c"}[op.kind]+string(label))
	}
	return strings.Join(s, " ")
}

func TestForksMerge(t *testing.T) {
	move := func(b *Builder) { b.Movable(func() { b.Do("1", unix.SYS_GETPID) }) }
	stay := func(b *Builder) { b.Do("2", unix.SYS_GETPID) }
	init := func(b *Builder) { b.Init("") }
	fork := func(name string, f Fork) func(b *Builder) { return func(b *Builder) { b.Fork(name, f) } }
	plain := fork("A", Fork{Remove: []string{"/a"}, Cleaner: []string{"cgset", "x"}})
	space := fork("B", Fork{Flags: unix.CLONE_NEWPID, Remove: []string{"/b"}})
	other := fork("C", Fork{Cleaner: []string{"netbr", "y"}})
	again := fork("D", Fork{Remove: []string{"/d"}, Cleaner: []string{"cgset", "z"}})
	dies := fork("E", Fork{Deathsig: unix.SIGKILL})
	for _, c := range []struct {
		write []func(b *Builder)
		want  string
	}{
		{nil, ""},
		{[]func(b *Builder){plain, move, space, stay}, "fB c1 c2"},
		{[]func(b *Builder){plain, space}, "fB"},
		{[]func(b *Builder){plain, stay, space}, "fA c2 fB"},
		{[]func(b *Builder){space, move, plain}, "fB c1 fA"},
		{[]func(b *Builder){dies, move, space}, "fE c1 fB"},
		{[]func(b *Builder){plain, move, other}, "fA c1 fC"},
		{[]func(b *Builder){plain, move, again, move, space}, "fB c1 c1"},
		{[]func(b *Builder){plain, init, space}, "fA i fB"},
		{[]func(b *Builder){move, plain}, "c1 fA"},
	} {
		var b Builder
		for _, w := range c.write {
			w(&b)
		}
		if got := shape(&b); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	var b Builder
	for _, w := range []func(b *Builder){plain, move, again, space} {
		w(&b)
	}
	f := b.forks[0]
	if !reflect.DeepEqual(f.Cleaner, []string{"cgset", "z", "x"}) || len(f.after) != 3 {
		t.Errorf("the clean-up is %q and %d operations", f.Cleaner, len(f.after))
	}
	for i, want := range []string{"/b", "/d", "/a"} { // from the inside out
		dir := b.blob[f.after[i].args[1]:]
		if dir = dir[:bytes.IndexByte(dir, 0)]; string(dir) != want {
			t.Errorf("directory %d is %s, want %s", i, dir, want)
		}
	}
}

// Every address in an encoded program lies inside it, whatever the strings.
func FuzzEncode(f *testing.F) {
	f.Add("path", "state", uint8(3))
	f.Add("", "", uint8(0))
	f.Fuzz(func(t *testing.T, text, state string, n uint8) {
		var b Builder
		for range n % 20 {
			b.Do(text, 1, text, []byte(state), 7, Reg(1), &Buffer{8}, Load{Field{&Buffer{24}, 16}})
			b.Fork(text, Fork{Flags: 1, Remove: []string{state}, Cleaner: []string{text, state}})
			b.Exec(text, []string{text}, Words{Index: 1}, true)
		}
		pieces, err := b.encode(state)
		if errors.Is(err, unix.E2BIG) || strings.Contains(text+state, "\x00") {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		all := slices.Concat(pieces...)
		if got := unpacked(t, pack(nil, all)); !slices.Equal(got, all) {
			t.Errorf("%x\nwas packed and unpacked as\n%x", all, got)
		}
		hdr := (*header)(unsafe.Pointer(&all[0]))
		raw := unsafe.Slice((*byte)(unsafe.Pointer(&all[0])), 8*len(all))[hdr.blob:]
		if got := string(raw[hdr.state:][:hdr.stateLen]); got != state {
			t.Errorf("state %q, want %q", got, state)
		}
		inside := func(at uint64) {
			if at >= uint64(len(raw)) {
				t.Errorf("offset %d in %d bytes", at, len(raw))
			}
		}
		count := (uintptr(hdr.blob) - unsafe.Sizeof(header{})) / unsafe.Sizeof(operation{})
		for i := range count {
			op := opAt(unsafe.Pointer(&all[0]), i)
			inside(uint64(op.label))
			inside(uint64(op.tool))
			for a := range 6 {
				if op.ptr&(1<<a) != 0 {
					inside(op.args[a])
				}
			}
		}
	})
}

// unpacked is what decode finds in texts. Each stands at the end of memory that can be
// read, so that a look beyond it is the end of the test.
func unpacked(t *testing.T, texts [][]byte) []uint64 {
	t.Helper()
	const page = 4096
	n := uintptr(0)
	for _, text := range texts {
		text = append(slices.Clip(text[len(programVar):]), 0)
		size := (len(text) + page - 1) / page * page
		room, err := unix.Mmap(-1, 0, size+page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Mprotect(room[size:], unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
		copy(room[size-len(text):], text)
		n = unpack(unsafe.Pointer(&room[size-len(text)]), n)
		if err := unix.Munmap(room); err != nil {
			t.Fatal(err)
		}
	}
	words := slices.Clone(program[:min(n, uintptr(len(program)))])
	clear(program[:])
	if n > uintptr(len(program)) {
		return nil
	}
	return words
}

// A string that nobody packed is read to its end and no further.
func FuzzUnpack(f *testing.F) {
	f.Add([]byte{0x10, 0x81}, []byte{0x7f})
	f.Add(bytes.Repeat([]byte{0xff}, 400), bytes.Repeat([]byte{2, 0x81}, 400))
	f.Add([]byte{2}, []byte{1, 1, 3, 0xff})
	f.Fuzz(func(t *testing.T, one, two []byte) {
		var texts [][]byte
		for _, text := range [][]byte{one, two} {
			text, _, _ = bytes.Cut(text, []byte{0})
			texts = append(texts, append([]byte(programVar), text...))
		}
		unpacked(t, texts)
	})
}

func TestUnpackTooMuch(t *testing.T) {
	if got := unpacked(t, [][]byte{append([]byte(programVar), bytes.Repeat([]byte{0xff}, 1000)...)}); got != nil {
		t.Errorf("%d words in room for %d", 1000*(0xff-packZeros), len(program))
	}
}

func FuzzPack(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 1}, uint16(3))
	f.Add(bytes.Repeat([]byte{0xff}, 17), uint16(60000))
	f.Fuzz(func(t *testing.T, raw []byte, zeros uint16) {
		words := make([]uint64, zeros)
		for chunk := range slices.Chunk(raw, 8) {
			words = append(words, binary.LittleEndian.Uint64(append(slices.Clone(chunk), make([]byte, 8)...)), 0)
		}
		texts := pack(nil, words)
		if got := unpacked(t, texts); !slices.Equal(got, words) {
			t.Errorf("%x became %x", words, got)
		}
		for _, text := range texts {
			if bytes.IndexByte(text, 0) >= 0 || len(text) > 128<<10 {
				t.Errorf("a text of %d bytes: %q", len(text), text)
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
