package entry

import (
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Builder writes a program down, call by call. The Go that uses it reads like the
// system calls themselves, but they are made later, perhaps before a Go runtime exists:
// so a result is a [Reg], and a condition on it is [Builder.If].
//
// An argument of a call is a number (int, uint, uintptr) as it is; a string as a pointer
// to its bytes and a NUL; a []byte as a pointer to the bytes, which the kernel must only
// read; a [Reg] as the result kept there; a [*Buffer] or [Field] as a pointer to room
// that calls can share; a [Load] as what they left there.
//
// The zero value is an empty program.
type Builder struct {
	// Tool is the tool whose operations are being written.
	Tool string

	ops     []operation
	blob    []byte
	texts   map[string]uint64
	buffers map[*Buffer]uint64
	what    string // the last operation's name and tool, and where they are
	tool    string
	whatAt  uint32
	toolAt  uint32
	free    []Reg
	top     Reg
	log     Reg
	forks   []*forkOp
	fixed   bool // an operation that is not movable came after the last fork
	movable bool
	looked  bool // Look was called
	trace   bool
	note    string
	lines   map[int]string // what to print before an operation, by its place
	err     error
}

// A Reg names a kept result: a descriptor, mostly.
type Reg int

const maxRegs = 64

// Bit stands for the number of the bit, as an argument in [Builder.EachBit].
const Bit Reg = 0

// AnyError stands for every errno, as what a call may fail with.
const AnyError = unix.Errno(0xffff)

// A Buffer is room of Size bytes that system calls write to, and checks read.
type Buffer struct{ Size int }

// A Field is the word at an offset of a buffer, a multiple of 8.
type Field struct {
	Buffer *Buffer
	Offset int
}

// Load stands for the 32 bits in a field, as an argument.
type Load struct{ Field }

// Struct is a structure, without pointers in it, as an argument: a copy that the kernel
// must only read. For one with pointers see [Builder.Store].
func Struct[T any](p *T) []byte {
	return slices.Clone(unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p)))
}

// Empty tells whether nothing has been written.
func (b *Builder) Empty() bool { return len(b.ops) == 0 }

// op appends an operation. The pointer is good until the next one is appended.
func (b *Builder) op(kind uint8, what string) *operation {
	if len(b.ops) == cap(b.ops) {
		b.ops = slices.Grow(b.ops, max(3*len(b.ops), 64)) // a chain has hundreds
	}
	b.ops = append(b.ops, operation{kind: kind})
	op := &b.ops[len(b.ops)-1]
	if what != b.what || b.place() == 1 { // most operations come in groups of one name
		b.what, b.whatAt = what, uint32(b.text(what))
	}
	if b.Tool != b.tool || b.place() == 1 {
		b.tool, b.toolAt = b.Tool, uint32(b.text(b.Tool))
	}
	op.label, op.tool = b.whatAt, b.toolAt
	if b.note != "" {
		b.line(b.place()-1, b.note)
		b.note = ""
	}
	if !b.movable {
		b.fixed = true
	}
	return op
}

// place is the number of operations so far.
func (b *Builder) place() int { return len(b.ops) }

func (b *Builder) call(what string, nr int, args []any) *operation {
	op := b.op(kindCall, what)
	op.nr, op.log = uint16(nr), uint8(b.log)
	if b.trace {
		b.line(b.place()-1, callText(what, nr, args))
	}
	for i, a := range args {
		b.arg(op, i, a)
	}
	return op
}

// since is how many operations were written after the one at place i, as what to skip.
func (b *Builder) since(i int) uint16 { return uint16(b.place() - i - 1) }

// Do makes a system call whose result does not matter. what names it in an error.
func (b *Builder) Do(what string, nr int, args ...any) { b.call(what, nr, args) }

// Try makes a system call that may fail with one errno, or with [AnyError].
func (b *Builder) Try(what string, allow unix.Errno, nr int, args ...any) {
	b.call(what, nr, args).allow = uint16(allow)
}

// Want makes a system call of which only one result is right; it fails with EPERM on
// another one.
func (b *Builder) Want(what string, result uintptr, nr int, args ...any) {
	b.call(what, nr, args).want = uint64(result) + 1
}

// Get makes a system call that returns a descriptor, which is kept until [Builder.Close].
func (b *Builder) Get(what string, nr int, args ...any) Reg {
	r := b.reg()
	b.Again(r, what, nr, args...)
	return r
}

// Again makes a system call whose result is kept in r, in place of what was there.
func (b *Builder) Again(r Reg, what string, nr int, args ...any) {
	b.call(what, nr, args).keep = uint8(r)
}

// Close closes a kept descriptor.
func (b *Builder) Close(r Reg) {
	b.Try("close a descriptor", AnyError, unix.SYS_CLOSE, r)
	b.Forget(r)
}

