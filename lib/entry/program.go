package entry

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Program is a list of system calls as data: made by a Go program, carried out
// either in place ([Program.Run]) or by premain, in the same process started afresh
// ([Program.Start]).
type Program struct {
	Ops []Op
}

// Op is one operation of a program: a [Call], a [Fork], an [Init] or an [Exec], or what
// a [Builder] makes of a condition.
type Op interface {
	// label names the operation in an error and in a description.
	label() string
	encode(e *encoder, w []uint64)
}

// A Call is one system call. Make it with a [Builder].
type Call struct {
	// Label says what is done, as an error would: "mount proc on /proc".
	Label string
	Nr    uintptr
	// Args are the arguments: an int, a uintptr or a uint as it is, a string as a
	// pointer to its bytes and a NUL, a []byte as a pointer to the bytes, a Reg as the
	// result kept there, a *Buffer as a pointer to room that calls can share.
	Args []any
	// Keep is where to keep the result, 0 for nowhere.
	Keep Reg
	// Allow is an errno that counts as success, 0 for none, AnyError for all.
	Allow unix.Errno
	// Movable tells that the call may as well be made after a later Fork: see [Merge].
	Movable bool
	// Log is the descriptor of a file system context: if the call fails, the kernel's
	// explanation is read from it.
	Log Reg

	onOK, onErr int // operations to skip
}

// A Reg names a kept result: a descriptor, mostly.
type Reg int

const maxRegs = 64

// AnyError stands for every errno, as what a Call allows.
const AnyError = unix.Errno(0xffff)

// A Buffer is room of Size bytes that system calls write to, and checks read.
type Buffer struct{ Size int }

// A Field is the word at an offset of a buffer, a multiple of 8, for a check.
type Field struct {
	Buffer *Buffer
	Offset int
}

// jump skips operations; check compares two words.
type jump struct{ skip int }

type check struct {
	what string
	a, b any // a Field, a Reg or a number
	mask uintptr
	fail unix.Errno
}

// A Fork clones the process. The parent stays behind as a waiter: it never starts the
// Go runtime, holds no descriptor but standard error, passes signals on, and ends as
// its child ended, by the same exit code or the same signal. The child goes on.
type Fork struct {
	Label string
	// Flags are clone(2)'s CLONE_NEW flags.
	Flags uintptr
	// Deathsig is sent to the child when the waiter dies, 0 for none.
	Deathsig unix.Signal
	// InitFollows tells the waiter that an [Init] comes later in the program.
	InitFollows bool
	// After are the calls the waiter makes when the child has ended.
	After []Call
	// Cleaner, where one of After fails, names the tool that takes over in a new
	// start of this program, with these words: see [Resume].
	Cleaner []string
}

// An Init forks the first process of a pid namespace: the parent stays as its init,
// which reaps, passes signals on, and ends when its child does.
type Init struct{ Label string }

// An Exec runs the payload without starting the Go runtime: the words of this process
// from Index on (0 is the program's name), at the first of Paths that can be executed.
type Exec struct {
	Label string
	Paths []string
	Index int
	// Search tells that Paths come from PATH: a directory that may not be searched is
	// then one where the program is not.
	Search bool
}

// Merge joins two forks into one where that changes nothing but the number of
// processes: a Fork into no new namespace, then only movable calls, then another Fork.
// The movable calls are made after the fork that is left.
func Merge(ops []Op) []Op {
	for i, op := range ops {
		outer, ok := op.(Fork)
		if !ok || outer.Flags != 0 || outer.Deathsig != 0 {
			continue
		}
		for j := i + 1; j < len(ops); j++ {
			if c, ok := ops[j].(Call); ok && c.Movable {
				continue
			}
			inner, ok := ops[j].(Fork)
			if !ok {
				break
			}
			// Two waiters would clean up from the inside out.
			inner.After = append(slices.Clip(inner.After), outer.After...)
			if inner.Cleaner == nil {
				inner.Cleaner = outer.Cleaner
			} else if outer.Cleaner != nil {
				if inner.Cleaner[0] != outer.Cleaner[0] {
					break // two tools' clean-ups: two waiters
				}
				inner.Cleaner = append(slices.Clip(inner.Cleaner), outer.Cleaner[1:]...)
			}
			merged := append(append([]Op{}, ops[:i]...), inner)
			merged = append(merged, ops[i+1:j]...)
			return Merge(append(merged, ops[j+1:]...))
		}
	}
	return ops
}

