package escape

import (
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"staves/lib/testkit"
)

// The keys of the caller's session are not the program's (keyrings(7)).
func TestKeyring(t *testing.T) {
	each(t, func(w *world) {
		runtime.LockOSThread() // a session keyring is a thread's; this one ends with the test
		if _, err := unix.KeyctlJoinSessionKeyring("staves-escape"); err != nil {
			w.Skip("needs session keyrings: ", err)
		}
		id, err := unix.AddKey("user", "staves-secret", []byte("secret"), unix.KEY_SPEC_SESSION_KEYRING)
		w.must(err)
		w.must(unix.KeyctlSetperm(id, 0x3f3f3f3f))
		w.held(words(w.box(), probe, "keyring", "staves-secret")...)
		w.held(words(w.open(), probe, "keyring", "staves-secret")...)
		w.escapes("nsrun", w.namespaces(), "--", w.image+probe, "keyring", "staves-secret")
	})
}

// CVE-2020-15257: a socket without a file belongs to the network namespace.
func TestAbstractSocket(t *testing.T) {
	l, err := net.Listen("unix", "@staves-escape")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	each(t, func(w *world) {
		w.held(words(w.box(), probe, "abstract", "staves-escape")...)
		without := w.open()
		without[1] = strings.TrimSuffix(without[1], "n")
		w.escapes(words(without, probe, "abstract", "staves-escape")...)
	})
}

// CVE-2017-5226: TIOCSTI types on the caller's terminal, for the shell that waits there. A
// session of its own takes the terminal away from all but CAP_SYS_ADMIN, a terminal of its
// own from everybody. The sysctl dev.tty.legacy_tiocsti=0 does what the session does; where
// it is 0 only the latter can be told apart.
func TestTypeAhead(t *testing.T) {
	each(t, func(w *world) {
		testkit.NeedExec(t, "script", "bash")
		// The shell reads what was typed when the container has ended.
		typed := func(option string, chain []string) bool {
			chain = words(chain, probe, "tiocsti")
			if option != "" {
				chain = append([]string{chain[0], option}, chain[1:]...)
			}
			cmd := w.command("script", "-qec", "bash -c '"+strings.Join(chain, " ")+"; read -t 0.3 x; echo read:$x'", "/dev/null")
			_, err := cmd.StdinPipe() // its end would be typed as well
			w.must(err)
			out := w.run(cmd)
			if !strings.Contains(out, "read:") || !strings.Contains(out, "held") && !strings.Contains(out, "ESCAPED") {
				w.Errorf("%v: %s", cmd.Args, out)
			}
			return strings.Contains(out, "read:staves")
		}
		for _, chain := range [][]string{w.box(), w.open()} {
			if typed("--pty", chain) {
				w.Errorf("%v: typed, in spite of a terminal of its own", chain)
			}
		}
		if typed("--new-session", w.box()) {
			w.Error("typed, in spite of a session of its own")
		}
		legacy, err := os.ReadFile("/proc/sys/dev/tty/legacy_tiocsti") // Linux 6.2
		if err != nil || strings.TrimSpace(string(legacy)) == "1" || w.root {
			if !typed("", w.open()) {
				w.Error("nothing was typed on the terminal that is shared")
			}
		}
		if w.root && !typed("--new-session", w.open()) {
			w.Error("with CAP_SYS_ADMIN nothing was typed")
		}
	})
}

// Mounts that are shared with the host, as on every machine with systemd: nothing made
// inside appears outside, during or after.
func TestSharedMounts(t *testing.T) {
	each(t, func(w *world) {
		if !w.root {
			return // needs root to make them so
		}
		const look = `mount --make-rshared / && cat /proc/self/mountinfo >before && "$@" && diff before /proc/self/mountinfo && echo held same`
		for _, chain := range [][]string{w.box(), w.open("--propagation", "shared"), w.host()} {
			w.held(words([]string{"unshare", "-m", "sh", "-c", look, "sh"}, words(chain, "/bin/sh", "-c", "mount -t tmpfs none /tmp; :")...)...)
		}
	})
}
