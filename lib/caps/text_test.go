package caps

import (
	"strconv"
	"strings"
	"testing"
)

// What the C library makes of a text: cap_to_text(cap_from_text(in)), "" for an error.
// The kernel's last capability is taken to be cap_checkpoint_restore.
var texts = map[string]string{
	"":                              "=",
	" \t\n":                         "=",
	"=":                             "=",
	"=ep":                           "=ep",
	"all=ep":                        "=ep",
	"ALL=p all+e":                   "=ep",
	"cap_chown=ep":                  "cap_chown=ep",
	"CAP_CHOWN=ep":                  "cap_chown=ep",
	"0=ep":                          "cap_chown=ep",
	"0x1f,017=p":                    "cap_ipc_owner,cap_setfcap=p",
	"cap_chown=e cap_kill=p":        "cap_kill=p cap_chown+e",
	"cap_chown=ep =":                "=",
	"=ep cap_chown=":                "=ep cap_chown-ep",
	"=ep cap_chown-e":               "=ep cap_chown-e",
	"=p cap_setpcap-p+i":            "=p cap_setpcap+i-p",
	"cap_chown=+ep":                 "cap_chown=ep",
	"cap_chown=p cap_chown=-p":      "=",
	"cap_chown=ep-e":                "cap_chown=p",
	"cap_chown,cap_kill+p":          "cap_chown,cap_kill=p",
	"50=p":                          "= 50+p",
	"50,all=p":                      "=p",
	"all,50=p":                      "=p 50+p",
	"cap_net_raw+ip cap_setpcap+ep": "cap_net_raw=ip cap_setpcap+ep",
	"cap_chown":                     "",
	"cap_chown+":                    "",
	"cap_chown=p+":                  "",
	"+p":                            "",
	"=+p":                           "",
	"=p+e":                          "",
	"cap_chown,=p":                  "",
	",cap_chown=p":                  "",
	"chown=p":                       "",
	"cap_chownx=p":                  "",
	"cap_chown1=p":                  "",
	"64=p":                          "",
	"08=p":                          "",
	"cap_chown=x":                   "",
	"cap_chown = p":                 "",
	"99999999999999999999=p":        "",
}

func TestText(t *testing.T) {
	if Last() != len(names)-1 {
		t.Skipf("this kernel's last capability is %s, not that of the table", Name(Last()))
	}
	for in, want := range texts {
		got := ""
		if s, err := ParseText(in); err == nil {
			got = s.String()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// What is written reads as what it was.
func FuzzText(f *testing.F) {
	for in := range texts {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		s, err := ParseText(in)
		if err != nil {
			return
		}
		if again, err := ParseText(s.String()); err != nil || again != s {
			t.Errorf("%q is %q, which reads as %q: %v", in, s, again, err)
		}
	})
}

func TestIAB(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		"cap_chown":                  "cap_chown",
		"%cap_chown":                 "cap_chown",
		"^cap_chown":                 "^cap_chown",
		"!cap_chown":                 "!cap_chown",
		"!^cap_chown,":               "!^cap_chown",
		"^!cap_chown":                "!^cap_chown",
		"!%CAP_CHOWN":                "!%cap_chown",
		"!cap_chown,cap_chown":       "!%cap_chown",
		"^cap_kill,!0":               "!cap_chown,^cap_kill",
		"^":                          "",
		"cap_chown,^":                "cap_chown",
		",cap_chown":                 "error",
		"chown":                      "error",
		"all":                        "error",
		"cap_chown cap_kill":         "error",
		"cap_chown,,cap_kill":        "error",
		"^,cap_chown":                "error",
		"cap_chown,cap_nosuchthing":  "error",
		"%^!%^!cap_bpf,%%%cap_chown": "cap_chown,!^cap_bpf",
	} {
		got := "error"
		if iab, err := ParseIAB(in); err == nil {
			got = iab.String()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzIAB(f *testing.F) {
	f.Add("!^cap_chown,%cap_kill,cap_bpf,")
	f.Fuzz(func(t *testing.T, in string) {
		iab, err := ParseIAB(in)
		known := All >> (63 - Last())
		if err != nil || (iab.Inheritable|iab.Blocked)&^known != 0 {
			return // what the kernel does not have is not written
		}
		if again, err := ParseIAB(iab.String()); err != nil || again != iab {
			t.Errorf("%q is %q, which reads as %q: %v", in, iab, again, err)
		}
	})
}

func TestParseNameHint(t *testing.T) {
	for in, want := range map[string]string{"chown": "cap_chown", "cap_5": "cap_kill", "cap_63": "63", "CAP_63": "63"} {
		if _, err := ParseName(in); err == nil || !strings.HasSuffix(err.Error(), "; did you mean "+want+"?") {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}

func TestParseName(t *testing.T) {
	for in, want := range map[string]string{
		"cap_chown": "0", "CAP_KILL": "5", "0x10": "16", "010": "8", "63": "63", "cap_chown,": "0",
		"64": "", "chown": "", "": "", "cap_": "", "-1": "", " 1": "",
	} {
		got := ""
		if n, err := ParseName(in); err == nil {
			got = strconv.Itoa(n)
		}
		if got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
