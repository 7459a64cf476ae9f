package capdrop

import (
	"strings"
	"testing"
)

// Which words are capsh's under our own name.
func TestDisguise(t *testing.T) {
	for words, want := range map[string]bool{
		"":                   false,
		"sh":                 false,
		"-- sh":              false,
		"--":                 false,
		"-- -c x":            false,
		"--keep chown -- sh": false,
		"--drop=chown -- sh": false,
		"--drop=chown sh":    false,
		"--drop=chown":       false,
		"--keep=chown --user=1000 -- ping -c 1 x": false,
		"--drop=chown -- -c id":                   true,
		"--drop=chown -- +x":                      true,
		"--drop=chown --":                         true,
		"--user=nobody --drop=chown -- --login":   true,
		"--drop=chown -+ -c id":                   true,
		"--drop=chown == --print":                 true,
		"=+ --print":                              true,
		"--print":                                 true,
		"--print --":                              true,
		"--print -- sh":                           true,
		"--print sh":                              true,
		"--print sh --keep chown":                 true,
		"--print --keep chown sh":                 false,
		"--decode=1":                              true,
		"--chroot=x --drop=chown sh":              true,
		"--uid=1 --seccomp=default sh":            false,
		"--exec --drop=x -- -c id":                false,
		"--mode":                                  true,
		"--mode --print":                          true,
		"--mode pure1e sh":                        false,
		"--mode=PURE1E sh":                        false,
		"--mode=PURE1E -- -c id":                  true,
		"--no-new-privs -- -c id":                 true,
		"--no-new-privs -- sh":                    false,
		"--explain":                               false,
		"--explain=cap_chown":                     true,
		"--help":                                  false,
		"-h":                                      false,
		"--version":                               false,
		"--inh=x --uid=1 --gid=1 --chroot=r -- -c bash": true,
	} {
		if got := disguise(strings.Fields(words)) != ""; got != want {
			t.Errorf("%s: %v, want %v", words, got, want)
		}
	}
}
