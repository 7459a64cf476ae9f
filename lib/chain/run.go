package chain

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/diag"
	"staves/lib/entry"
)

// Run is a chain being carried out, in one life of its process.
type Run struct {
	Chain *Chain
	State *State

	tool   string // whose step it is
	resume *entry.Resume
	steps  []placed
}

// placed is a step with the link that it belongs to.
type placed struct {
	Step
	link *Link
}

func newRun(c *Chain, resume *entry.Resume) *Run {
	r := &Run{Chain: c, State: &c.State, resume: resume, tool: c.Links[len(c.Links)-1].As}
	var early, ahead []placed
	for _, l := range c.Links {
		for _, s := range l.Stage.Steps(c, l) {
			r.steps = append(r.steps, placed{s, l})
		}
		if a, ok := l.Stage.(Ahead); ok {
			for _, s := range a.Ahead(c, l) {
				if s.Do != nil {
					early = append(early, placed{s, l})
				} else {
					ahead = append(ahead, placed{s, l})
				}
			}
		}
	}
	if ahead != nil {
		at := max(0, slices.IndexFunc(r.steps, func(p placed) bool { return p.NextLife }))
		r.steps = slices.Insert(r.steps, at, ahead...)
	}
	r.steps = append(early, r.steps...)
	c.first = len(c.Links)
	for _, s := range r.steps[min(c.State.Done, len(r.steps)):] {
		c.first = min(c.first, c.place(s.link))
	}
	return r
}

// CleanUpWith has tool's Clean called with words if the chain fails before a waiter
// is there to clean up. A step that makes such a waiter gives the same words to its
// [entry.Fork].
func (r *Run) CleanUpWith(tool string, words ...string) {
	if r.State.Clean == nil {
		r.State.Clean = []string{tool}
	}
	r.State.Clean = append(r.State.Clean, words...)
}

// all takes the steps that are left and executes the payload. It returns the exit
// status of a chain that failed, or that has no payload.
func (r *Run) all() int {
	err := r.life()
	if err == nil {
		return 0
	}
	tool := r.tool
	var op *entry.OpError
	if errors.As(err, &op) {
		if op.Tool != "" {
			tool = op.Tool // it may have failed in another life
		}
		if op.Exec {
			err = r.payloadError(op)
		}
	}
	if clean := r.State.Clean; clean != nil {
		for _, l := range r.Chain.Links {
			if l.Tool.Name == clean[0] {
				if cleanErr := l.Tool.Clean(clean[1:]); cleanErr != nil {
					diag.Print(os.Stderr, l.Tool.Name, cleanErr)
				}
				break
			}
		}
	}
	return r.Chain.fail(tool, err)
}

// life takes as many steps as one life of the process can, then begins the next life
// or executes the payload.
func (r *Run) life() error {
	if r.resume != nil && r.resume.Err != nil {
		var op *entry.OpError
		if r.Chain.scripts && errors.As(r.resume.Err, &op) && op.Exec && op.Errno == unix.ENOEXEC {
			return r.exec(&entry.Builder{})
		}
		return r.resume.Err
	}
	end := r.extent()
	final := r.final(end)
	var program entry.Builder
	waiting := false // for the next life to make the calls of the program
	for ; r.State.Done < final; r.State.Done++ {
		s := &r.steps[r.State.Done]
		// Calls that can be made at once are collected until something else comes.
		if !waiting && (s.Do != nil || s.NextLife) && !program.Empty() {
			if err := program.Run(); err != nil {
				return err
			}
		}
		if err := r.take(&program); err != nil {
			return err
		}
		waiting = waiting || s.NextLife && !program.Empty()
	}
	if !waiting && !program.Empty() {
		if err := program.Run(); err != nil {
			return err
		}
	}
	inPlace, words := program.Empty(), (*entry.Words)(nil)
	if end == len(r.steps) {
		words = r.words()
	}
	switch {
	case inPlace && end < len(r.steps):
		return r.life() // the calls that were to wait for the next life turned out to be none
	case !inPlace && words == nil:
		return program.Start(r.Chain.encode())
	case !inPlace && final < end:
		program.Look(r.Chain.file(), r.paths(), r.Chain.searched())
	}
	for ; r.State.Done < end; r.State.Done++ {
		if err := r.take(&program); err != nil {
			return err
		}
	}
	if inPlace {
		return r.exec(&program)
	}
	program.Exec(r.Chain.file(), r.paths(), *words, r.Chain.searched())
	r.State.kept = nil // no step is left to want it
	return program.Start(r.Chain.encode())
}

