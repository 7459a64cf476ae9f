package escape

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"staves/lib/testkit"
)

// CAP_DAC_READ_SEARCH opens any file of the disk that the root is on, by its handle.
func TestFileHandle(t *testing.T) {
	each(t, func(w *world) {
		kind, handle := w.handle()
		w.held(words(w.box(), probe, "handle", kind, handle)...)
		w.held(words(w.host(), "/mnt/probe", "handle", kind, handle)...)
		if w.root {
			w.held(words([]string{"nsrun", "-UrmuipCn", "pivot", w.image, "--"}, probe, "handle", kind, handle)...)
			w.escapes(words(w.open(), probe, "handle", kind, handle)...)
		} else {
			w.held(words(w.open(), probe, "handle", kind, handle)...)
		}
	})
}

// CVE-2022-0492: cgroup v1's release_agent runs on the host as root.
func TestReleaseAgent(t *testing.T) {
	each(t, func(w *world) {
		w.held(words(w.box(), probe, "release-agent")...)
		w.held(words(w.box("--cgroup=rw"), probe, "release-agent")...)
		if !w.root {
			w.held(words(w.open(), probe, "release-agent")...)
			return
		}
		w.held(words([]string{"nsrun", "-UrmuipCn", "pivot", w.image, "--"}, probe, "release-agent")...)
		if _, err := os.Stat("/sys/fs/cgroup/memory/release_agent"); err == nil {
			w.escapes(words(w.open(), probe, "release-agent")...)
		}
	})
}

// CVE-2023-25809: groups of the host that can be written to.
func TestControlGroups(t *testing.T) {
	each(t, func(w *world) {
		for _, chain := range [][]string{w.box(), w.box("--cgroup"), w.open("--cgroup"), w.open("--sys=bind")} {
			w.held(words(chain, probe, "groups")...)
		}
		if w.root {
			w.escapes(words(w.open("--cgroup=rw"), probe, "groups")...)
		} else {
			w.held("nsrun", "-Urmp", "pivot", w.image, "--", probe, "groups")
		}
	})
}

// CVE-2022-29162: capabilities that are left where a program could inherit them.
func TestInheritableCapabilities(t *testing.T) {
	each(t, func(w *world) {
		status := []string{"/bin/busybox", "grep", "-E", "Cap(Inh|Amb)|NoNewPrivs", "/proc/self/status"}
		const none = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n"
		if out := w.run(w.command(words(w.box(), status...)...)); out != none {
			t.Errorf("in a box: %s", out)
		}
		if !w.root {
			return
		}
		testkit.NeedExec(t, "setpriv")
		inherit := []string{"setpriv", "--inh-caps", "+net_raw", "--ambient-caps", "+net_raw"}
		box := append(inherit, w.bin+"/nsrun")
		if out := w.run(w.command(words(append(box, w.box()[1:]...), status...)...)); out != none {
			t.Errorf("with inheritable ones: %s", out)
		}
	})
}

// A setuid program that a container left in a shared directory gives nobody inside more.
func TestSetuidProgram(t *testing.T) {
	each(t, func(w *world) {
		if !w.root {
			return // nobody's but the user's own
		}
		w.must(os.Mkdir(w.dir+"/shared", 0o755))
		w.must(testkit.CopyFile(w.dir+"/shared/probe", w.image+probe))
		w.must(unix.Chmod(w.dir+"/shared/probe", 0o4755))
		user := func(words string, drop ...string) []string {
			chain := append(w.open("--bind", w.dir+"/shared:/s"+words), "capdrop", "--user", "1000:1000")
			return append(append(chain, drop...), "--", "/s/probe", "setuid")
		}
		w.held(user("")...)
		w.held(user(":suid")...)
		w.held(user("", "--no-new-privs=false")...)
		w.escapes(user(":suid", "--no-new-privs=false")...)
	})
}
