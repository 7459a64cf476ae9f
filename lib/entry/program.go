package entry

import (
	"errors"
	"fmt"
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

// encode puts the program together: what premain decodes, and run carries out.
func (b *Builder) encode(state string) ([]uint64, error) {
	stateAt := b.room(state)
	for len(b.blob)%8 != 0 {
		b.blob = append(b.blob, 0)
	}
	// The waiters' operations stand behind the program.
	ops := slices.Clone(b.ops)
	for _, f := range b.forks {
		ops[f.place*opWords+forkAfter] = uint64(len(ops) / opWords)
		ops = append(ops, f.after...)
	}
	size := hdrWords + len(ops)
	all := make([]uint64, size+len(b.blob)/8)
	all[hdrMagic], all[hdrPid], all[hdrBlob] = magic, uint64(unix.Getpid()), uint64(8*size)
	all[hdrMain] = uint64(len(b.ops) / opWords)
	all[hdrState], all[hdrLen] = stateAt, uint64(len(state))
	copy(all[hdrWords:], ops)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&all[size])), len(b.blob)), b.blob)
	if b.err == nil && 8*len(all) > maxProgram {
		b.err = fmt.Errorf("a chain of %d system calls: %w", all[hdrMain], unix.E2BIG)
	}
	return all, b.err
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
	words, err := b.encode("")
	if err != nil {
		return err
	}
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
	words, err := b.encode(state)
	if err != nil {
		return nil, err
	}
	// One string of the environment has at most 128 KiB (MAX_ARG_STRLEN).
	const chunk = 60 << 10
	var env []string
	for raw := range slices.Chunk(unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 8*len(words)), chunk) {
		text := make([]byte, len(programVar)+2*len(raw))
		copy(text, programVar)
		for i, c := range raw {
			text[len(programVar)+2*i] = 'a' + c>>4
			text[len(programVar)+2*i+1] = 'a' + c&15
		}
		env = append(env, unsafe.String(&text[0], len(text)))
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