// Forget gives up a kept result that is no descriptor.
func (b *Builder) Forget(r Reg) { b.free = append(b.free, r) }

// Log has the kernel's explanation of a failure read from the file system context in r,
// for the calls that follow; 0 ends that.
func (b *Builder) Log(r Reg) { b.log = r }

// If makes a system call that may fail with allow: then is written for its success, with
// the register that keeps its result, and otherwise for that failure; either may be nil.
// The descriptor stays kept.
func (b *Builder) If(what string, allow unix.Errno, then func(r Reg), otherwise func(), nr int, args ...any) {
	r := b.reg()
	i := b.place()
	op := b.call(what, nr, args)
	op.keep, op.allow = uint8(r), uint16(allow)
	if then != nil {
		then(r)
	}
	if otherwise != nil {
		out := b.place()
		b.op(kindJump, what)
		b.ops[i].onErr = b.since(i)
		otherwise()
		b.ops[out].onOK = b.since(out)
	} else {
		b.ops[i].onErr = b.since(i)
	}
}

// Check compares two words under mask, and fails with fail if they differ. An operand
// is a Field, a Reg or a number.
func (b *Builder) Check(what string, x, y any, mask uintptr, fail unix.Errno) {
	op := b.op(kindCheck, what)
	b.arg(op, 0, x)
	b.arg(op, 1, y)
	op.args[2], op.allow = uint64(mask), uint16(fail)
}

// Store puts a word into a field, for a call that reads a structure with what is not known
// before, or with a pointer: v is a Reg, a number, or a string or []byte to point to.
func (b *Builder) Store(f Field, v any) {
	op := b.op(kindStore, b.what)
	b.arg(op, 0, f)
	b.arg(op, 1, v)
}

// IfDiffer compares two words, each a Field, a Reg or a number; then is written for
// their being different.
func (b *Builder) IfDiffer(what string, x, y any, then func()) {
	b.Check(what, x, y, ^uintptr(0), 0)
	i := b.place()
	b.ops[i-1].onErr = 1 // different: past the jump
	b.op(kindJump, what)
	then()
	b.ops[i].onOK = b.since(i)
}

// IfEqual compares two words under mask, each a Field, a Reg or a number; then is written
// for their being equal, otherwise for their being different.
func (b *Builder) IfEqual(what string, x, y any, mask uintptr, then, otherwise func()) {
	b.Check(what, x, y, mask, 0)
	equal := b.place()
	b.ops[equal-1].onErr = 1 // different: past the jump
	b.op(kindJump, what)
	otherwise()
	end := b.place()
	b.op(kindJump, what)
	b.ops[equal].onOK = b.since(equal)
	then()
	b.ops[end].onOK = b.since(end)
}

// Fail has the program fail.
func (b *Builder) Fail(what string, errno unix.Errno) { b.Check(what, 0, 1, 1, errno) }

// EachBit makes a system call for each bit of mask, with [Bit] among its arguments. In
// what, {} stands for the bit.
func (b *Builder) EachBit(what string, mask uint64, nr int, args ...any) {
	op := b.call(what, nr, args)
	op.kind, op.want = kindBits, mask
}

// CheckEachBit is EachBit for calls that tell something about a bit: what they return
// must be that bit of result, or they fail with EPERM.
func (b *Builder) CheckEachBit(what string, mask, result uint64, nr int, args ...any) {
	op := b.call(what, nr, args)
	op.kind, op.want, op.flag, op.args[bitsResult] = kindBits, mask, 1, result
}

