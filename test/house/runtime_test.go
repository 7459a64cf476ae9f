package house

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"staves/lib/testkit"
)

// The edits of scripts/goruntime apply to the Go in use: where they do not, the commands
// are built with the runtime as it is, and are slower.
func TestRuntime(t *testing.T) {
	cmd := exec.Command(filepath.Join(testkit.Root(), "scripts/goruntime"), t.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	overlay, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	text, err := os.ReadFile(strings.TrimSpace(string(overlay)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte("runtime/proc.go")) {
		t.Errorf("the overlay replaces nothing: %s", text)
	}
}

// Where they do not apply, the overlay replaces nothing and the build is told.
func TestRuntimeOfAnotherGo(t *testing.T) {
	dir := t.TempDir()
	for path, text := range map[string]string{
		"bin/go":              "#!/bin/sh\necho " + dir + "\n",
		"src/runtime/proc.go": "package runtime\n",
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(filepath.Join(testkit.Root(), "scripts/goruntime"), filepath.Join(dir, "overlay"))
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	overlay, err := cmd.Output()
	if err != nil || !strings.Contains(stderr.String(), "left as it is") {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	if text, err := os.ReadFile(strings.TrimSpace(string(overlay))); err != nil || strings.TrimSpace(string(text)) != "{}" {
		t.Errorf("%s, %v", text, err)
	}
}