// final returns where, of the steps up to end, those begin that are taken together with
// the payload's execution.
func (r *Run) final(end int) int {
	if end < len(r.steps) {
		return end
	}
	for end > r.State.Done && r.steps[end-1].Final {
		end--
	}
	return end
}

// take takes a step of Go, or writes one of system calls into the program.
func (r *Run) take(program *entry.Builder) error {
	s := &r.steps[r.State.Done]
	r.tool = s.link.As
	program.Tool = r.tool
	var err error
	switch {
	case s.Do != nil:
		if r.Chain.trace {
			_, _ = os.Stderr.WriteString(s.traced()) // it may be closed
		}
		err = s.Do(r)
	case r.Chain.trace:
		program.Trace(s.traced())
		err = s.Write(program)
		program.Trace("")
	default:
		err = s.Write(program)
	}
	if err == nil && s.Left != nil {
		s.Left(r.State)
	}
	return err
}

// Tell returns what prints a line about a call, or a message, of a step of Go, right before it
// is made; nil where nobody reads that.
func (r *Run) Tell() func(line string) {
	if !r.Chain.trace {
		return nil
	}
	return tellLine
}

// extent returns the first step that this life cannot take.
func (r *Run) extent() int {
	waiting, overtaken := false, true
	for i := r.State.Done; i < len(r.steps); i++ {
		s := &r.steps[i].Step
		if s.Do == nil {
			waiting = waiting || s.NextLife
			overtaken = overtaken && (s.Outside || !waiting)
		} else if waiting && !(s.Outside && overtaken) {
			return i
		}
	}
	return len(r.steps)
}

// exec carries a program out and executes the payload. It returns nil where there is none.
func (r *Run) exec(program *entry.Builder) error {
	argv := r.Chain.Payload
	if argv == nil {
		return program.Run()
	}
	env := r.State.env(r.stageByPath())
	if err := r.State.placeListen(); err != nil {
		return err
	}
	worst := unix.ENOENT
	file := r.Chain.file()
	paths := r.paths()
	if _, pivoted := r.Chain.last(Pivoted, len(r.Chain.Links)); pivoted && r.Chain.shell {
		paths = append(paths, "/bin/sh") // the caller's shell may not be in this root
	}
	for _, path := range paths {
		if r.Chain.shell {
			argv, file = []string{path}, path
		}
		err := unix.Access(path, unix.F_OK)
		switch {
		case err == nil, strings.Contains(file, "/") && program.Empty():
			err = program.Execve(path, argv, env, r.Chain.scripts)
		case !strings.Contains(file, "/"):
			err = unix.ENOENT
		}
		var op *entry.OpError
		switch {
		case errors.As(err, &op):
			return err
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		case errors.Is(err, unix.EACCES):
			worst = unix.EACCES
		default:
			return &entry.OpError{Tool: r.tool, Label: file, Errno: errnoOf(err), Exec: true}
		}
	}
	return &entry.OpError{Tool: r.tool, Label: file, Errno: worst, Exec: true}
}

// file is the name of the file that is executed as the payload.
func (c *Chain) file() string {
	if c.path != "" {
		return c.path
	}
	return c.Payload[0]
}

// searched tells whether PATH says where that file is.
func (c *Chain) searched() bool { return !strings.Contains(c.file(), "/") }

