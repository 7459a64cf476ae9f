package pivot

import (
	"slices"
	"strings"
	"testing"

	"staves/lib/chain"
)

func TestReadChroot(t *testing.T) {
	t.Setenv("SHELL", "/bin/any")
	for words, want := range map[string]struct {
		chroot
		payload string
	}{
		"/r a -b":                        {chroot{dir: "/r"}, "a -b"},
		"--userspec u:g --groups= /r a":  {chroot{dir: "/r", user: "u:g", hasGroups: true}, "a"},
		"--user=u: --gr=1,2 --skip / a":  {chroot{dir: "/", user: "u:", groups: "1,2", hasGroups: true, stay: true}, "a"},
		"-- --odd --version":             {chroot{dir: "--odd"}, "--version"},
		"/r --help":                      {chroot{dir: "/r"}, "--help"},
		"--groups=1 --groups 2 /r x y z": {chroot{dir: "/r", groups: "2", hasGroups: true}, "x y z"},
	} {
		act, err := readChroot(strings.Fields(words))
		if err != nil || act.Do != nil || *act.Stage.(*chroot) != want.chroot || strings.Join(act.Payload, " ") != want.payload {
			t.Errorf("%s: %+v, %v", words, act, err)
		}
	}
	for _, words := range []string{"", "--skip-chdir", "-x /r", "--nosuch /r", "--userspec", "--skip-chdir=x /r"} {
		if act, err := readChroot(strings.Fields(words)); err == nil {
			t.Errorf("%s: %+v", words, act)
		}
	}
}

func TestReadOthers(t *testing.T) {
	for _, tt := range []struct {
		read  func([]string) (*chain.Act, error)
		words string
		ok    bool
	}{
		{readPivotRoot, "a b", true},
		{readPivotRoot, "-V", true},
		{readPivotRoot, "a b --help", true},
		{readPivotRoot, "a", false},
		{readPivotRoot, "a b c", false},
		{readPivotRoot, "-x a b", false},
		{readSwitchRoot, "a b", true},
		{readSwitchRoot, "a b --help -x", true},
		{readSwitchRoot, "--help", true},
		{readSwitchRoot, "a", false},
		{readSwitchRoot, "", false},
		{readSwitchRoot, "-c x a b", false},
	} {
		if _, err := tt.read(strings.Fields(tt.words)); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.words, err)
		}
	}
	if _, err := readSwitchRoot([]string{"", "b"}); err == nil {
		t.Error("a new root without a name")
	}
	act, err := readSwitchRoot([]string{"a", "b", "--help"})
	if err != nil || act.Stage == nil || !slices.Equal(act.Payload, []string{"b", "--help"}) {
		t.Errorf("the words of init: %+v, %v", act, err)
	}
}
