package seccomp

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Dump writes the filter for people: for each architecture the system calls by what
// becomes of them, and those with conditions one by one. Of a filter that was none of
// ours, it writes the instructions.
func (f *Filter) Dump(w io.Writer) error {
	b := bufio.NewWriter(w)
	if f.parts == nil {
		disassemble(b, f.Program)
		return b.Flush()
	}
	fmt.Fprintf(b, "# %d instructions; a call by an architecture that is not listed: %s\n", len(f.Program), KillThread)
	for i := range f.parts {
		f.parts[i].dump(b)
	}
	return b.Flush()
}

func (p *part) dump(w io.Writer) {
	fmt.Fprintf(w, "\n[%s]\n", p.arch)
	fmt.Fprintf(w, "any other call: %s\n", p.other)
	if p.newer {
		fmt.Fprintf(w, "newer than the profile (from %d on): %s\n", (p.last+1)&^x32Bit, Errno(unix.ENOSYS))
	}
	lists := map[Action][]string{}
	var order []Action
	var special []string
	p.groups(func(alts []mention, always bool) {
		if !always {
			special = append(special, p.conditions(alts)...)
			return
		}
		a, name := p.rules[alts[0].rule()].Action, calls[alts[0].row()].name
		if lists[a] == nil {
			order = append(order, a)
		}
		lists[a] = append(lists[a], name)
	})
	for _, a := range order {
		slices.Sort(lists[a])
		fmt.Fprintf(w, "%s:\n", a)
		wrap(w, lists[a])
	}
	for _, line := range special {
		fmt.Fprintln(w, line)
	}
}

// conditions are lines about a call with conditions, in the order in which they are tried.
func (p *part) conditions(alts []mention) []string {
	var lines []string
	p.alternatives(alts, func(m mention, args []Arg) {
		var conditions []string
		for _, a := range args {
			conditions = append(conditions, a.String())
		}
		name := calls[m.row()].name
		if p.through(m) {
			name += ", through another call"
		}
		lines = append(lines, fmt.Sprintf("%s if %s: %s", name, strings.Join(conditions, " and "), p.rules[m.rule()].Action))
	})
	slices.Reverse(lines)
	return lines
}

// wrap writes words in lines of at most 80 columns.
func wrap(w io.Writer, words []string) {
	const indent, width = "   ", 80
	line := indent
	for _, word := range words {
		if len(line)+1+len(word) > width {
			fmt.Fprintln(w, line)
			line = indent
		}
		line += " " + word
	}
	fmt.Fprintln(w, line)
}

// Raw writes the program as the kernel has it: struct sock_filter by struct sock_filter,
// for programs that load such a file ([Parse], setpriv --seccomp-filter, bwrap --seccomp).
func (f *Filter) Raw(w io.Writer) error {
	return binary.Write(w, binary.NativeEndian, f.Program)
}

// disassemble writes a program an instruction a line, in the words of bpf_asm of the
// kernel's tools (networking/filter.txt).
func disassemble(w io.Writer, program []unix.SockFilter) {
	for i, in := range program {
		fmt.Fprintf(w, "%4d: %s\n", i, mnemonic(i, in))
	}
}

var (
	aluOps  = [...]string{"add", "sub", "mul", "div", "or", "and", "lsh", "rsh", "neg", "mod", "xor"}
	jumpOps = [...]string{"ja", "jeq", "jgt", "jge", "jset"}
)

func mnemonic(place int, in unix.SockFilter) string {
	operand := fmt.Sprintf("#%#x", in.K)
	if in.Code&unix.BPF_X != 0 {
		operand = "x"
	}
	load := func(name string) string {
		switch in.Code & 0xe0 {
		case unix.BPF_ABS:
			return fmt.Sprintf("%s [%d]", name, in.K)
		case unix.BPF_MEM:
			return fmt.Sprintf("%s M[%d]", name, in.K)
		case unix.BPF_LEN:
			return name + " len"
		}
		return fmt.Sprintf("%s #%#x", name, in.K)
	}
	switch op := in.Code >> 4 & 0xf; in.Code & 0x07 {
	case unix.BPF_LD:
		return load("ld")
	case unix.BPF_LDX:
		return load("ldx")
	case unix.BPF_ST:
		return fmt.Sprintf("st M[%d]", in.K)
	case unix.BPF_STX:
		return fmt.Sprintf("stx M[%d]", in.K)
	case unix.BPF_ALU:
		return aluOps[op] + " " + operand
	case unix.BPF_JMP:
		if op == 0 {
			return fmt.Sprintf("ja %d", place+1+int(in.K))
		}
		return fmt.Sprintf("%s %s, %d, %d", jumpOps[op], operand, place+1+int(in.Jt), place+1+int(in.Jf))
	case unix.BPF_RET:
		if in.Code == unix.BPF_RET|unix.BPF_A {
			return "ret a"
		}
		return fmt.Sprintf("ret %#x (%s)", in.K, Action(in.K))
	}
	if in.Code == unix.BPF_MISC|unix.BPF_TAX {
		return "tax"
	}
	return "txa"
}
