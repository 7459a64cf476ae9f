package readme

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"staves/lib/testkit"
)

// What docs/pictures/session.txt shows is what a terminal shows when somebody types that.
func TestSession(t *testing.T) {
	testkit.NeedRoot(t)
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	testkit.Check(t)
	text, err := os.ReadFile("../../docs/pictures/session.txt")
	if err != nil {
		t.Fatal(err)
	}
	sh := exec.Command("sh", "-i")
	sh.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "LC_ALL=C.UTF-8", "PS1=# ", "ENV=", "TERM=dumb")
	terminal, err := testkit.NewTerminal(sh)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	if err := terminal.Resize(24, 200); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		words, typed := strings.CutPrefix(line, "# ")
		if !typed {
			continue
		}
		if err := terminal.Expect("(^|\n)# $"); err != nil {
			t.Fatal(err)
		}
		if err := terminal.Type(words); err != nil {
			t.Fatal(err)
		}
	}
	if err := terminal.Expect("(^|\n)# $"); err != nil {
		t.Fatal(err)
	}
	if err := sh.Process.Signal(unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	shown := strings.TrimSuffix(strings.ReplaceAll(terminal.Shown(), "\r", ""), "# ")
	if shown != string(text) {
		t.Errorf("the terminal shows\n%s\nnot\n%s", shown, text)
	}
}