const (
	kindCall = iota + 1
	kindFork
	kindInit
	kindExec
	kindJump
	kindCheck
)

func (c Call) label() string { return c.Label }
func (f Fork) label() string { return f.Label }
func (i Init) label() string { return i.Label }
func (x Exec) label() string { return x.Label }

func (jump) label() string    { return "" }
func (c check) label() string { return c.what }

// Describe returns the operation's label.
func Describe(op Op) string { return op.label() }

// encoder lays a program out in words, and the strings behind them.
type encoder struct {
	words   []uint64
	blob    []byte
	ops     int // operations placed so far, those of waiters included
	blobOff int
	texts   map[string]uint64
	buffers map[*Buffer]uint64
	err     error
}

// text places a string that is only read, once for all its uses.
func (e *encoder) text(s string) uint64 {
	off, ok := e.texts[s]
	if !ok {
		off = uint64(e.blobOff + len(e.blob))
		e.blob = append(append(e.blob, s...), 0)
		e.texts[s] = off
	}
	return off
}

// aligned is text for structures, which the kernel reads and never writes: each of
// them once, on a word's boundary.
func (e *encoder) aligned(s string) uint64 {
	key := "\x00" + s // no string's key: a string argument has no NUL
	off, ok := e.texts[key]
	if !ok {
		off = e.bytes(s)
		e.texts[key] = off
	}
	return off
}

// bytes places room that may be written to.
func (e *encoder) bytes(b string) uint64 {
	for len(e.blob)%8 != 0 { // structures among the arguments want alignment
		e.blob = append(e.blob, 0)
	}
	off := e.blobOff + len(e.blob)
	e.blob = append(append(e.blob, b...), 0)
	return uint64(off)
}

func (c Call) encode(e *encoder, w []uint64) {
	w[opKind], w[opNr], w[opAllow] = kindCall, uint64(c.Nr), uint64(c.Allow)
	w[opKeep], w[opLog] = uint64(c.Keep), uint64(c.Log)
	w[opOnOK], w[opOnErr] = uint64(c.onOK), uint64(c.onErr)
	for i, a := range c.Args {
		e.arg(w, i, a)
	}
}

func (e *encoder) arg(w []uint64, i int, a any) {
	switch v := a.(type) {
	case int:
		w[opArgs+i] = uint64(v)
	case uint:
		w[opArgs+i] = uint64(v)
	case uintptr:
		w[opArgs+i] = uint64(v)
	case Reg:
		w[opArgs+i] = uint64(v)
		w[opReg] |= 1 << i
	case string:
		w[opArgs+i] = e.text(v)
		w[opPtr] |= 1 << i
	case []byte:
		w[opArgs+i] = e.aligned(string(v))
		w[opPtr] |= 1 << i
	case *Buffer:
		w[opArgs+i] = e.buffer(v)
		w[opPtr] |= 1 << i
	case Field:
		w[opArgs+i] = e.buffer(v.Buffer) + uint64(v.Offset)
		w[opPtr] |= 1 << i
	default:
		e.err = fmt.Errorf("an argument of type %T cannot be encoded", a)
	}
}

// buffer returns the offset of b's room, which every use of b shares.
func (e *encoder) buffer(b *Buffer) uint64 {
	if e.buffers == nil {
		e.buffers = map[*Buffer]uint64{}
	}
	if _, ok := e.buffers[b]; !ok {
		e.buffers[b] = e.bytes(string(make([]byte, b.Size)))
	}
	return e.buffers[b]
}

func (j jump) encode(_ *encoder, w []uint64) {
	w[opKind], w[opOnOK] = kindJump, uint64(j.skip)
}

func (c check) encode(e *encoder, w []uint64) {
	w[opKind], w[opAllow] = kindCheck, uint64(c.fail)
	e.arg(w, 0, c.a)
	e.arg(w, 1, c.b)
	w[opArgs+2] = uint64(c.mask)
}

