package entry_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"staves/lib/testkit"
)

// 'go install' on a machine with a C compiler makes a dynamic binary, in which a C library
// has been started before our entry point: it must find its thread pointer again, with the
// linker's flag and without.
func TestBuiltWithCgo(t *testing.T) {
	testkit.NeedExec(t, "gcc")
	testkit.NeedRoot(t)
	dir := t.TempDir()
	for name, ldflags := range map[string]string{"plain": "-s -w", "flag": "-s -w -E staves/lib/entry.start"} {
		file := filepath.Join(dir, name)
		build := exec.Command("go", "build", "-ldflags", ldflags, "-o", file, "./cmd/nsrun")
		build.Dir = testkit.Root()
		build.Env = append(os.Environ(), "CGO_ENABLED=1")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, c := range []struct {
			status int
			words  []string
		}{
			{0, []string{"--version"}},
			{0, []string{"-Ur", "--", "true"}},
			{3, []string{"-p", "--", "sh", "-c", "exit 3"}},
			{127, []string{"-p", "--", "/nonesuch"}}, // after the fork a runtime starts, to say so
			{0, []string{"-m", "--", "overlay", "pivot", "--", "true"}},
		} {
			out, err := exec.Command(file, c.words...).CombinedOutput()
			status := 0
			if exit, ok := err.(*exec.ExitError); ok {
				status = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if status != c.status {
				t.Errorf("%s: nsrun %q ends with status %d, not %d: %s", name, c.words, status, c.status, out)
			}
		}
	}
}
