package seccomp

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// event is struct seccomp_data.
type event struct {
	nr, arch uint32
	ip       uint64
	args     [6]uint64
}

func (e event) String() string { return fmt.Sprintf("%s %#x %#x", archName(e.arch), e.nr, e.args) }

func archName(audit uint32) string {
	for i := range arches {
		if arches[i].audit == audit {
			return arches[i].name
		}
	}
	return fmt.Sprintf("%#x", audit)
}

// run is the kernel's machine (bpf(4), net/core/filter.c): what a program answers.
func run(program []unix.SockFilter, e event) Action {
	data := binary.LittleEndian.AppendUint32(nil, e.nr)
	data = binary.LittleEndian.AppendUint32(data, e.arch)
	data = binary.LittleEndian.AppendUint64(data, e.ip)
	for _, a := range e.args {
		data = binary.LittleEndian.AppendUint64(data, a)
	}
	var a, x uint32
	var mem [scratchWords]uint32
	for pc := 0; ; pc++ {
		in := program[pc]
		k := in.K
		if class := in.Code & 7; (class == unix.BPF_ALU || class == unix.BPF_JMP) && in.Code&unix.BPF_X != 0 {
			k = x
		}
		skip := func(yes bool) {
			if yes {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		}
		switch in.Code &^ unix.BPF_X {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = binary.LittleEndian.Uint32(data[in.K:])
		case unix.BPF_LD | unix.BPF_IMM:
			a = in.K
		case unix.BPF_LDX | unix.BPF_IMM:
			x = in.K
		case unix.BPF_LD | unix.BPF_MEM:
			a = mem[in.K]
		case unix.BPF_LDX | unix.BPF_MEM:
			x = mem[in.K]
		case unix.BPF_LD | unix.BPF_W | unix.BPF_LEN:
			a = dataSize
		case unix.BPF_LDX | unix.BPF_W | unix.BPF_LEN:
			x = dataSize
		case unix.BPF_ST:
			mem[in.K] = a
		case unix.BPF_STX:
			mem[in.K] = x
		case unix.BPF_ALU | unix.BPF_AND:
			a &= k
		case unix.BPF_ALU | unix.BPF_OR:
			a |= k
		case unix.BPF_ALU | unix.BPF_ADD:
			a += k
		case unix.BPF_ALU | unix.BPF_SUB:
			a -= k
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
		case unix.BPF_JMP | unix.BPF_JEQ:
			skip(a == k)
		case unix.BPF_JMP | unix.BPF_JGT:
			skip(a > k)
		case unix.BPF_JMP | unix.BPF_JGE:
			skip(a >= k)
		case unix.BPF_JMP | unix.BPF_JSET:
			skip(a&k != 0)
		case unix.BPF_MISC | unix.BPF_TAX:
			x = a
		case unix.BPF_MISC | unix.BPF_TXA:
			a = x
		case unix.BPF_RET | unix.BPF_K:
			return Action(in.K)
		case unix.BPF_RET | unix.BPF_A:
			return Action(a)
		default:
			panic(fmt.Sprintf("code %#x", in.Code))
		}
	}
}
