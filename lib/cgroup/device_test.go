package cgroup

import (
	"strings"
	"testing"
)

// rules reads "+c 1:3 rwm,-b 8:* r".
func rules(t *testing.T, text string) []DeviceRule {
	t.Helper()
	var list []DeviceRule
	for s := range strings.SplitSeq(text, ",") {
		r, err := ParseDeviceRule(s[1:], s[0] == '+')
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

// execute runs a filter as the kernel does. It knows the instructions that assemble uses.
func execute(t *testing.T, p []insn, kind, access, major, minor uint32) uint64 {
	t.Helper()
	ctx := map[int16]uint64{0: uint64(access<<16 | kind), 4: uint64(major), 8: uint64(minor)}
	var reg [11]uint64
	for pc := 0; pc < len(p); pc++ {
		i := p[pc]
		dst, src := i.regs&15, i.regs>>4
		imm := uint64(int64(i.imm))
		switch i.code {
		case opLoad32:
			reg[dst] = ctx[i.off]
		case opMove:
			reg[dst] = imm
		case opCopy:
			reg[dst] = reg[src]
		case opAnd:
			reg[dst] &= imm
		case opShift:
			reg[dst] >>= imm
		case opIfSame:
			if reg[dst] == imm {
				pc += int(i.off)
			}
		case opIfNot:
			if reg[dst] != imm {
				pc += int(i.off)
			}
		case opExit:
			return reg[regVerdict]
		default:
			t.Fatalf("instruction %#x", i.code)
		}
	}
	t.Fatal("the program ends without exit")
	return 0
}

func TestFilter(t *testing.T) {
	const r, w, m = AccessRead, AccessWrite, AccessMknod
	for _, c := range []struct {
		rules                 string
		kind, access          uint32
		major, minor, verdict uint32
	}{
		{"+c 1:3 rwm", kindChar, r | w, 1, 3, 1},
		{"+c 1:3 rwm", kindChar, r, 1, 5, 0},
		{"+c 1:3 rwm", kindBlock, r, 1, 3, 0},
		{"+c 1:3 r", kindChar, r | w, 1, 3, 0},
		{"+c 1:3 r,+c 1:3 w", kindChar, r | w, 1, 3, 1},
		{"+c 1:* r,-c 1:5 r", kindChar, r, 1, 5, 0},
		{"+c 1:* r,-c 1:5 r", kindChar, r, 1, 3, 1},
		{"-c 1:* rwm,+c 1:3 rw", kindChar, r | w, 1, 3, 1},
		{"-c 1:* rwm,+c 1:3 rw", kindChar, m, 1, 3, 0},
		{"-c 1:* rwm,+c 1:3 rw", kindBlock, r, 8, 0, 1},
		{"-a", kindBlock, r, 8, 0, 0},
		{"-a,+c 1:3 rwm", kindChar, r, 1, 3, 1},
		{"-a,+c 1:3 rwm", kindChar, r, 1, 5, 0},
		{"+a", kindBlock, r | w | m, 8, 0, 1},
		{"+b *:0 m", kindBlock, m, 8, 0, 1},
	} {
		if got := execute(t, assemble(rules(t, c.rules)), c.kind, c.access, c.major, c.minor); got != uint64(c.verdict) {
			t.Errorf("%s: kind %d, access %d, %d:%d: %d, want %d", c.rules, c.kind, c.access, c.major, c.minor, got, c.verdict)
		}
	}
}

func TestRulesOnV1(t *testing.T) {
	for text, ok := range map[string]bool{
		"+c 1:3 rwm,+c 1:5 r":  true,
		"-c 1:3 r":             true,
		"+c 1:3 rwm,-c 1:3 m":  true, // the very same numbers
		"+c 1:* r,-c 1:5 r":    false,
		"-c 1:* rwm,+c 1:3 rw": false,
		"-a,+c 1:3 rwm":        true,
		"+c 1:3 r,-a,+b 8:0 r": true,
		"+a *:0 r":             false,
	} {
		if err := onV1(rules(t, text)); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestParseDeviceRule(t *testing.T) {
	for in, want := range map[string]string{
		"c 1:3 rwm": "c 1:3 mrw", "c 1:3": "c 1:3 mrw", "b 8:* r": "b 8:* r", "a": "a", "/dev/null:rw": "c 1:3 rw", "/dev/null": "c 1:3 mrw",
		"": "", "x 1:3 r": "", "c": "", "c 1": "", "c 1:3 x": "", "c 1:3 r r": "", "c -1:3 r": "", "c 4096:0 r": "", "/etc/passwd": "", "/nonesuch": "", "c 1:3 rw\n": "c 1:3 rw",
	} {
		r, err := ParseDeviceRule(in, true)
		if (err == nil) != (want != "") || err == nil && r.text() != want {
			t.Errorf("%q: %q (%v), want %q", in, r.text(), err, want)
		}
	}
}

func FuzzParseDeviceRule(f *testing.F) {
	f.Add("c 1:3 rwm")
	f.Add("a")
	f.Add("/dev/null:r")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseDeviceRule(s, true)
		if err != nil {
			return
		}
		again, err := ParseDeviceRule(r.text(), true)
		if err != nil || r.Type != 'a' && again != r {
			t.Errorf("%q is %q, which is %+v (%v)", s, r.text(), again, err)
		}
	})
}
