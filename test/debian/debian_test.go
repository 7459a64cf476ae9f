// Package debian_test runs the recipe of an image in two layers over a real distribution:
// Debian, by debootstrap, with a package installed by its own package manager.
//
// The first run fetches about 100 MB from where this machine's apt has its packages from,
// and keeps the tree outside the checkout; later ones need no network.
package debian_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"staves/lib/testkit"
)

func TestMain(m *testing.M) {
	status := m.Run()
	testkit.Cleanup()
	os.Exit(status)
}

// cache returns the directory that keeps what was fetched.
func cache() string {
	base := os.Getenv("XDG_CACHE_HOME")
	if base == "" {
		base = "/var/cache"
	}
	return filepath.Join(base, "staves-test")
}

// suite returns the machine's own suite, "" on one that is not Debian's.
func suite() string {
	const ask = `. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_CODENAME"`
	out, _ := exec.Command("sh", "-c", ask).Output() // a failure is a no
	return strings.TrimSpace(string(out))
}

// fetch returns the file of a package, and what is wrong where there is none.
func fetch(dir, name string) (file, wrong string) {
	found := func() string {
		all, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
		if err != nil || len(all) == 0 {
			return ""
		}
		return all[0]
	}
	if file = found(); file != "" {
		return file, ""
	}
	// The lists may be missing, or so old that what they name is gone.
	const get = `apt-get -q download "$0" || { apt-get -q update && apt-get -q download "$0"; }`
	cmd := exec.Command("timeout", "-k", "5", "60", "sh", "-c", get, name)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if file = found(); err != nil || file == "" {
		return "", string(out)
	}
	return file, ""
}

func TestTwoLayers(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedExec(t, "debootstrap", "apt-get", "bash", "tar")
	release := suite()
	if release == "" {
		t.Skip("needs a Debian, for its own suite and mirror")
	}
	dir := cache()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	hello, wrong := fetch(dir, "hello")
	if wrong != "" {
		t.Log(wrong)
		t.Skip("needs a mirror of Debian that answers")
	}
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	testkit.Check(t)
	work := t.TempDir()
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = work
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "STAVES_CACHE="+dir, "LC_ALL=C")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	scripts := filepath.Join(testkit.Root(), "scripts")
	out := run("timeout", "-k", "5", "300", filepath.Join(scripts, "recipes", "two-layers"), "debian:"+release, hello)
	for _, line := range []string{"Hello, world!", "D /etc/passwd", "A /etc/mine"} {
		if !strings.Contains("\n"+out, "\n"+line+"\n") {
			t.Errorf("no line %q in:\n%s", line, out)
		}
	}
	layer := run("tar", "-tf", "layer.tar")
	for _, file := range []string{"usr/bin/hello", "var/lib/dpkg/info/hello.list", "var/lib/dpkg/status"} {
		if !strings.Contains("\n"+layer, "\n"+file+"\n") {
			t.Errorf("the layer has no %s", file)
		}
	}
	if strings.Contains(layer, "usr/bin/dpkg\n") || strings.Contains(layer, "etc/mine\n") {
		t.Error("the layer has what is the base's, or the container's")
	}
	lower := filepath.Join(dir, "roots", "debian-"+release)
	if _, err := os.Lstat(lower + "/usr/bin/hello"); err == nil {
		t.Error("the base was written to")
	}
	// Another container over the same two.
	over := func(words ...string) string {
		t.Helper()
		chain := []string{"-mpui", "--", "overlay", "--lower", "layer/upper", "--lower", lower, "mkdev", "pivot", "--"}
		return run(filepath.Join(bin, "nsrun"), append(chain, words...)...)
	}
	if said := over("/usr/bin/dpkg-query", "--show", "--showformat=${db:Status-Status}\n", "hello"); said != "installed\n" {
		t.Errorf("the package manager does not find what it installed: %q", said)
	}
	if passwd := over("/usr/bin/head", "-c4", "/etc/passwd"); passwd != "root" {
		t.Errorf("what one container removed is gone for another: %q", passwd)
	}
}