func (f Fork) encode(e *encoder, w []uint64) {
	w[opKind], w[forkFlags], w[forkDeathsig] = kindFork, uint64(f.Flags), uint64(f.Deathsig)
	if f.InitFollows {
		w[forkInitFollows] = 1
	}
	w[forkAfter], w[forkAfterLen] = uint64(e.ops), uint64(len(f.After))
	for _, c := range f.After {
		e.place(c)
	}
	if f.Cleaner != nil {
		head := fmt.Sprintf("%s%s:", afterVar, letters(uint64(unix.Getpid())))
		w[forkEnv] = e.bytes(head + "aaaaaaaa:" + joinWords(f.Cleaner))
		w[forkStatus] = w[forkEnv] + uint64(len(head))
		w[forkExe] = e.bytes(selfExe)
	}
}

func (i Init) encode(_ *encoder, w []uint64) { w[opKind] = kindInit }

func (x Exec) encode(e *encoder, w []uint64) {
	w[opKind], w[opArgs+1] = kindExec, uint64(x.Index)
	w[opArgs] = e.bytes(strings.Join(x.Paths, "\x00") + "\x00")
	if x.Search {
		w[opArgs+2] = 1
	}
}

// place encodes op into the next free slot.
func (e *encoder) place(op Op) {
	w := e.words[hdrWords+e.ops*opWords:][:opWords]
	e.ops++
	w[opLabel] = e.text(op.label())
	op.encode(e, w)
}

func (p *Program) encode(state string) ([]uint64, error) {
	n := len(p.Ops)
	for _, op := range p.Ops {
		if f, ok := op.(Fork); ok {
			n += len(f.After)
		}
	}
	size := hdrWords + n*opWords
	e := &encoder{words: make([]uint64, size), blobOff: 8 * size, texts: map[string]uint64{}}
	// The program itself must be consecutive, so waiters' operations come after it.
	e.ops = len(p.Ops)
	for i, op := range p.Ops {
		w := e.words[hdrWords+i*opWords:][:opWords]
		w[opLabel] = e.text(op.label())
		op.encode(e, w)
	}
	e.words[hdrMagic], e.words[hdrPid] = magic, uint64(unix.Getpid())
	e.words[hdrMain], e.words[hdrOps] = uint64(len(p.Ops)), uint64(n)
	e.words[hdrState], e.words[hdrLen] = e.bytes(state), uint64(len(state))
	for len(e.blob)%8 != 0 {
		e.blob = append(e.blob, 0)
	}
	all := make([]uint64, size+len(e.blob)/8)
	copy(all, e.words)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&all[size])), len(e.blob)), e.blob)
	if e.err == nil && 8*len(all) > maxProgram {
		e.err = fmt.Errorf("a program of %d bytes: %w", 8*len(all), unix.E2BIG)
	}
	return all, e.err
}

// An OpError is a failed operation.
type OpError struct {
	Label string
	Errno unix.Errno
	// Exec tells that the operation was an [Exec]: the payload is at fault, not us.
	Exec bool
	// Detail is the kernel's explanation, "" for none.
	Detail string
}

func (e *OpError) Error() string {
	if e.Detail != "" {
		return e.Label + ": " + e.Errno.Error() + " (" + e.Detail + ")"
	}
	return e.Label + ": " + e.Errno.Error()
}

func (e *OpError) Unwrap() error { return e.Errno }

// Run carries the program out in this process, now, on this thread; it may hold no
// Fork, Init or Exec. The error is an *OpError.
func (p *Program) Run() error {
	for _, op := range p.Ops {
		switch op.(type) {
		case Fork, Init, Exec:
			return fmt.Errorf("%s: %T wants Start", op.label(), op)
		}
	}
	words, err := p.encode("")
	if err != nil {
		return err
	}
	failed, errno := run(unsafe.Pointer(&words[0]), 0, uint64(len(p.Ops)))
	runtime.KeepAlive(words)
	if errno != 0 {
		return opError(unsafe.Pointer(&words[0]), failed, errno)
	}
	return nil
}

// Value returns the result that the program last run in this process kept in r.
func Value(r Reg) int { return int(regs[r]) }

// opError describes the failed operation of a program.
func opError(base unsafe.Pointer, failed, errno uint64) *OpError {
	op := unsafe.Add(base, 8*(hdrWords+uintptr(failed)*opWords))
	e := &OpError{
		Label: text(unsafe.Add(base, word(op, opLabel))),
		Errno: unix.Errno(errno),
		Exec:  word(op, opKind) == kindExec,
	}
	if l := word(op, opLog); l != 0 {
		e.Detail = kernelLog(int(regs[l]))
	}
	return e
}

