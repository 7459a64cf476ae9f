package caps

import (
	"strings"
	"testing"
)

func TestParseList(t *testing.T) {
	for _, tt := range []struct {
		text string
		want List
		err  string // a part of it
	}{
		{text: "none"},
		{text: "NONE"},
		{text: "all", want: List{All: true}},
		{text: "cap_sys_admin", want: List{Named: 1 << 21}},
		{text: "CAP_SYS_ADMIN", want: List{Named: 1 << 21}},
		{text: "sys_admin", want: List{Named: 1 << 21}},
		{text: "Sys_Admin", want: List{Named: 1 << 21}},
		{text: "21", want: List{Named: 1 << 21}},
		{text: "cap_21", want: List{Named: 1 << 21}},
		{text: "0,cap_63", want: List{Named: 1<<63 | 1}},
		{text: "chown,13,chown", want: List{Named: 1<<13 | 1}},
		{text: "all,net_raw", want: List{Named: 1 << 13, All: true}},
		{text: "checkpoint_restore", want: List{Named: 1 << 40}},
		{text: "", err: "write 'none'"},
		{text: "  ", err: "write 'none'"},
		{text: ",", err: "missing"},
		{text: "chown,", err: "missing"},
		{text: "cap_", err: "missing"},
		{text: "chown net_raw", err: "no capability"},
		{text: "none,chown", err: "stands alone"},
		{text: "64", err: "no capability"},
		{text: "-1", err: "no capability"},
		{text: "0x15", err: "no capability"},
		{text: "cap_cap_chown", err: "no capability"},
		{text: "sysadmin", err: "did you mean cap_sys_admin?"},
		{text: "net_rwa", err: "did you mean cap_net_raw?"},
		{text: "ptrace", err: "did you mean cap_sys_ptrace?"},
		{text: "admin", err: "see capabilities(7)"},
	} {
		got, err := ParseList(tt.text)
		switch {
		case tt.err == "" && err != nil, tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%q: error %v, want %q", tt.text, err, tt.err)
		case got != tt.want:
			t.Errorf("%q: %v, want %v", tt.text, got, tt.want)
		}
	}
}

// What a set is written as must read as the same set.
func FuzzParseList(f *testing.F) {
	for _, s := range []string{"", "all", "none", "cap_chown,21", "cap_63", "a,,b", "net_ra"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseList(text)
		if err != nil {
			return
		}
		again, err := ParseList(l.Named.String())
		if err != nil || again.Named != l.Named {
			t.Errorf("%q is %v, which reads as %v, %v", text, l.Named, again.Named, err)
		}
	})
}

func TestPresets(t *testing.T) {
	for name, want := range map[string]string{
		"docker": "cap_chown,cap_dac_override,cap_fowner,cap_fsetid,cap_kill,cap_setgid,cap_setuid,cap_setpcap," +
			"cap_net_bind_service,cap_net_raw,cap_sys_chroot,cap_mknod,cap_audit_write,cap_setfcap",
		"podman": "cap_chown,cap_dac_override,cap_fowner,cap_fsetid,cap_kill,cap_setgid,cap_setuid,cap_setpcap," +
			"cap_net_bind_service,cap_sys_chroot,cap_setfcap",
		"runc":           "cap_kill,cap_net_bind_service,cap_audit_write",
		"k8s-restricted": "cap_net_bind_service",
		"none":           "none",
	} {
		if set, ok := Preset(name); !ok || set.String() != want {
			t.Errorf("%s is %v, %v", name, set, ok)
		}
	}
	for name := range strings.SplitSeq(Presets, "|") {
		if _, ok := Preset(name); !ok {
			t.Errorf("%s is listed, but unknown", name)
		}
	}
	if _, ok := Preset(""); ok {
		t.Error("a preset has no name")
	}
}
