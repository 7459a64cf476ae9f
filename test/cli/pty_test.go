package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"staves/lib/testkit"
)

// pty runs a command in a terminal of its own, and does there what a file says, line by
// line:
//
//	type TEXT         type it; as in Go's strings \r is the key Enter, \x03 ^C
//	expect REGEXP     wait until that is shown, after what the last line waited for
//	size ROWS COLUMNS make the terminal that large
//	touch FILE        make FILE
//	raw yes|no        wait until the terminal is in raw mode, or is not
//	kill SIGNAL       send the command a signal
//	status N          wait for the command's end with that status
func pty(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: pty FILE COMMAND...")
	}
	cmd := exec.Command(which(ts, args[1]), args[2:]...)
	cmd.Args[0] = args[1]
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "SHELL", "HOME", "mode"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	for _, tool := range testkit.Tools {
		name := strings.ToUpper(tool)
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	cmd.Env = append(cmd.Env, "PS1=% ", "NS="+ts.Getenv("NS"))
	t, err := testkit.NewTerminal(cmd)
	ts.Check(err)
	defer t.Close()
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		line = strings.TrimSuffix(line, "\n")
		if err := ptyLine(t, line); err != nil {
			ts.Fatalf("%s: %v", line, err)
		}
	}
	ts.Logf("[terminal]\n%s", t.Shown())
}

func ptyLine(t *testkit.Terminal, line string) error {
	what, rest, _ := strings.Cut(line, " ")
	switch what {
	case "", "#":
		return nil
	case "type":
		keys, err := strconv.Unquote(`"` + strings.ReplaceAll(rest, `"`, `\"`) + `"`)
		if err != nil {
			return err
		}
		return t.Type(keys)
	case "expect":
		return t.Expect(rest)
	case "size":
		rows, columns, _ := strings.Cut(rest, " ")
		r, err := strconv.ParseUint(rows, 10, 16)
		if err != nil {
			return err
		}
		c, err := strconv.ParseUint(columns, 10, 16)
		if err != nil {
			return err
		}
		return t.Resize(uint16(r), uint16(c))
	case "touch":
		return os.WriteFile(filepath.Join(t.Cmd.Dir, rest), nil, 0o644)
	case "raw":
		return t.WaitRaw(rest == "yes")
	case "kill":
		return t.Cmd.Process.Signal(unix.SignalNum("SIG" + rest))
	case "status":
		want, err := strconv.Atoi(rest)
		if err != nil {
			return err
		}
		got, err := t.Wait()
		if err == nil && got != want {
			err = fmt.Errorf("status %d; the terminal shows:\n%s", got, t.Shown())
		}
		return err
	}
	return errors.New("not a line of a terminal's script")
}

// which finds a command as the script would.
func which(ts *testscript.TestScript, name string) string {
	for _, dir := range strings.Split(ts.Getenv("PATH"), ":") {
		if path, err := exec.LookPath(dir + "/" + name); err == nil {
			return path
		}
	}
	ts.Fatalf("%s: not found", name)
	return ""
}
