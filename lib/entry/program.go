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
// offsets from where the strings begin. Nothing in it is a Go pointer, and every part is
// whole words.

type header struct {
	magic, pid uint64
	main       uint64 // how many operations are the program; those behind are waiters' clean-up
	blob       uint64 // where the strings begin
	state      uint64 // offset and length of the caller's state
	stateLen   uint64
	size       uint64 // of the whole, in words
	link       uint64 // a descriptor that leads to a waiter, 0 for none
	trace      uint64 // offset of a word for each operation: that of what to print before it, plus 1
}

const magic = 0x33766172_70737473

// An operation is one step of a program.
type operation struct {
	kind  uint8
	ptr   uint8 // bit i: argument i is an offset; with reg's bit as well, the 32 bits there
	reg   uint8 // bit i: argument i is the number of a register
	keep  uint8 // register for the result, 0 for none
	log   uint8 // register of a descriptor to read the kernel's explanation from
	_     uint8
	nr    uint16 // system call
	allow uint16 // errno that is no failure; of a check, the errno that it fails with
	onOK  uint16 // operations to skip: after success, after an allowed error
	onErr uint16
	flag  uint16 // of bits: results are checked; of an exec: see execSearch
	label uint32 // offsets of the texts that name the operation and its tool in an error
	tool  uint32
	want  uint64 // the only result that is right, plus 1; 0 for any
	args  [6]uint64
}

// Other kinds than calls use some fields for something else:
//
//	fork   args: offset of its forkSpec
//	exec   args: list of paths; index of the payload's first word, or lists of words and
//	       of the environment
//	check  args: two operands, mask
//	store  args: where, what
//	bits   want: the mask; args[5]: what each call must return, if checked
//	fail   args: the register with the errno
//	format args: room for the text, what comes before the number, its register, what comes after
//	park, outside, spawn: see helper.go; an outside's onOK are the helper's operations
//	hello  nothing; close args: the first and the last
const bitsResult = 5

// The flags of an exec.
const (
	execSearch    = 1 << iota // the paths come from PATH
	execLook                  // only look whether there is a file
	execAnnounced             // it is announced already
)

const (
	execPaths = iota
	execIndex
	execArgv
	execEnv
)

const (
	kindCall = iota + 1
	kindFork
	kindInit
	kindExec
	kindJump
	kindCheck
	kindBits
	kindStore
	kindFail
	kindFormat
	kindPark
	kindOutside
	kindSpawn
	kindHello
	kindClose
)

// encode puts the program together, in pieces that belong one behind the other: what
// premain decodes, and run carries out.
func (b *Builder) encode(state string) ([][]uint64, error) {
	hdr := []header{{
		magic: magic, pid: uint64(unix.Getpid()), main: uint64(len(b.ops)),
		state: b.room(state), stateLen: uint64(len(state)), link: uint64(rec.link),
	}}
	if len(b.lines) > 0 {
		hdr[0].trace = b.traces()
	}
	pieces := [][]uint64{words(hdr), words(b.ops)}
	ops := len(b.ops)
	for _, f := range b.forks { // the waiters' operations stand behind the program
		b.ops[f.place].args[0] = b.room(string(Struct(b.spec(f, ops))))
		pieces = append(pieces, words(f.after))
		ops += len(f.after)
	}
	hdr[0].blob = uint64(unsafe.Sizeof(header{})) + uint64(ops)*uint64(unsafe.Sizeof(operation{}))
	for len(b.blob)%8 != 0 {
		b.blob = append(b.blob, 0)
	}
	blob := make([]uint64, len(b.blob)/8)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(blob))), len(b.blob)), b.blob)
	size := int(hdr[0].blob) + len(b.blob)
	hdr[0].size = uint64(size / 8)
	if b.err == nil && size > maxProgram {
		b.err = fmt.Errorf("a chain of %d system calls: %w", len(b.ops), unix.E2BIG)
	}
	return append(pieces, blob), b.err
}

// words is the memory of structures that are whole words.
func words[T header | operation](s []T) []uint64 {
	var one T
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(one)/8))
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
	pieces, err := b.encodeHere()
	if err != nil {
		return err
	}
	all := slices.Concat(pieces...)
	failed, errno := run(unsafe.Pointer(&all[0]))
	*b = Builder{}
	if errno != 0 {
		err = opError(unsafe.Pointer(&all[0]), failed, errno)
	}
	runtime.KeepAlive(all)
	return err
}

// encodeHere is encode for a program that is carried out in this process as it is.
func (b *Builder) encodeHere() ([][]uint64, error) {
	for i := range b.ops {
		switch b.ops[i].kind {
		case kindFork, kindInit, kindExec, kindPark, kindSpawn:
			return nil, fmt.Errorf("a program that forks or executes wants Start: %w", unix.EINVAL)
		}
	}
	return b.encode("")
}

// Value returns the result that the program last run in this process kept in r.
func Value(r Reg) int { return int(regs[r]) }

// BitName names the bits of [Builder.EachBit] in errors. The one package that uses those
// sets it to something better than a number.
var BitName = strconv.Itoa

// opError describes the failed operation of a program.
func opError(base unsafe.Pointer, failed, errno uint64) *OpError {
	op := opAt(base, uintptr(failed))
	e := &OpError{
		Tool:  text(at(base, uintptr(op.tool))),
		Label: text(at(base, uintptr(op.label))),
		Errno: unix.Errno(errno),
		Exec:  op.kind == kindExec,
	}
	if op.kind == kindBits {
		e.Label = strings.Replace(e.Label, "{}", BitName(int(regs[Bit])), 1)
	}
	if op.log != 0 {
		e.Detail = kernelLog(int(regs[op.log]))
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
	// Prepared tells that it was no Go program: a program made before was carried out
	// for these words. State is empty.
	Prepared bool
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
	if rec.prepared {
		return &Resume{Prepared: true, Forked: rec.forked, Err: preparedError()}
	}
	if rec.resumed {
		base := unsafe.Pointer(&program)
		hdr := (*header)(base)
		state := unsafe.Slice((*byte)(at(base, uintptr(hdr.state))), hdr.stateLen)
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
	words := splitWords(f[2])
	if words == nil {
		return nil
	}
	return &Resume{Cleaner: words, Status: unix.WaitStatus(status)}
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
