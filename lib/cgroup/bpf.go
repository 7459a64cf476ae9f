package cgroup

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A filter for devices is 10 to 100 instructions, so it is assembled here. bpf(2), the
// kernel's Documentation/bpf/standardization/instruction-set.rst, and linux/bpf.h for
// the context that the program is called with: struct bpf_cgroup_dev_ctx.

// insn is struct bpf_insn.
type insn struct {
	code uint8
	regs uint8 // destination, and source << 4
	off  int16
	imm  int32
}

// The opcodes that a filter needs: class, operation, and operand K or X.
const (
	opLoad32 = unix.BPF_LDX | unix.BPF_MEM | unix.BPF_W
	opMove   = 0x07 | 0xb0              // BPF_ALU64 | BPF_MOV | BPF_K
	opCopy   = 0x07 | 0xb0 | unix.BPF_X // of a register
	opAnd    = 0x07 | unix.BPF_AND      // BPF_ALU64 | BPF_AND | BPF_K
	opShift  = 0x07 | unix.BPF_RSH      // to the right
	opIfSame = unix.BPF_JMP | unix.BPF_JEQ
	opIfNot  = unix.BPF_JMP | 0x50 // BPF_JNE
	opExit   = unix.BPF_JMP | 0x90 // BPF_EXIT
)

// The registers: the verdict, the context, the device's kind, what is still asked for,
// and the device's numbers.
const (
	regVerdict = iota
	regContext
	regKind
	regAsked
	regMajor
	regMinor
)

// Kinds of devices in the context: BPF_DEVCG_DEV_*.
const (
	kindBlock = 1
	kindChar  = 2
)

// assemble makes a filter of rules: from the last to the first, each takes what it
// allows from what is asked for, or denies all for what it denies.
func assemble(rules []DeviceRule) []insn {
	verdict := func(n int32) []insn {
		return []insn{{code: opMove, regs: regVerdict, imm: n}, {code: opExit}}
	}
	p := []insn{
		{code: opLoad32, regs: regKind | regContext<<4, off: 0}, // access << 16 | kind
		{code: opCopy, regs: regAsked | regKind<<4},
		{code: opShift, regs: regAsked, imm: 16},
		{code: opAnd, regs: regKind, imm: 0xffff},
		{code: opLoad32, regs: regMajor | regContext<<4, off: 4},
		{code: opLoad32, regs: regMinor | regContext<<4, off: 8},
	}
	for i := len(rules) - 1; i >= 0; i-- {
		r := rules[i]
		var body []insn
		if r.Allow {
			body = append([]insn{
				{code: opAnd, regs: regAsked, imm: int32(^r.Access & accessAll)},
				{code: opIfNot, regs: regAsked, off: 2},
			}, verdict(1)...)
		} else {
			body = append([]insn{
				{code: opCopy, regs: regVerdict | regAsked<<4},
				{code: opAnd, regs: regVerdict, imm: int32(r.Access)},
				{code: opIfSame, regs: regVerdict, off: 2},
			}, verdict(0)...)
		}
		var tests []insn
		test := func(reg uint8, n int64) { tests = append(tests, insn{code: opIfNot, regs: reg, imm: int32(n)}) }
		switch r.Type {
		case 'b':
			test(regKind, kindBlock)
		case 'c':
			test(regKind, kindChar)
		}
		if r.Major >= 0 {
			test(regMajor, r.Major)
		}
		if r.Minor >= 0 {
			test(regMinor, r.Minor)
		}
		for j := range tests {
			tests[j].off = int16(len(tests) - 1 - j + len(body)) // past the body
		}
		p = append(append(p, tests...), body...)
	}
	if rules[0].Allow {
		return append(p, verdict(0)...)
	}
	return append(p, verdict(1)...)
}

// filterName is what our programs are called, in bpftool(8) too.
const filterName = "staves_devices"

// attachDevices attaches a filter for rules to the group that is open as fd. One of ours
// that is there already is replaced; others stay, and a device must pass all.
func attachDevices(fd int, dir string, rules []DeviceRule) ([]Written, error) {
	group, err := openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY) // bpf(2) takes no O_PATH
	if err != nil {
		return nil, fmt.Errorf("open group %s: %w", dir, err)
	}
	defer unix.Close(group)
	program, err := loadFilter(assemble(rules))
	if err != nil {
		return nil, fmt.Errorf("load a BPF program for devices: %w", err)
	}
	defer unix.Close(program)
	attr := struct{ target, program, kind, flags, replace uint32 }{
		uint32(group), uint32(program), unix.BPF_CGROUP_DEVICE, unix.BPF_F_ALLOW_MULTI, 0,
	}
	if old := ourFilter(group); old >= 0 {
		defer unix.Close(old)
		attr.flags, attr.replace = attr.flags|unix.BPF_F_REPLACE, uint32(old)
	}
	if _, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return nil, fmt.Errorf("attach a BPF program for devices to %s: %w", dir, err)
	}
	return []Written{{dir, fmt.Sprintf("a BPF program with %d rules for devices", len(rules)), "", nil}}, nil
}

func loadFilter(p []insn) (int, error) {
	license := []byte("Dual MIT/GPL\x00")
	var pin runtime.Pinner // what is pointed to by a number must not move
	defer pin.Unpin()
	pin.Pin(&p[0])
	pin.Pin(&license[0])
	attr := struct {
		kind, count    uint32
		code, license  uint64
		_, _           uint32
		_              uint64
		_, _           uint32
		name           [16]byte
		_, attachCheck uint32
	}{
		kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, count: uint32(len(p)), code: address(&p[0]), license: address(&license[0]),
		attachCheck: unix.BPF_CGROUP_DEVICE,
	}
	copy(attr.name[:], filterName)
	return bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
}

// ourFilter opens the program of ours that is attached to a group, -1 if there is none.
func ourFilter(group int) int {
	ids := new([64]uint32) // the kernel attaches no more
	info := new(struct {
		_    [64]byte
		name [16]byte
	})
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(ids)
	pin.Pin(info)
	query := struct {
		target, kind, flags, attached uint32
		ids                           uint64
		count                         uint32
		_                             [36]byte // some kernels write past the end of a short one
	}{target: uint32(group), kind: unix.BPF_CGROUP_DEVICE, ids: address(ids), count: uint32(len(ids))}
	if _, err := bpf(unix.BPF_PROG_QUERY, unsafe.Pointer(&query), unsafe.Sizeof(query)); err != nil {
		return -1
	}
	for _, id := range ids[:min(int(query.count), len(ids))] {
		byID := struct{ id, next, flags uint32 }{id: id}
		fd, err := bpf(unix.BPF_PROG_GET_FD_BY_ID, unsafe.Pointer(&byID), unsafe.Sizeof(byID))
		if err != nil {
			continue
		}
		get := struct {
			fd, size uint32
			info     uint64
		}{uint32(fd), uint32(unsafe.Sizeof(*info)), address(info)}
		if _, err := bpf(unix.BPF_OBJ_GET_INFO_BY_FD, unsafe.Pointer(&get), unsafe.Sizeof(get)); err == nil &&
			unix.ByteSliceToString(info.name[:]) == filterName {
			return fd
		}
		unix.Close(fd)
	}
	return -1
}

// bpf is bpf(2).
func bpf(cmd int, attr unsafe.Pointer, size uintptr) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(cmd), uintptr(attr), size)
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}

func address[T any](p *T) uint64 { return uint64(uintptr(unsafe.Pointer(p))) }
