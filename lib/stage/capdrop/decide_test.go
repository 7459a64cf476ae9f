package capdrop

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"staves/lib/caps"
	"staves/lib/chain"
)

// newStage reads options as the chain does.
func newStage(t *testing.T, words ...string) (*stage, *chain.Link) {
	t.Helper()
	s := &stage{}
	fs := pflag.NewFlagSet("capdrop", pflag.ContinueOnError)
	s.Options(fs)
	if err := fs.Parse(words); err != nil {
		t.Fatal(err)
	}
	return s, &chain.Link{Tool: Tool, Stage: s, Flags: fs}
}

func TestDecide(t *testing.T) {
	const full = 1<<41 - 1
	root := caps.State{Permitted: full, Effective: full, Bounding: full, Last: 40}
	poor := caps.State{Permitted: 0x1ff, Effective: 0x1ff, Bounding: full, Last: 40} // chown to setpcap
	user := caps.State{Bounding: full, Last: 40, UID: [3]uint32{1000, 1000, 1000}, GID: [3]uint32{1000, 1000, 1000}}
	holder := user // of one capability, as by a file's
	holder.Permitted, holder.Effective, holder.Inheritable, holder.Ambient = 1<<13, 1<<13, 1<<13, 1<<13
	setuser := user // may change the user, and so could become root
	setuser.Permitted, setuser.Effective = 1<<caps.SETUID, 1<<caps.SETUID
	powerless := caps.State{Bounding: full, Last: 40} // root without a capability
	noroot := root
	noroot.Securebits = caps.NoRoot
	docker := caps.Docker

	for _, tt := range []struct {
		words     string
		now       caps.State
		permitted caps.Set
		ambient   caps.Set
		bounding  caps.Set
		err       string
	}{
		{words: "", now: root, permitted: docker, bounding: docker},
		{words: "", now: poor, permitted: docker & 0x1ff, bounding: docker},
		{words: "--preset podman", now: root, permitted: caps.Podman, bounding: caps.Podman},
		{words: "--preset none", now: root},
		{words: "--preset all", now: root, permitted: full, bounding: full},
		{words: "--drop all", now: root},
		{words: "--drop chown", now: root, permitted: docker &^ 1, bounding: docker &^ 1},
		{words: "--keep sys_admin", now: root, permitted: 1 << 21, bounding: 1 << 21},
		{words: "--keep sys_admin --preset docker", now: root, permitted: docker | 1<<21, bounding: docker | 1<<21},
		{words: "--keep chown --keep 1", now: root, permitted: 3, bounding: 3},
		{words: "--keep all", now: root, permitted: full, bounding: full},
		{words: "--keep all --drop sys_admin", now: root, permitted: full &^ (1 << 21), bounding: full &^ (1 << 21)},
		{words: "--drop all --keep chown", now: root, permitted: 1, bounding: 1},
		{words: "--keep none", now: root},
		{words: "--keep sys_admin", now: poor, err: "cap_sys_admin: not held"},
		{words: "--keep all", now: poor, permitted: 0x1ff, bounding: full},

		// Another user keeps what was named; a preset only bounds.
		{words: "--user 1000", now: root, bounding: docker},
		{words: "--user 1000 --keep net_raw", now: root, permitted: 1 << 13, ambient: 1 << 13, bounding: 1 << 13},
		{words: "--user 1000 --preset docker --keep net_raw", now: root, permitted: 1 << 13, ambient: 1 << 13, bounding: docker},
		{words: "--user 1000 --keep all", now: root, permitted: full, ambient: full, bounding: full},
		{words: "--user 1000 --preset all", now: root, bounding: full},
		{words: "--user 0 --keep chown", now: root, permitted: 1, bounding: 1},
		{words: "--keep chown", now: noroot, permitted: 1, ambient: 1, bounding: 1},
		{words: "", now: noroot, bounding: docker},

		// An ordinary user has nothing to lose, and no right to lower the bounding set.
		{words: "--preset all", now: user, bounding: full},
		{words: "--drop chown", now: user, err: "lower the bounding set: cap_setpcap"},
		{words: "--preset docker", now: user, err: "lower the bounding set: cap_setpcap"},
		{words: "--keep none", now: user, err: "lower the bounding set: cap_setpcap"},
		{words: "--bnd none", now: user, err: "lower the bounding set: cap_setpcap"},
		{words: "--mode nopriv", now: user, err: "lower the bounding set: cap_setpcap"},

		// What nobody asked to lower stays, where that gives nobody anything.
		{words: "", now: user, bounding: full},
		{words: "--nice 5 --user 1000", now: user, bounding: full},
		{words: "", now: holder, bounding: full},
		{words: "--user 0", now: user, err: "change the user: cap_setuid"},
		{words: "--allow-new-privs", now: user, err: "lower the bounding set: cap_setpcap"},
		{words: "", now: powerless, err: "lower the bounding set: cap_setpcap"},
		{words: "--user 1000", now: powerless, err: "change the user: cap_setuid"},
		{words: "--user 0:1000", now: setuser, err: "lower the bounding set: cap_setpcap"},
		{words: "--user 5:1000", now: setuser, bounding: full},
		{words: "--keep chown", now: user, err: "cap_chown: not held"},
		{words: "--preset all --user 0", now: user, err: "change the user: cap_setuid"},
		{words: "--preset all --user 1000:5", now: user, err: "change the group: cap_setgid"},
		{words: "--preset all --user 1000:1000", now: user, bounding: full},
	} {
		t.Run(tt.words, func(t *testing.T) {
			s, link := newStage(t, strings.Fields(tt.words)...)
			var ids *caps.IDs
			if s.user.text != "" {
				u, err := caps.ParseUser(s.user.text)
				if err != nil {
					t.Fatal(err)
				}
				found, err := caps.Database{Passwd: "/nonexistent", Group: "/nonexistent"}.IDs(u)
				if err != nil {
					t.Fatal(err)
				}
				ids = &found
			}
			want, err := s.decide(link, &tt.now, ids)
			if tt.err != "" || err != nil {
				if err == nil || !strings.Contains(err.Error(), tt.err) || tt.err == "" {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if want.Permitted != tt.permitted || want.Effective != tt.permitted ||
				want.Ambient != tt.ambient || want.Inheritable != tt.ambient || want.Bounding != tt.bounding {
				t.Errorf("permitted %s, ambient %s, bounding %s", want.Permitted, want.Ambient, want.Bounding)
			}
			if !want.NoNewPrivs {
				t.Error("no_new_privs is off")
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	for words, want := range map[string]string{
		"":                            "docker",
		"--preset none":               "none",
		"--keep net_raw":              "cap_net_raw",
		"--keep none":                 "none",
		"--drop chown,kill":           "docker without cap_chown,cap_kill",
		"--keep all --drop sys_admin": "all without cap_sys_admin",
		"--preset podman --keep bpf":  "podman cap_bpf",
		"--drop all --keep chown":     "cap_chown",
	} {
		s, link := newStage(t, strings.Fields(words)...)
		if got := s.sets.describe(link); got != want {
			t.Errorf("%s: %q, want %q", words, got, want)
		}
	}
}
