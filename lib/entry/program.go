package entry

import (
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The encoded program: a header, the operations, then the strings they point to, by
// offsets from where the strings begin.
const (
	magic = 0x32766172_70737473

	hdrMagic = 0 // words of the header
	hdrPid   = 1
	hdrMain  = 2 // how many operations are the program; those behind are waiters' clean-up
	hdrBlob  = 3 // where the strings begin
	hdrState = 4 // offset and length of the caller's state
	hdrLen   = 5
	hdrWords = 6

	opWords = 18
	opKind  = 0 // words of an operation
	opNr    = 1
	opArgs  = 2 // six of them
	opPtr   = 8 // bit i: argument i is an offset; with opReg's bit as well, the 32 bits there
	opReg   = 9 // bit i: argument i is the number of a register
	opKeep  = 10
	opAllow = 11 // an errno that is no failure; of a check, the errno that it fails with
	opLabel = 12 // offsets of the texts that name the operation and its tool in an error
	opTool  = 13
	opOnOK  = 14 // operations to skip: after success, after an allowed error
	opOnErr = 15
	opLog   = 16 // register of a descriptor to read the kernel's explanation from
	opWant  = 17 // the only result that is right, plus 1; 0 for any

	bitsMask    = opAllow // for which bits, and what each call must return if checked
	bitsWant    = opOnErr
	bitsChecked = opWant

	forkInitFollows = opNr // not 0: an init will stand between waiter and payload
	forkFlags       = opArgs
	forkDeathsig    = opArgs + 1
	forkAfter       = opArgs + 2 // the waiter's operations: index of the first, and how many
	forkAfterLen    = opArgs + 3
	forkEnv         = opArgs + 4 // the cleaner's environment, and where in it the status goes
	forkStatus      = opArgs + 5
	forkExe         = opOnOK
)

const (
	kindCall = iota + 1
	kindFork
	kindInit
	kindExec
	kindJump
	kindCheck
	kindBits
)

// encode puts the program together, in pieces that belong one behind the other: what
// premain decodes, and run carries out.
func (b *Builder) encode(state string) ([][]uint64, error) {
	stateAt := b.room(state)
	pieces := [][]uint64{make([]uint64, hdrWords), b.ops}
	ops := len(b.ops)
	for _, f := range b.forks { // the waiters' operations stand behind the program
		b.at(f.place)[forkAfter] = uint64(ops / opWords)
		pieces = append(pieces, f.after)
		ops += len(f.after)
	}
	for len(b.blob)%8 != 0 {
		b.blob = append(b.blob, 0)
	}
	blob := make([]uint64, len(b.blob)/8)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(blob))), len(b.blob)), b.blob)
	pieces = append(pieces, blob)

	hdr := pieces[0]
	hdr[hdrMagic], hdr[hdrPid] = magic, uint64(unix.Getpid())
	hdr[hdrMain], hdr[hdrBlob] = uint64(len(b.ops)/opWords), uint64(8*(hdrWords+ops))
	hdr[hdrState], hdr[hdrLen] = stateAt, uint64(len(state))
	if size := 8 * (hdrWords + ops + len(blob)); b.err == nil && size > maxProgram {
		b.err = fmt.Errorf("a chain of %d system calls: %w", hdr[hdrMain], unix.E2BIG)
	}
	return pieces, b.err
}

// A packed program is text without a NUL. Most of its words are 0 or small:
//
//	packZeros+n       n zeros
//	packWord+n, ...   a word in n groups of 7 bits, the lowest first, each with bit 7 set
const (
	packWord  = 1
	packZeros = 16
	maxZeros  = 0x7f - packZeros
)

// pack appends words to the last of texts, and begins another one where it is full: one
// string of the environment has at most 128 KiB (MAX_ARG_STRLEN).
func pack(texts [][]byte, words []uint64) [][]byte {
	const full = 100 << 10
	last := len(texts) - 1
	for i := 0; i < len(words); {
		if last < 0 || len(texts[last]) > full {
			texts = append(texts, append(make([]byte, 0, 16<<10), programVar...))
			last++
		}
		t := texts[last]
		if w := words[i]; w != 0 {
			n := (bits.Len64(w) + 6) / 7
			t = append(t, packWord+byte(n))
			for ; n > 0; n-- {
				t = append(t, 0x80|byte(w))
				w >>= 7
			}
			i++
		} else {
			zeros := 1
			for zeros < maxZeros && i+zeros < len(words) && words[i+zeros] == 0 {
				zeros++
			}
			t = append(t, packZeros+byte(zeros))
			i += zeros
		}
		texts[last] = t
	}
	return texts
}

// An OpError is a failed operation.
type OpError struct {
	Tool  string // whose operation it was
	Label string
	Errno unix.Errno
	// Exec tells that the operation was [Builder.Exec]: the payload is at fault, not us.
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

// Run carries the program out in this process, now, on this thread, and empties the
// builder; the program may hold no Fork, Init or Exec. A failed operation is an *OpError.
func (b *Builder) Run() error {
	for i := range b.place() {
		switch b.at(i)[opKind] {
		case kindFork, kindInit, kindExec:
			return fmt.Errorf("a program that forks or executes wants Start: %w", unix.EINVAL)
		}
	}
	pieces, err := b.encode("")
	if err != nil {
		return err
	}
	words := slices.Concat(pieces...)
	failed, errno := run(unsafe.Pointer(&words[0]), words[hdrMain])
	*b = Builder{}
	if errno != 0 {
		err = opError(unsafe.Pointer(&words[0]), failed, errno)
	}
	runtime.KeepAlive(words)
	return err
}

// Value returns the result that the program last run in this process kept in r.
func Value(r Reg) int { return int(regs[r]) }

// BitName names the bits of [Builder.EachBit] in errors. The one package that uses those
// sets it to something better than a number.
var BitName = strconv.Itoa

// opError describes the failed operation of a program.
func opError(base unsafe.Pointer, failed, errno uint64) *OpError {
	op := unsafe.Add(base, 8*(hdrWords+uintptr(failed)*opWords))
	e := &OpError{
		Tool:  text(at(base, word(op, opTool))),
		Label: text(at(base, word(op, opLabel))),
		Errno: unix.Errno(errno),
		Exec:  word(op, opKind) == kindExec,
	}
	switch word(op, opKind) {
	case kindBits:
		e.Label = strings.Replace(e.Label, "{}", BitName(int(regs[Bit])), 1)
	case kindCall:
		if l := word(op, opLog); l != 0 {
			e.Detail = kernelLog(int(regs[l]))
		}
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
func (b *Builder) Start(state string) error {
	env, err := b.environ(state)
	if err != nil {
		return err
	}
	return restart(env)
}

// environ is this process's environment with the program in front.
func (b *Builder) environ(state string) ([]string, error) {
	pieces, err := b.encode(state)
	if err != nil {
		return nil, err
	}
	var texts [][]byte
	for _, p := range pieces {
		texts = pack(texts, p)
	}
	var env []string
	for _, t := range texts {
		env = append(env, unsafe.String(unsafe.SliceData(t), len(t)))
	}
	return append(env, Environ()...), nil
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
		state := unsafe.Slice((*byte)(at(base, uintptr(program[hdrState]))), program[hdrLen])
		r := &Resume{State: string(state), Forked: rec.forked}
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
