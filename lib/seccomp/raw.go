package seccomp

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// maxProgram is the length in instructions of the longest filter (BPF_MAXINSNS).
const maxProgram = 4096

const sockFilterSize = 8

// parseRaw reads a filter as the kernel has it, and finds what the kernel would refuse,
// which would otherwise show when everything but the filter is done.
func parseRaw(text []byte) (*Profile, error) {
	n := len(text) / sockFilterSize
	if len(text)%sockFilterSize != 0 {
		return nil, fmt.Errorf("a filter has %d bytes for each instruction, and this is %d bytes: it is cut short, or none", sockFilterSize, len(text))
	}
	if n > maxProgram {
		return nil, fmt.Errorf("a filter of %d instructions: at most %d: %w", n, maxProgram, unix.E2BIG)
	}
	p := &Profile{}
	for b := range slices.Chunk(text, sockFilterSize) {
		p.raw = append(p.raw, unix.SockFilter{
			Code: binary.NativeEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.NativeEndian.Uint32(b[4:]),
		})
	}
	return p, verify(p.raw)
}

const (
	scratchWords = 16 // BPF_MEMWORDS
	dataSize     = 64 // of struct seccomp_data
)

// The instructions that a filter of system calls may have (seccomp_check_filter of
// kernel/seccomp.c): packets have more.
var loads = []uint16{
	unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_LD | unix.BPF_W | unix.BPF_LEN, unix.BPF_LDX | unix.BPF_W | unix.BPF_LEN,
	unix.BPF_LD | unix.BPF_IMM, unix.BPF_LDX | unix.BPF_IMM,
}

// verify finds the first instruction for which the kernel would refuse a program.
func verify(program []unix.SockFilter) error {
	for i, in := range program {
		if err := verifyOne(in, len(program)-i-1); err != nil {
			return fmt.Errorf("instruction %d: %w", i, err)
		}
	}
	if last := program[len(program)-1].Code; last&0x07 != unix.BPF_RET {
		return fmt.Errorf("the last instruction, code %#x, returns nothing: %w", last, unix.EINVAL)
	}
	return nil
}

// verifyOne checks one instruction, behind which stand left others.
func verifyOne(in unix.SockFilter, left int) error {
	switch class := in.Code & 0x07; class {
	case unix.BPF_LD, unix.BPF_LDX:
		switch {
		case in.Code == unix.BPF_LD|unix.BPF_MEM, in.Code == unix.BPF_LDX|unix.BPF_MEM:
			return verifyScratch(in.K)
		case !slices.Contains(loads, in.Code):
			return unknownCode(in.Code)
		case in.Code == loads[0] && (in.K >= dataSize || in.K%4 != 0):
			return fmt.Errorf("load at %d: no word of struct seccomp_data: %w", in.K, unix.EINVAL)
		}
	case unix.BPF_ST, unix.BPF_STX:
		if in.Code != class {
			return unknownCode(in.Code)
		}
		return verifyScratch(in.K)
	case unix.BPF_ALU:
		op, k := in.Code&0xf0, in.Code&unix.BPF_X == 0
		switch {
		case in.Code&^uint16(0xf8|unix.BPF_ALU) != 0 || op > unix.BPF_XOR || op == unix.BPF_MOD || op == unix.BPF_NEG && !k:
			return unknownCode(in.Code)
		case op == unix.BPF_DIV && k && in.K == 0:
			return fmt.Errorf("a division by zero: %w", unix.EINVAL)
		case (op == unix.BPF_LSH || op == unix.BPF_RSH) && k && in.K >= 32:
			return fmt.Errorf("a shift by %d bits: %w", in.K, unix.EINVAL)
		}
	case unix.BPF_JMP:
		far := max(uint64(in.Jt), uint64(in.Jf))
		switch op := in.Code & 0xf0; {
		case in.Code == unix.BPF_JMP|unix.BPF_JA:
			far = uint64(in.K)
		case op == unix.BPF_JA || op > unix.BPF_JSET:
			return unknownCode(in.Code)
		}
		if far >= uint64(left) {
			return fmt.Errorf("a jump beyond the end: %w", unix.EINVAL)
		}
	case unix.BPF_RET:
		if in.Code != unix.BPF_RET|unix.BPF_K && in.Code != unix.BPF_RET|unix.BPF_A {
			return unknownCode(in.Code)
		}
	case unix.BPF_MISC:
		if in.Code != unix.BPF_MISC|unix.BPF_TAX && in.Code != unix.BPF_MISC|unix.BPF_TXA {
			return unknownCode(in.Code)
		}
	}
	return nil
}

func unknownCode(code uint16) error {
	return fmt.Errorf("code %#x is none for system calls: %w", code, unix.EINVAL)
}

func verifyScratch(k uint32) error {
	if k >= scratchWords {
		return fmt.Errorf("scratch memory has %d words, and no word %d: %w", scratchWords, k, unix.EINVAL)
	}
	return nil
}
