// Package install tests what 'make install', 'make deb' and 'make dist' leave, and that it
// works where they put it.
package install

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"staves/lib/testkit"
)

func TestMain(m *testing.M) {
	status := m.Run()
	testkit.Cleanup()
	os.Exit(status)
}

// run runs a command in the project's directory, with more of an environment, and returns
// what it prints.
func run(t *testing.T, env []string, words ...string) string {
	t.Helper()
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = testkit.Root()
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(words, " "), err, out)
	}
	return string(out)
}

// builtHere returns make's variable for where things are built, built for this test.
func builtHere(t *testing.T) string {
	t.Helper()
	b := "B=" + t.TempDir()
	run(t, nil, "make", "build", b)
	return b
}

func TestInstall(t *testing.T) {
	testkit.NeedExec(t, "make", "bash")
	b := builtHere(t)
	dest := t.TempDir()
	if err := os.Chmod(dest, 0o755); err != nil {
		t.Fatal(err)
	}
	// Who installs may have no Go.
	noGo := []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin"}
	words := []string{"make", "install", b, "DESTDIR=" + dest, "PREFIX=/opt/st"}
	run(t, noGo, words...)
	top := filepath.Join(dest, "opt/st")

	t.Run("works", func(t *testing.T) { works(t, top) })
	t.Run("links", func(t *testing.T) {
		err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
			if err == nil {
				_, err = os.Stat(p) // a link must lead somewhere
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("documents", func(t *testing.T) { leadSomewhere(t, filepath.Join(top, "share/doc/staves")) })
	t.Run("compare", func(t *testing.T) {
		testkit.NeedRoot(t)
		testkit.NeedExec(t, "busybox", "strace", "ip", "cgexec", "capsh")
		testkit.Check(t)
		out := run(t, []string{"STAVES_TRACE=1"}, filepath.Join(top, "libexec/staves/scripts/recipes/compare"), "-n", "1")
		if !strings.Contains(out, "\n+ unshare: ") {
			t.Errorf("what it calls our links are others' programs:\n%s", out)
		}
	})
	t.Run("uninstall", func(t *testing.T) {
		run(t, noGo, words...) // over itself
		other := filepath.Join(top, "bin/other")
		if err := os.WriteFile(other, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		words[1] = "uninstall"
		if err := os.RemoveAll(strings.TrimPrefix(b, "B=")); err != nil { // make clean
			t.Fatal(err)
		}
		run(t, noGo, words...)
		if left := files(t, dest); len(left) != 4 || left[3] != "opt/st/bin/other" {
			t.Errorf("what is left: %q, not the file of somebody else alone", left)
		}
		if err := os.Remove(other); err != nil {
			t.Fatal(err)
		}
		words[1] = "install"
		run(t, nil, words...)
		words[1] = "uninstall"
		run(t, noGo, words...)
		run(t, noGo, words...) // and there is nothing to remove
		if left := files(t, dest); len(left) > 0 {
			t.Errorf("what is left: %q", left)
		}
	})
}

// leadSomewhere checks the links of all texts in a directory, but for those to the net.
func leadSomewhere(t *testing.T, dir string) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	links := 0
	for _, name := range files(t, dir) {
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		file := filepath.Join(dir, name)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			links++
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s: a link to nothing: %s", name, m[1])
			}
		}
	}
	if links < 20 {
		t.Errorf("only %d links in %s", links, dir)
	}
}

func TestInstallWantsAnAbsolutePrefix(t *testing.T) {
	testkit.NeedExec(t, "make", "bash")
	for _, do := range []string{"install", "uninstall"} {
		cmd := exec.Command("make", do, builtHere(t), "DESTDIR="+t.TempDir(), "PREFIX=usr")
		cmd.Dir = testkit.Root()
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "PREFIX usr is not absolute") {
			t.Errorf("%s: %v, %s", do, err, out)
		}
	}
}

// files lists what is in a directory.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if p != dir && err == nil {
			rel, _ := filepath.Rel(dir, p) // it lies within
			all = append(all, rel)
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return all
}

