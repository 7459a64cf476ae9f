package escape

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"staves/lib/testkit"
)

// Whoever comes into a hostile container later, by --join, brings a program of the host
// along for a moment, and its descriptors: neither is to be of use inside. The container
// watches all processes that it sees; and the program that is run in it may be ours again.
func TestJoin(t *testing.T) {
	each(t, func(w *world) {
		w.must(os.Symlink("/proc/self/exe", w.image+"/bin/entry"))
		w.must(os.WriteFile(w.image+"/bin/script", []byte("#!/proc/self/exe\n"), 0o755))
		for _, chain := range [][]string{w.box(), w.open()} {
			h := w.hostile(chain)
			for range 30 {
				h.join(probe, "path", "/none") // the same file as that of who watches
			}
			w.held(h.words(probe, "exe")...)
			w.held(h.words("/bin/entry", "-f", "--", probe, "exe")...)
			w.held(h.words(probe, "proc", w.mark)...)
			w.held(h.words(probe, "path", w.mark, "./mark", "../../../../.."+w.mark)...)
			w.refused(h.words("/bin/script")...)
			h.end()
		}
		if w.root { // who comes with the mounts of the host shows them
			h := w.hostile(w.open())
			w.run(w.command("nsrun", "--join", fmt.Sprintf("%d/pid", h.pid), "--", "sleep", "1"))
			if out := h.wait(); !strings.Contains(out, "ESCAPED") {
				w.Errorf("this was to lead out:\n%s", out)
			}
		}
	})
}

// A hostile container waits for somebody to come.
type hostile struct {
	w   *world
	cmd *exec.Cmd
	in  *os.File
	out strings.Builder
	pid int // of its program
	all chan struct{}
}

// hostile starts a container that watches.
func (w *world) hostile(chain []string) *hostile {
	w.Helper()
	h := &hostile{w: w, cmd: w.command(words(chain, probe, "watch", w.mark)...), all: make(chan struct{})}
	theirs, in, err := os.Pipe()
	w.must(err)
	h.in, h.cmd.Stdin = in, theirs
	out, ours, err := os.Pipe()
	w.must(err)
	h.cmd.Stdout, h.cmd.Stderr = ours, ours
	w.must(h.cmd.Start())
	w.must(theirs.Close())
	w.must(ours.Close())
	lines := bufio.NewScanner(out)
	ready := make(chan bool, 1)
	go func() {
		defer close(h.all)
		for lines.Scan() {
			if lines.Text() == "watching" {
				ready <- true
				continue
			}
			h.out.WriteString(lines.Text() + "\n")
		}
		_ = out.Close()
	}()
	select {
	case <-ready:
	case <-h.all:
		w.Fatalf("%s:\n%s", strings.Join(h.cmd.Args, " "), h.out.String())
	case <-time.After(30 * time.Second):
		testkit.KillAll()
		w.Fatal("the container does not start")
	}
	h.pid = last(h.cmd.Process.Pid)
	return h
}

// last is the last of a line of descendants.
func last(pid int) int {
	for {
		children, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		child := 0
		for _, c := range children {
			b, _ := os.ReadFile(c) // a thread that has ended
			if f := strings.Fields(string(b)); len(f) > 0 {
				child, _ = strconv.Atoi(f[0])
			}
		}
		if err != nil || child == 0 {
			return pid
		}
		pid = child
	}
}

// words are a command that comes into the container.
func (h *hostile) words(program ...string) []string {
	return append([]string{"nsrun", "--join", strconv.Itoa(h.pid), "--"}, program...)
}

// join comes into the container for a moment.
func (h *hostile) join(program ...string) {
	h.w.Helper()
	cmd := h.w.command(h.words(program...)...)
	if out := h.w.run(cmd); !cmd.ProcessState.Success() {
		h.end()
		h.w.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), cmd.ProcessState, out)
	}
}

// wait ends the watch, and returns what it says.
func (h *hostile) wait() string {
	h.w.Helper()
	h.w.must(h.in.Close())
	<-h.all
	_ = h.cmd.Wait() // what it says counts
	return h.out.String()
}

// end ends the watch, which is to have seen nothing of use.
func (h *hostile) end() {
	h.w.Helper()
	if out := h.wait(); strings.Contains(out, "ESCAPED") || !strings.Contains(out, "held") {
		h.w.Errorf("%s:\n%s", strings.Join(h.cmd.Args, " "), out)
	}
}
