package escape

import (
	"os"
	"os/exec"
	"testing"
)

// CVE-2024-21626: a descriptor of a directory outside, the working directory, and paths of
// either as the working directory inside or as the program.
func TestInheritedDescriptors(t *testing.T) {
	each(t, func(w *world) {
		outside, err := os.Open("/")
		w.must(err)
		defer outside.Close()
		with := func(chain []string, program ...string) *exec.Cmd {
			cmd := w.command(words(chain, program...)...)
			cmd.ExtraFiles = []*os.File{outside, outside} // 3 and 4
			return cmd
		}
		for _, chain := range [][]string{w.box(), w.open(), w.host()} {
			program := probe
			if chain[3] == "mkdev" && chain[2] == "overlay" {
				program = "/mnt/probe"
			}
			w.heldAs(with(chain, program, "descriptors", w.mark))
		}
		w.escapesAs(with(w.open("--keep-fd", "3"), probe, "descriptors", w.mark))

		// As the working directory inside, and as the program.
		for _, cmd := range []*exec.Cmd{
			with(w.box("--cwd", "/proc/self/fd/3"), probe, "path", "."+w.mark),
			with(w.box("--keep-fd", "3", "--cwd", "/proc/self/fd/3"), probe, "path", "."+w.mark),
			with(w.box(), "/proc/self/fd/3"+w.image+probe, "path", w.mark),
		} {
			out := w.run(cmd)
			if s := cmd.ProcessState.ExitCode(); s != 125 && s != 127 {
				t.Errorf("%v: status %d: %s", cmd.Args, s, out)
			}
		}

		// A directory as a standard descriptor is refused: the program could not do without.
		for fd := range 3 {
			cmd := w.command(words(w.box(), probe, "descriptors", w.mark)...)
			out, err := os.CreateTemp(w.dir, "out")
			w.must(err)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, out, out
			switch fd {
			case 0:
				cmd.Stdin = outside
			case 1:
				cmd.Stdout = outside
			case 2:
				cmd.Stderr = outside
			}
			if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != 125 {
				b, _ := os.ReadFile(out.Name())
				t.Errorf("descriptor %d, a directory: %v: %s", fd, err, b)
			}
			_ = out.Close()
		}
	})
}

// The caller's working directory, also one that is gone, is not the program's.
func TestWorkingDirectory(t *testing.T) {
	each(t, func(w *world) {
		up := []string{"." + w.mark, "../mark", "../../../../../../../../.." + w.mark, w.mark}
		cmd := w.command(words(w.box(), append([]string{probe, "path"}, up...)...)...)
		cmd.Dir = w.victim
		w.heldAs(cmd)
		w.must(os.Mkdir(w.dir+"/gone", 0o777))
		w.heldAs(w.command("sh", "-c", `cd gone && rmdir ../gone && exec "$@"`, "sh", "nsrun", w.namespaces(), "pivot", w.image, "--", probe, "path", "../mark", w.mark))
		w.escapes(words(w.open("--bind", w.dir+":/d"), probe, "path", "/d/mark")...)
	})
}
