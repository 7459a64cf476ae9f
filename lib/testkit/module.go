package testkit

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"
)

// Module returns the directory of a Go module, "path@version", that the tests want as
// data: the go command fetches it, once for all runs, and verifies it. Without a network
// and without the module the test is skipped.
func Module(t testing.TB, module string) string {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", module)
	cmd.Dir = os.TempDir() // our own go.mod has nothing to do with it
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	out, err := cmd.Output()
	var m struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &m); err == nil {
		err = jsonErr
	}
	if err != nil || m.Dir == "" {
		t.Skipf("needs the Go module %s: %v %s", module, err, m.Error)
	}
	return m.Dir
}