// WriteFile writes data to an existing file in one write(2), as a file of proc or
// cgroupfs wants it.
func (b *Builder) WriteFile(path, data string) {
	what := "write " + path
	fd := b.Get(what, unix.SYS_OPENAT, unix.AT_FDCWD, path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	b.Do(what, unix.SYS_WRITE, fd, data, len(data))
	b.Close(fd)
}

// WantFile reads a file, in one read(2), and fails with EPERM where what is read does not
// begin with text. Who may write a file need not be allowed to read it: where that is so,
// nothing is wanted.
func (b *Builder) WantFile(what, path, text string) {
	is := &Buffer{Size: (len(text) + 7) &^ 7}
	b.If(what, unix.EACCES, func(fd Reg) {
		b.If(what, unix.EACCES, func(n Reg) {
			b.Forget(n)
			b.checkText(what, is, text)
		}, nil, unix.SYS_READ, fd, is, is.Size)
		b.Close(fd)
	}, nil, unix.SYS_OPENAT, unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// checkText fails with EPERM where a buffer does not begin with text.
func (b *Builder) checkText(what string, is *Buffer, text string) {
	for off := 0; off < len(text); off += 8 {
		var want, mask uintptr
		for i := range min(8, len(text)-off) {
			want |= uintptr(text[off+i]) << (8 * i)
			mask |= 0xff << (8 * i)
		}
		b.Check(what, Field{Buffer: is, Offset: off}, want, mask, unix.EPERM)
	}
}

// Movable has the calls that f writes be made as well after a later fork: see Fork.
func (b *Builder) Movable(f func()) {
	b.movable = true
	f()
	b.movable = false
}

// Exec runs the payload without starting the Go runtime, at the first of paths that can
// be executed. With search the paths come from PATH: a directory that may not be
// searched is then one where the program is not.
func (b *Builder) Exec(what string, paths []string, words Words, search bool) {
	flags := uint16(0)
	if b.looked { // what tells of it may be forbidden by now
		flags = execAnnounced
	}
	op := b.execList(what, paths, search, flags)
	op.args[execIndex] = uint64(words.Index)
	if words.Argv != nil {
		op.args[execArgv] = list(b, words.Argv)
	}
	if words.Env != nil {
		op.args[execEnv] = list(b, words.Env)
	}
}

// Words are what the payload is executed with: the words of this process from Index on
// (0 is the program's name), where they stand there, else Argv; and the environment of
// this process, or another one, Env.
type Words struct {
	Index     int
	Argv, Env []string
}

// Look fails as [Builder.Exec] with these paths would where there is no file at any.
// After operations that forbid much, an Exec that fails may have nobody left to tell of it.
func (b *Builder) Look(what string, paths []string, search bool) {
	b.execList(what, paths, search, execLook)
	b.looked = true
}

func (b *Builder) execList(what string, paths []string, search bool, flags uint16) *operation {
	op := b.op(kindExec, what)
	op.args[execPaths], op.flag = b.room(strings.Join(paths, "\x00")+"\x00"), flags
	if search {
		op.flag |= execSearch
	}
	return op
}

// arg encodes argument i of an operation.
func (b *Builder) arg(op *operation, i int, a any) {
	bit := uint8(1) << i
	switch v := a.(type) {
	case int:
		op.args[i] = uint64(v)
	case uint:
		op.args[i] = uint64(v)
	case uintptr:
		op.args[i] = uint64(v)
	case Reg:
		op.args[i], op.reg = uint64(v), op.reg|bit
	case string:
		op.args[i], op.ptr = b.text(v), op.ptr|bit
	case []byte:
		op.args[i], op.ptr = b.structure(v), op.ptr|bit
	case *Buffer:
		op.args[i], op.ptr = b.buffer(v), op.ptr|bit
	case Field:
		op.args[i], op.ptr = b.buffer(v.Buffer)+uint64(v.Offset), op.ptr|bit
	case Load:
		b.arg(op, i, v.Field)
		op.reg |= bit
	default:
		b.err = fmt.Errorf("an argument of type %T cannot be encoded", a)
	}
}

// text places a string that is only read, once for all its uses.
func (b *Builder) text(s string) uint64 {
	off, ok := b.texts[s]
	if !ok {
		if strings.Contains(s, "\x00") {
			b.err = fmt.Errorf("%q: a NUL in a word: %w", s, unix.EINVAL)
		}
		if b.texts == nil {
			b.texts = make(map[string]uint64, 128)
			b.blob = make([]byte, 0, 4<<10)
		}
		off = uint64(len(b.blob))
		b.blob = append(append(b.blob, s...), 0)
		b.texts[s] = off
	}
	return off
}

// structure places what the kernel reads as a structure, once for all its uses, on a
// word's boundary.
func (b *Builder) structure(s []byte) uint64 {
	key := "\x00" + string(s) // no text's key
	off, ok := b.texts[key]
	if !ok {
		off = b.room(string(s))
		b.texts[key] = off
	}
	return off
}

// buffer returns the offset of the room that every use of buf shares.
func (b *Builder) buffer(buf *Buffer) uint64 {
	off, ok := b.buffers[buf]
	if !ok {
		off = b.room(string(make([]byte, buf.Size)))
		if b.buffers == nil {
			b.buffers = map[*Buffer]uint64{}
		}
		b.buffers[buf] = off
	}
	return off
}

// room places bytes that may be written to, on a word's boundary.
func (b *Builder) room(s string) uint64 {
	for len(b.blob)%8 != 0 {
		b.blob = append(b.blob, 0)
	}
	off := uint64(len(b.blob))
	b.blob = append(append(b.blob, s...), 0)
	return off
}

func (b *Builder) reg() Reg {
	if n := len(b.free); n > 0 {
		r := b.free[n-1]
		b.free = b.free[:n-1]
		return r
	}
	if b.top+1 == maxRegs {
		b.err = fmt.Errorf("a program that keeps more than %d descriptors at once: %w", maxRegs-1, unix.EMFILE)
		return b.top
	}
	b.top++
	return b.top
}
