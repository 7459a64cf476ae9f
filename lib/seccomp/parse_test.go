package seccomp

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	p, err := Parse([]byte(`{
		"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "defaultErrno": "ENOSYS",
		"archMap": [ {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
			{"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": null} ],
		"flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"],
		"syscalls": [
			{"names": ["read", "\u0077rite", "riscv_flush_icache"], "action": "SCMP_ACT_ALLOW", "comment": "\ud83d\ude00 \"\\", "args": null, "includes": {}, "excludes": {}},
			{"name": "kill", "action": "SCMP_ACT_ERRNO", "errno": "ESRCH", "errnoRet": 3,
			 "args": [{"index": 1, "op": "SCMP_CMP_MASKED_EQ", "value": 18446744073709551615, "valueTwo": 9}],
			 "includes": {"caps": ["CAP_KILL"], "arches": ["amd64"], "minKernel": "4.8"}}
		]} `))
	want := &Profile{
		Default: Errno(unix.ENOSYS), Families: [][]Arch{{AMD64, X86}, {Foreign}}, Flags: unix.SECCOMP_FILTER_FLAG_LOG,
		Rules: []Rule{
			{Names: []string{"read", "write", "riscv_flush_icache"}, Action: Allow},
			{
				Names: []string{"kill"}, Action: Errno(unix.ESRCH), Args: []Arg{{Index: 1, Op: MaskedEqual, Value: ^uint64(0), ValueTwo: 9}},
				Includes: Where{Caps: []string{"CAP_KILL"}, Arches: []string{"amd64"}, MinKernel: Version{4, 8}},
			},
		},
	}
	if err != nil || !reflect.DeepEqual(p, want) {
		t.Errorf("%+v (%v)", p, err)
	}
}

func TestParseErrors(t *testing.T) {
	const open = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["kill"], "action": "SCMP_ACT_ERRNO"`
	for text, want := range map[string]string{
		``:                             "it is empty",
		"\n":                           "it is cut short",
		`[]`:                           "line 1: an object expected",
		"{\n}":                         "no defaultAction",
		`{"defaultAction": 1}`:         "a string expected, not '1'",
		open:                           "it is cut short",
		open + `}]} x`:                 "something follows the end",
		open + `]}`:                    `a comma or '}' expected`,
		open + `,}]}`:                  "a string expected, not '}'",
		open + `, "errnoRet": -1`:      "-1: no unsigned integer",
		open + `, "errnoRet": 1e3`:     "1e3: no unsigned integer",
		open + `, "errnoRet": 010`:     "010: no unsigned integer",
		open + `, "errnoRet": 4096}]}`: "syscalls[0]: kill: errnoRet 4096: the largest errno is 4095",
		open + `, "errno": "EFOO"}]}`:  `"EFOO" is no errno`,
		open + `, "action": ""}]}`:     `a second member "action"`,
		open + `, "arg": []}]}`:        `a rule has no member "arg"`,
		open + `, "args": [{"index": 6, "op": "SCMP_CMP_EQ"}]}]}`:                                                               "a system call has no argument 6",
		open + `, "args": [{"index": 0, "op": "SCMP_CMP_IN"}]}]}`:                                                               `"SCMP_CMP_IN" is no comparison`,
		open + `, "args": [{"idx": 0}]}]}`:                                                                                      `an argument has no member "idx"`,
		open + `, "includes": {"cap": []}}]}`:                                                                                   `have no member "cap"`,
		open + `, "includes": {"minKernel": "4"}}]}`:                                                                            `"4" is no version like 4.8`,
		open + `, "excludes": {"minKernel": "4.x"}}]}`:                                                                          `"4.x" is no version`,
		`{"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1}`:                                                              "SCMP_ACT_KILL takes no errno",
		`{"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 65536}`:                                                         "a tracer's message has 16 bits",
		`{"defaultAction": "SCMP_ACT_NOTIFY"}`:                                                                                  "needs an agent",
		`{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["x86_64"]}`:                                                      `"x86_64" is no architecture`,
		`{"defaultAction": "SCMP_ACT_ALLOW", "archMap": [{}]}`:                                                                  "archMap: no architecture",
		`{"defaultAction": "SCMP_ACT_ALLOW", "archMap": [{"sub": 1}]}`:                                                          `archMap has no member "sub"`,
		`{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NEW_LISTENER"]}`:                                    "none that can be set here",
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_LOG"}]}`:                                         "syscalls[0]: no names",
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a b"]}]}`:                                                 `"a b" is no system call`,
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [""]}]}`:                                                    `"" is no system call`,
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "read", "names": ["a"]}]}`:                                   "both name and names",
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "read"}]}`:                                                   `"" is no action`,
		`{"defaultAction": "\x"}`:                                                                                               `\x: no escape`,
		`{"defaultAction": "\u12"}`:                                                                                             `\u: no escape`,
		"{\"defaultAction\": \"\n\"}":                                                                                           "a control character",
		`{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "archMap":[{"architecture":"SCMP_ARCH_ARM"}]}`: "both architectures and archMap",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want: %s", text, err, want)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q has more than one line", err)
		}
	}
	if _, err := Parse(make([]byte, MaxSize+1)); !errors.Is(err, unix.EFBIG) {
		t.Errorf("a profile that is too long: %v", err)
	}
}

// A profile with more conditions than the kernel takes is refused, not cut.
func TestTooLong(t *testing.T) {
	p := &Profile{Default: Allow}
	for n := range uint64(5000) {
		p.Rules = append(p.Rules, Rule{Names: []string{"ioctl"}, Action: Errno(unix.ENOTTY), Args: []Arg{{Index: 1, Op: Equal, Value: n}}})
	}
	if _, err := p.Filter(Machine{}); !errors.Is(err, unix.E2BIG) {
		t.Errorf("%v", err)
	}
}

// Every name of the table is found.
func TestTable(t *testing.T) {
	for i, c := range calls {
		if find(c.name) != i || !known(c.name) {
			t.Errorf("%s: row %d, found %d", c.name, i, find(c.name))
		}
	}
	for _, name := range []string{"", " ", "nosuchcall", "READ"} {
		if find(name) >= 0 || known(name) {
			t.Errorf("%q is known", name)
		}
	}
}

// What is read is JSON, and the program that it makes is one that the kernel takes.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 3, "args": [{"index": 1, "op": "SCMP_CMP_GE", "value": 9}], "includes": {"caps": ["CAP_KILL"], "minKernel": "4.8"}}]}`))
	f.Add([]byte(`{"defaultAction": "SCMP_ACT_TRAP", "comment": null, "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X32"]}], "defaultErrno": "\u0045\n"}`))
	f.Add([]byte("\x20\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00\x00\x00\x00\xff\x7f"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		if p.raw == nil && !json.Valid(text) {
			t.Errorf("%q is no JSON", text)
		}
		for _, native := range []Arch{AMD64, ARM64} {
			f, err := p.Filter(Machine{Native: native, Kernel: Version{6, 1}})
			if err != nil {
				continue
			}
			if err := verify(f.Program); err != nil {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}