// words are what a program can end with the execution of: nil where that is not all known
// before. The shell of a new root is not, nor the pid to which sockets are passed, nor what a stage executed by its path is to know
// of namespaces that are still to be made.
func (r *Run) words() *entry.Words {
	c := r.Chain
	if c.Payload == nil || c.shell || len(r.State.Listen) > 0 {
		return nil
	}
	words := &entry.Words{Index: c.PayloadIndex}
	if c.PayloadIndex == 0 {
		words.Argv = c.Payload
	}
	env := r.State.env(r.stageByPath())
	if slices.Equal(env, entry.Environ()) {
		return words
	}
	size := 0
	for _, e := range env {
		size += len(e)
	}
	if r.stageByPath() || size > maxEnv {
		return nil
	}
	words.Env = append([]string{}, env...) // no variable at all is not the same as nil
	return words
}

// maxEnv is how much of another environment, in bytes, a program carries.
const maxEnv = 64 << 10

// paths are where the payload is looked for.
func (r *Run) paths() []string {
	if r.State.Env != nil {
		return candidates(r.State.Env, r.Chain.file())
	}
	return Candidates(r.Chain.file())
}

// stageByPath tells whether the payload is a stage, executed by its path.
func (r *Run) stageByPath() bool {
	if r.Chain.Payload == nil {
		return false
	}
	switch filepath.Base(r.Chain.Payload[0]) {
	case "cgset", "netbr", "nsrun", "overlay", "mkdev", "pivot", "capdrop":
		return true
	}
	return false
}

// Candidates are the paths at which the program called name is looked for, in order,
// as execvp(3) does: with the caller's PATH.
func Candidates(name string) []string { return candidates(entry.Environ(), name) }

func candidates(env []string, name string) []string {
	for _, e := range env {
		if path, ok := strings.CutPrefix(e, "PATH="); ok {
			return candidatesIn(path, name)
		}
	}
	return candidatesIn("/bin:/usr/bin", name)
}

func candidatesIn(path, name string) []string {
	if strings.Contains(name, "/") {
		return []string{name}
	}
	if name == "" {
		return nil
	}
	var c []string
	for _, dir := range strings.Split(path, ":") {
		if dir == "" {
			dir = "."
		}
		c = append(c, strings.TrimSuffix(dir, "/")+"/"+name)
	}
	return c
}

// payloadError gives a failed execution of the payload its status and its hint.
func (r *Run) payloadError(op *entry.OpError) error {
	name := r.Chain.file()
	var hint string
	status := StatusNotExecutable
	if name == "" {
		op.Label = `""`
	}
	apart := ""
	if r.Chain.PayloadIndex != 0 && !slices.Contains(os.Args[:r.Chain.PayloadIndex], "--") {
		apart = r.Chain.Links[len(r.Chain.Links)-1].apart(name)
	}
	var st unix.Stat_t
	switch op.Errno {
	case unix.ENOENT, unix.ENOTDIR:
		status = StatusNotFound
		if apart != "" {
			hint = apart
		} else if strings.Contains(name, "/") && unix.Access(name, unix.F_OK) == nil {
			hint = "the file is there, but the interpreter it names is not (its first line, or its ELF loader)"
		} else if _, pivoted := r.Chain.last(Pivoted, len(r.Chain.Links)); pivoted {
			hint = "it is looked for in the new root"
			if !strings.Contains(name, "/") {
				hint += ", along the caller's PATH"
			}
		}
	case unix.EACCES:
		hint = "the file may not be executed: check its mode, and the mount option noexec"
		if apart != "" {
			hint = apart
		} else if unix.Stat(name, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			hint = "it is a directory, no program"
		}
	case unix.EPERM:
		hint = "the file has capabilities that the bounding set lacks, and cannot do with fewer: see 'getcap " + name + "'"
	case unix.ENOEXEC:
		hint = "neither an ELF program nor a script with a #! line: name its interpreter, as in 'sh " + name + "'"
	}
	hints := []string{hint}
	for _, s := range r.steps {
		for _, f := range s.Refusals {
			if f.Errno == op.Errno && len(hints) < 2 {
				hints = append(hints, f.Hint)
			}
		}
	}
	return &Error{Status: status, Err: diag.WithHint(op, hints...)}
}

func errnoOf(err error) unix.Errno {
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return unix.EIO
}

// KeepFD has fd stay open into the next life, for a raw step to use.
func KeepFD(fd int) error {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
		return fmt.Errorf("clear close-on-exec: %w", err)
	}
	return nil
}
