package seccomp

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestVerify(t *testing.T) {
	ret := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	for want, in := range map[string]unix.SockFilter{
		"code 0x28 is none for system calls": {Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS}, // half a word
		"no word of struct seccomp_data":     {Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 64},
		"load at 6":                          {Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 6},
		"a jump beyond the end":              {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1},
		"beyond the end: invalid argument":   {Code: unix.BPF_JMP | unix.BPF_JA, K: 0xffffffff},
		"a division by zero":                 {Code: unix.BPF_ALU | unix.BPF_DIV | unix.BPF_K},
		"a shift by 32 bits":                 {Code: unix.BPF_ALU | unix.BPF_LSH | unix.BPF_K, K: 32},
		"scratch memory has 16 words":        {Code: unix.BPF_ST, K: 16},
		"code 0x94":                          {Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: 1},
		"code 0x8000":                        {Code: 0x8000},
		"code 0x55":                          {Code: unix.BPF_JMP | 0x50},
		"code 0xe":                           {Code: unix.BPF_RET | unix.BPF_X},
		"code 0xf":                           {Code: 0x0f},
	} {
		if err := verify([]unix.SockFilter{in, ret}); !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want: %s", in, err, want)
		}
	}
	if err := verify([]unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_IMM}}); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a program that ends with no return: %v", err)
	}
}

// A filter that is written is read as it was.
func TestRaw(t *testing.T) {
	f := filter(t, Default(), Machine{Kernel: Version{6, 1}})
	var b bytes.Buffer
	if err := f.Raw(&b); err != nil {
		t.Fatal(err)
	}
	p, err := Parse(b.Bytes())
	if err != nil || !slices.Equal(p.raw, f.Program) {
		t.Errorf("%v", err)
	}
	b.Reset()
	if err := filter(t, p, Machine{}).Dump(&b); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(b.String(), "\n"); lines != len(f.Program) {
		t.Errorf("%d lines for %d instructions", lines, len(f.Program))
	}
}

func TestMnemonics(t *testing.T) {
	for want, in := range map[string]unix.SockFilter{
		"ld [16]":                   {Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16},
		"ld #0x7":                   {Code: unix.BPF_LD | unix.BPF_IMM, K: 7},
		"ldx M[3]":                  {Code: unix.BPF_LDX | unix.BPF_MEM, K: 3},
		"ld len":                    {Code: unix.BPF_LD | unix.BPF_W | unix.BPF_LEN},
		"st M[1]":                   {Code: unix.BPF_ST, K: 1},
		"stx M[2]":                  {Code: unix.BPF_STX, K: 2},
		"and #0xf0":                 {Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0xf0},
		"xor x":                     {Code: unix.BPF_ALU | unix.BPF_XOR | unix.BPF_X},
		"ja 16":                     {Code: unix.BPF_JMP | unix.BPF_JA, K: 5},
		"jset #0x40000000, 12, 13":  {Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jt: 1, Jf: 2, K: x32Bit},
		"ret a":                     {Code: unix.BPF_RET | unix.BPF_A},
		"ret 0x50026 (ENOSYS)":      {Code: unix.BPF_RET | unix.BPF_K, K: uint32(Errno(unix.ENOSYS))},
		"ret 0x0 (kill the thread)": {Code: unix.BPF_RET | unix.BPF_K},
		"tax":                       {Code: unix.BPF_MISC | unix.BPF_TAX},
		"txa":                       {Code: unix.BPF_MISC | unix.BPF_TXA},
	} {
		if got := mnemonic(10, in); got != want {
			t.Errorf("%+v: %s, want %s", in, got, want)
		}
	}
}
