package lsm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// tree makes files beneath a new root, with links where the text is a path.
func tree(t *testing.T, files map[string]string) root {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil && strings.HasPrefix(text, "/") {
			err = os.Symlink(text, path)
		} else if err == nil {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root(dir)
}

func TestEnabled(t *testing.T) {
	for _, c := range []struct {
		about             string
		files             map[string]string
		appArmor, seLinux bool
	}{
		{"nothing", nil, false, false},
		{"Debian's kernel", map[string]string{active: "capability,landlock,yama,apparmor,bpf\n"}, true, false},
		{"Fedora's", map[string]string{active: "capability,yama,selinux,bpf,landlock"}, false, true},
		{"a name within another", map[string]string{active: "capability,notapparmor,selinux2\n"}, false, false},
		{"the list decides", map[string]string{active: "capability\n", appArmorEnabled: "Y\n", seLinuxStatus: ""}, false, false},
		{"without the list", map[string]string{appArmorEnabled: "Y\n"}, true, false},
		{"compiled, and off", map[string]string{appArmorEnabled: "N\n"}, false, false},
		{"selinuxfs alone", map[string]string{seLinuxStatus: ""}, false, true},
	} {
		r := tree(t, c.files)
		if a, s := r.enabled(AppArmor), r.enabled(SELinux); a != c.appArmor || s != c.seLinux {
			t.Errorf("%s: AppArmor %t, SELinux %t, want %t and %t", c.about, a, s, c.appArmor, c.seLinux)
		}
	}
}

func TestShown(t *testing.T) {
	for profile, want := range map[string]string{
		"container": "container (", "/usr/bin/man": "/usr/bin/man (", "unconfined": "unconfined\n",
		"a//b": "a//b (", "a//&b": "", "&a": "", ":ns:a": "", ":ns://a": "",
	} {
		if got := shown(profile); got != want {
			t.Errorf("%s: %q, want %q", profile, got, want)
		}
	}
}

const context = "system_u:system_r:one_t:s0"

// answer is a file that is written to and then read like the one of selinuxfs: what is
// written goes over the beginning, and the rest is read.
func answer(text string) string { return strings.Repeat("x", len(context)) + text }

func TestCheckSELinux(t *testing.T) {
	for _, c := range []struct {
		about string
		files map[string]string
		want  error
	}{
		{"no selinuxfs", nil, nil},
		{"the same", map[string]string{seLinuxContext: answer(context + "\x00")}, nil},
		{"in other words", map[string]string{seLinuxContext: answer("system_u:system_r:other_t:s0\x00")}, nil},
		{"no such context", map[string]string{seLinuxContext: "/proc/self/oom_score_adj"}, unix.EINVAL}, // which is a number
		{"no policy", map[string]string{seLinuxContext: answer("kernel\x00")}, errNoPolicy},
	} {
		if err := tree(t, c.files).checkSELinux(context); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.about, err, c.want)
		}
	}
}

// What is written must be read again; /dev/null takes all and keeps nothing.
func TestExec(t *testing.T) {
	appArmor := func(profile string) func(root, *entry.Builder) {
		return func(r root, b *entry.Builder) { r.execAppArmor(b, profile) }
	}
	seLinux := func(r root, b *entry.Builder) { r.execSELinux(b, context) }
	for _, c := range []struct {
		about string
		files map[string]string
		exec  func(r root, b *entry.Builder)
		errno error
		says  string
	}{
		{"a stack of profiles", map[string]string{attrAppArmorExec: ""}, appArmor("a//&b"), nil, ""},
		// What AppArmor reads is not what is written to it: as in this file.
		{"a profile", map[string]string{attrAppArmorExec: ""}, appArmor("a"), unix.EPERM, "read back: the next execve will not enter the AppArmor profile a"},
		{"to no effect", map[string]string{attrAppArmorExec: "/dev/null"}, appArmor("a"), unix.EPERM, "read back: the next execve will not enter the AppArmor profile a"},
		{"no AppArmor", nil, appArmor("a"), unix.ENOENT, "open "},
		{"a context", map[string]string{attrExec: ""}, seLinux, nil, ""},
		{"a context, to no effect", map[string]string{attrExec: "/dev/null"}, seLinux, unix.EPERM, "read back: the next execve will not enter the SELinux context " + context},
		{"another is there", map[string]string{attrExec: context + ":c1"}, seLinux, unix.EPERM, "read back: "},
		{"the kernel writes it so", map[string]string{attrExec: "", seLinuxContext: answer(context + "\x00")}, seLinux, nil, ""},
		{"the kernel writes another", map[string]string{attrExec: "", seLinuxContext: answer("system_u:system_r:other_t:s0\x00")}, seLinux, unix.EPERM, "read back: "},
		{"no SELinux", nil, seLinux, unix.ENOENT, "open "},
	} {
		var b entry.Builder
		c.exec(tree(t, c.files), &b)
		err := b.Run()
		var op *entry.OpError
		if !errors.Is(err, c.errno) || err != nil && (!errors.As(err, &op) || !strings.HasPrefix(op.Label, c.says)) {
			t.Errorf("%s: %v, want %v, %s", c.about, err, c.errno, c.says)
		}
	}
}

func TestCurrent(t *testing.T) {
	for text, want := range map[string]string{"unconfined\n": "unconfined", context + "\x00": context, "a (enforce)\n": "a (enforce)"} {
		if got, err := tree(t, map[string]string{attrCurrent: text}).current(); err != nil || got != want {
			t.Errorf("%q: %q, want %q (%v)", text, got, want, err)
		}
	}
	if _, err := tree(t, nil).current(); !errors.Is(err, unix.ENOENT) {
		t.Error("no file: ", err)
	}
}
