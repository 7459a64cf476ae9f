package seccomp

import (
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// An Arch is an architecture that system calls are made by: a column of the table.
type Arch uint8

// The architectures of the machines that these tools are for. X32 is AMD64 with pointers
// of 32 bits, told from it by a bit in the call's number.
const (
	AMD64 Arch = iota
	X86
	X32
	ARM64
	ARM
	// Foreign is any that does not occur on such a machine.
	Foreign
)

// Native is this machine's own architecture.
func Native() Arch {
	if runtime.GOARCH == "arm64" {
		return ARM64
	}
	return AMD64
}

// x32Bit marks a call of x32 (__X32_SYSCALL_BIT of asm/unistd.h).
const x32Bit = 0x40000000

var arches = [...]struct {
	name  string // without SCMP_ARCH_
	goes  string // the name in a profile's "arches"
	audit uint32
	wide  bool // arguments have 64 bits
}{
	AMD64: {"X86_64", "amd64", unix.AUDIT_ARCH_X86_64, true},
	X86:   {"X86", "x86", unix.AUDIT_ARCH_I386, false},
	X32:   {"X32", "x32", unix.AUDIT_ARCH_X86_64, false},
	ARM64: {"AARCH64", "arm64", unix.AUDIT_ARCH_AARCH64, true},
	ARM:   {"ARM", "arm", unix.AUDIT_ARCH_ARM, false},
}

// foreign are the other architectures that a profile may name.
const foreign = " MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB "

// String is the name that libseccomp has for a, without SCMP_ARCH_ and in lower case.
func (a Arch) String() string {
	if a >= Foreign {
		return "foreign"
	}
	return strings.ToLower(arches[a].name)
}

const archPrefix = "SCMP_ARCH_"

// parseArch reads SCMP_ARCH_X86_64 and the like; native is what SCMP_ARCH_NATIVE means.
func parseArch(name string) (a Arch, ok bool) {
	short, ok := strings.CutPrefix(name, archPrefix)
	if !ok {
		return 0, false
	}
	for i := range arches {
		if arches[i].name == short {
			return Arch(i), true
		}
	}
	if short == "NATIVE" {
		return Native(), true
	}
	return Foreign, strings.Contains(foreign, " "+short+" ")
}

// call is a row of the table: the number of a system call by architecture, -1 for none.
//
// On x86, calls about sockets and System V IPC have two ways in: since Linux 4.3 and 5.1
// a number each, and from the beginning one for all, through, with sub in argument 0.
type call struct {
	name         string
	nr           [Foreign]int32
	through, sub uint16
}

// find returns the row of the call with that name, -1 for none.
func find(name string) int {
	for h := hash(name); ; h++ {
		row := int(index[h%uint32(len(index))]) - 1
		if row < 0 || calls[row].name == name {
			return row
		}
	}
}

// hash says where in the index a name is looked for first (FNV-1a).
func hash(name string) uint32 {
	h := uint32(2166136261)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return h
}

// known tells whether any architecture of Linux has such a call.
func known(name string) bool {
	return find(name) >= 0 || name != "" && strings.Contains(elsewhere, " "+name+" ")
}
