package seccomp

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data.
const (
	offNr   = 0
	offArch = 4
	offArgs = 16
)

// An assembler writes a program from its end to its beginning, since jumps lead forward
// only: what is jumped to is there already.
type assembler struct {
	code    []unix.SockFilter // the last instruction first
	returns map[Action]label  // the nearest return of each action
}

// A label is the place of an instruction, counted from the end of the program.
type label int

func (s *assembler) emit(in unix.SockFilter) label {
	s.code = append(s.code, in)
	return label(len(s.code) - 1)
}

// far is how many instructions one that is emitted now would have to skip.
func (s *assembler) far(to label) int { return len(s.code) - 1 - int(to) }

const maxSkip = 255 // of a conditional jump

func (s *assembler) ret(a Action) label {
	l, ok := s.returns[a]
	if !ok || s.far(l) > maxSkip-2 { // so that one jump can reach two of them
		l = s.emit(unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: uint32(a)})
		s.returns[a] = l
	}
	return l
}

// then emits an instruction that goes on at next.
func (s *assembler) then(in unix.SockFilter, next label) label {
	if n := s.far(next); n > 0 {
		s.emit(unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(n)})
	}
	return s.emit(in)
}

// load loads the word of struct seccomp_data at an offset into the accumulator.
func (s *assembler) load(offset uint32, next label) label {
	return s.then(unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}, next)
}

// jump compares the accumulator with k.
func (s *assembler) jump(op uint16, k uint32, yes, no label) label {
	if yes == no {
		return yes
	}
	if n := s.far(no); n >= maxSkip {
		no = s.emit(unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(n)})
	}
	if n := s.far(yes); n > maxSkip {
		yes = s.emit(unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(n)})
	}
	return s.emit(unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, Jt: uint8(s.far(yes)), Jf: uint8(s.far(no)), K: k})
}

// compile makes one program of the parts for all architectures. What is none of theirs
// kills the thread, as with libseccomp.
func compile(parts []*part) []unix.SockFilter {
	s := &assembler{code: make([]unix.SockFilter, 0, 512), returns: map[Action]label{}}
	next := s.ret(KillThread)
	for i := len(parts) - 1; i >= 0; i-- {
		p := parts[i]
		if p.arch == X32 {
			continue // has a place in AMD64's
		}
		body := p.tree(s)
		if p.arch == AMD64 {
			body = p.besideX32(s, parts, body)
		}
		next = s.jump(unix.BPF_JEQ, arches[p.arch].audit, s.load(offNr, body), next)
	}
	s.load(offArch, next)
	slices.Reverse(s.code)
	return s.code
}

// besideX32 tells calls of x32 from AMD64's, whose code is body. Where the profile does
// not have x32, they kill the thread, but for -1, which a tracer leaves in place of a
// call that it has cancelled.
func (p *part) besideX32(s *assembler, parts []*part, body label) label {
	const cancelled = ^uint32(0)
	if i := slices.IndexFunc(parts, func(p *part) bool { return p.arch == X32 }); i >= 0 {
		return s.jump(unix.BPF_JSET, x32Bit, parts[i].tree(s), body)
	}
	none := s.jump(unix.BPF_JEQ, cancelled, s.ret(p.other), s.ret(KillThread))
	if p.newer {
		return s.jump(unix.BPF_JSET, x32Bit, none, body)
	}
	return s.jump(unix.BPF_JGE, x32Bit, none, body)
}

// A span are calls with consecutive numbers that are all treated alike.
type span struct {
	from   uint32
	action Action
	alts   []mention // nil, or the alternatives for the one call that it is
}

// tree emits a binary search for the call's number, which the accumulator holds.
func (p *part) tree(s *assembler) label { return p.branch(s, p.spans()) }

// spans divides all numbers there are.
func (p *part) spans() []span {
	spans := append(make([]span, 0, 128), span{action: p.other})
	add := func(n span) {
		switch last := &spans[len(spans)-1]; {
		case last.alts == nil && n.alts == nil && last.action == n.action:
		case last.from == n.from:
			*last = n
		default:
			spans = append(spans, n)
		}
	}
	end := uint32(0) // behind the last call so far
	p.groups(func(alts []mention, always bool) {
		nr := alts[0].nr()
		if p.newer && nr > p.last {
			return
		}
		if nr != end {
			add(span{from: end, action: p.other})
		}
		if always {
			add(span{from: nr, action: p.rules[alts[0].rule()].Action})
		} else {
			add(span{from: nr, alts: alts})
		}
		end = nr + 1
	})
	add(span{from: end, action: p.other})
	if p.newer {
		add(span{from: p.last + 1, action: Errno(unix.ENOSYS)})
	}
	return spans
}

func (p *part) branch(s *assembler, spans []span) label {
	if len(spans) > 1 {
		mid := len(spans) / 2
		right := p.branch(s, spans[mid:])
		return s.jump(unix.BPF_JGE, spans[mid].from, right, p.branch(s, spans[:mid]))
	}
	if spans[0].alts == nil {
		return s.ret(spans[0].action)
	}
	next := s.ret(p.other)
	p.alternatives(spans[0].alts, func(m mention, args []Arg) {
		yes, no := s.ret(p.rules[m.rule()].Action), next
		for i := len(args) - 1; i >= 0; i-- {
			yes = s.compare(&args[i], arches[p.arch].wide, yes, no)
		}
		next = yes
	})
	return next
}

// compare emits a condition on an argument. The accumulator has 32 bits, so 64 take two
// comparisons: the upper half decides unless it is equal.
func (s *assembler) compare(a *Arg, wide bool, yes, no label) label {
	low := uint32(offArgs + 8*a.Index)
	high := low + 4 // both machines are little endian
	half := func(offset uint32, op uint16, value, mask uint64, yes, no label) label {
		l := s.jump(op, uint32(value), yes, no)
		if uint32(mask) != ^uint32(0) {
			l = s.then(unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: uint32(mask)}, l)
		}
		return s.load(offset, l)
	}
	value, mask := a.Value, ^uint64(0)
	op := uint16(unix.BPF_JEQ)
	switch a.Op {
	case NotEqual:
		yes, no = no, yes
	case Less:
		op, yes, no = unix.BPF_JGE, no, yes
	case LessEqual:
		op, yes, no = unix.BPF_JGT, no, yes
	case GreaterEqual:
		op = unix.BPF_JGE
	case Greater:
		op = unix.BPF_JGT
	case MaskedEqual:
		mask, value = a.Value, a.Value&a.ValueTwo
	}
	lower := yes
	if uint32(mask) != 0 {
		lower = half(low, op, value, mask, yes, no)
	}
	switch {
	case !wide || mask>>32 == 0:
		return lower
	case op == unix.BPF_JEQ:
		return half(high, op, value>>32, mask>>32, lower, no)
	}
	upper := s.jump(unix.BPF_JEQ, uint32(value>>32), lower, no)
	return half(high, unix.BPF_JGT, value>>32, mask>>32, yes, upper)
}