// works runs what is installed below top, each with nothing else of ours in PATH.
func works(t *testing.T, top string) {
	env := []string{"PATH=" + top + "/bin:/usr/bin:/bin:/usr/sbin:/sbin", "STAVES_CACHE=" + t.TempDir(), "HOME=" + t.TempDir()}
	sh := func(script string) string {
		t.Helper()
		return strings.TrimSpace(run(t, env, "sh", "-c", "cd / && "+script))
	}
	for _, name := range testkit.Tools {
		if got := sh(name + " --version"); !strings.HasPrefix(got, name+" (staves) ") || strings.Contains(got, "without") {
			t.Errorf("%s --version prints %q", name, got)
		}
	}
	for script, want := range map[string]string{
		top + "/libexec/staves/compat/setpriv --nnp true && echo ok": "ok",
		"box --print -- true":    "capdrop",
		"lesson --list":          "namespaces",
		"netbr-dns 2>&1 || true": "which bridge?",
		"netbr-dns --help":       "dnsmasq",
		"rootfs --help":          "--lowers",
		"man -P cat " + top + "/share/man/man1/nsrun.1 2>&1 || cat " + top + "/share/man/man1/nsrun.1": "namespaces",
		"cat " + top + "/share/doc/staves/docs/coming-from.md":                                         "nsrun",
	} {
		if got := sh(script); !strings.Contains(got, want) {
			t.Errorf("%s prints %q, without %q", script, got, want)
		}
	}
	image := filepath.Join(t.TempDir(), "image")
	if err := testkit.OCILayout(image, [][]byte{archive(t, "etc/one")}); err != nil {
		t.Fatal(err)
	}
	if got := sh("cat $(rootfs --lowers oci:" + image + " 2>/dev/null)/etc/one"); got != "hello" {
		t.Errorf("a layer by way of rootfs: %q", got)
	}
	if os.Geteuid() == 0 {
		testkit.Check(t)
		if got := sh("box --quiet -- sh -c 'echo inside; hostname'"); got != "inside\nbox" {
			t.Errorf("box runs: %q", got)
		}
	}
}

// archive is a tar archive of one file.
func archive(t *testing.T, name string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []*tar.Header{
		{Name: path.Dir(name) + "/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: 5},
	} {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(w, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDist(t *testing.T) {
	testkit.NeedExec(t, "make", "bash", "git", "tar")
	out, again := t.TempDir(), t.TempDir()
	run(t, []string{"OUT=" + out}, "make", "dist")
	run(t, nil, "sh", "-c", "cd "+out+" && sha256sum --check --strict SHA256SUMS")
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		if got := machineOf(t, packed(t, out, arch), "/bin/nsrun"); got != machine {
			t.Errorf("%s: nsrun is for %v", arch, got)
		}
	}
	run(t, []string{"OUT=" + again}, "scripts/dist", "amd64")
	if !bytes.Equal(packed(t, out, "amd64"), packed(t, again, "amd64")) {
		t.Error("made twice, it is not the same")
	}
}

// packed returns the archive for an architecture.
func packed(t *testing.T, dir, arch string) []byte {
	t.Helper()
	all, err := filepath.Glob(dir + "/staves-*-linux-" + arch + ".tar.gz")
	if err != nil || len(all) != 1 {
		t.Fatalf("archives for %s: %q, %v", arch, all, err)
	}
	text, err := os.ReadFile(all[0])
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// machineOf is the machine that a program in an archive is for.
func machineOf(t *testing.T, packed []byte, name string) elf.Machine {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Typeflag != tar.TypeSymlink && h.Mode&0o022 != 0 {
			t.Errorf("%s: owner %d:%d, mode %o", h.Name, h.Uid, h.Gid, h.Mode)
		}
		if !strings.HasSuffix(h.Name, name) {
			continue
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return f.Machine
	}
}

func TestDeb(t *testing.T) {
	testkit.NeedExec(t, "make", "bash", "git", "dpkg-deb", "dpkg")
	out := t.TempDir()
	if err := os.Chmod(out, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, []string{"OUT=" + out}, "make", "deb")
	all, err := filepath.Glob(out + "/staves_*.deb")
	if err != nil || len(all) != 1 {
		t.Fatalf("packages: %q, %v", all, err)
	}
	t.Run("lintian", func(t *testing.T) {
		testkit.NeedExec(t, "lintian")
		report, err := exec.Command("lintian", "--fail-on=error", all[0]).CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, report)
		}
	})
	t.Run("installed", func(t *testing.T) {
		testkit.NeedRoot(t)
		bin, err := testkit.Bin()
		if err != nil {
			t.Fatal(err)
		}
		testkit.Check(t)
		// In a container over this machine's own files, copy on write. What the package
		// conflicts with is removed there first, if it is there.
		got := run(t, []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin"}, bin+"/nsrun", "-mpuin", "--", "overlay", "mkdev", "pivot", "--bind", out+":/mnt:ro", "--", "sh", "-ec", `
			exec 2>&1
			if dpkg -s cgroup-tools >/dev/null 2>&1; then
				if dpkg --install /mnt/*.deb >/dev/null 2>&1; then echo 'no conflict with cgroup-tools'; fi
				dpkg --purge cgroup-tools >/dev/null
			fi
			dpkg --install /mnt/*.deb >/dev/null
			dpkg --verify staves
			cd /
			/usr/bin/nsrun -u --hostname inner -- hostname
			/usr/bin/box --quiet -- echo in a box
			PATH=/usr/libexec/staves/compat:$PATH unshare -u echo by another name
			test -s /usr/share/man/man7/chain.7.gz
			dpkg --purge staves >/dev/null
			ls -d /usr/bin/nsrun /usr/libexec/staves 2>/dev/null || echo gone`)
		if want := "inner\nin a box\nby another name\ngone\n"; got != want {
			t.Errorf("prints\n%s\nnot\n%s", got, want)
		}
	})
}