// kernelLog reads what the kernel has to say about a failed fsconfig(2) or fsmount(2):
// lines like "e overlay: Unknown parameter", from the context's descriptor.
func kernelLog(fd int) string {
	var lines []string
	buf := make([]byte, 512)
	for len(lines) < 4 {
		n, err := unix.Read(fd, buf)
		if err != nil || n <= 0 {
			break
		}
		line := strings.TrimSpace(string(buf[:n]))
		if kind, rest, ok := strings.Cut(line, " "); ok && len(kind) == 1 {
			line = rest
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}

// Start starts this process afresh (same pid, same words, same environment) and has
// premain carry the program out before the runtime begins; then main finds state in
// [Resumed]. Descriptors without close-on-exec are kept, for the program to use.
// Start returns only on error.
func (p *Program) Start(state string) error {
	words, err := p.encode(state)
	if err != nil {
		return err
	}
	// One string of the environment has at most 128 KiB (MAX_ARG_STRLEN).
	const chunk = 60 << 10
	var env []string
	for raw := range slices.Chunk(unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 8*len(words)), chunk) {
		text := make([]byte, len(programVar)+2*len(raw))
		copy(text, programVar)
		for i, b := range raw {
			text[len(programVar)+2*i] = 'a' + b>>4
			text[len(programVar)+2*i+1] = 'a' + b&15
		}
		env = append(env, unsafe.String(&text[0], len(text)))
	}
	return restart(append(env, Environ()...))
}

// Resume is what an earlier life of this process left for this one.
type Resume struct {
	// State is what Start was given.
	State string
	// Err is the operation that failed, an *OpError, or nil.
	Err error
	// Forked tells that a [Fork] came to pass: a waiter of this process cleans up.
	Forked bool
	// Cleaner, when not nil, are the words of a [Fork] whose waiter this process was;
	// Status is the wait status of its child. The process must clean up, then [Die].
	Cleaner []string
	Status  unix.WaitStatus
}

const (
	afterVar = "STAVES_AFTER="
	selfExe  = "/proc/self/exe"
)

// Resumed returns what an earlier life of this process left, nil in a first life.
func Resumed() *Resume {
	if !rec.ran {
		return nil
	}
	if rec.resumed {
		base := unsafe.Pointer(&program)
		r := &Resume{State: string(unsafe.Slice((*byte)(unsafe.Add(base, program[hdrState])), program[hdrLen])), Forked: rec.forked}
		if rec.errno != 0 {
			r.Err = opError(base, rec.failed, rec.errno)
		}
		return r
	}
	env := Environ()
	if len(env) != 1 || !strings.HasPrefix(env[0], afterVar) {
		return nil // a cleaner's environment is that one string
	}
	f := strings.SplitN(env[0][len(afterVar):], ":", 3)
	if len(f) != 3 || f[0] != letters(uint64(unix.Getpid())) || len(f[1]) != 8 {
		return nil
	}
	status := uint32(0)
	for _, c := range []byte(f[1]) {
		status = status<<4 | uint32(c-'a')&15
	}
	return &Resume{Cleaner: splitWords(f[2]), Status: unix.WaitStatus(status)}
}

// joinWords makes one string of words that can be any but NUL: \x01 ends a word, and
// \x02 stands before one of the two where it belongs to a word.
func joinWords(words []string) string {
	var b strings.Builder
	for _, w := range words {
		for i := range len(w) {
			if w[i] == 1 || w[i] == 2 {
				b.WriteByte(2)
			}
			b.WriteByte(w[i])
		}
		b.WriteByte(1)
	}
	return b.String()
}

// splitWords undoes joinWords.
func splitWords(s string) []string {
	var words []string
	var w []byte
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == 1:
			words, w = append(words, string(w)), nil
		case s[i] == 2 && i+1 < len(s):
			i++
			w = append(w, s[i])
		default:
			w = append(w, s[i])
		}
	}
	return words
}

// letters is n in hexadecimal with the digits a to p.
func letters(n uint64) string {
	b := make([]byte, 16)
	for i := range b {
		b[i] = 'a' + byte(n>>(60-4*i))&15
	}
	return string(b)
}

// Die ends this process as status says another one ended.
func Die(status unix.WaitStatus) { die(int32(status)) }

var errNoSelf = errors.New("cannot find this program's own file: /proc is not mounted")
