package chain

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"staves/lib/probe"
)

// Who is at the other end of a pipe decides what the pipe means: a stage's standard input
// is a plan if it is another stage that writes it. What comes through the pipe does not
// decide, for that may come from anybody.

// A pipeEnd is the end of a pipe that other processes have as a standard descriptor.
type pipeEnd struct {
	link string // what /proc/PID/fd shows for it
	fd   int    // 0 or 1: what those at this end have it as
}

// otherEnd is the far end of the pipe that is descriptor fd here.
func otherEnd(fd int) (e pipeEnd, ok bool) {
	link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	return pipeEnd{link, 1 - fd}, err == nil
}

// processes lists the process ids that /proc shows, but for this process's.
func processes() []int {
	names, err := probe.ProcNames("/proc")
	if err != nil {
		return nil
	}
	self := os.Getpid()
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid != self {
			pids = append(pids, pid)
		}
	}
	return pids
}

// holders are those of pids that have the end as their standard descriptor.
func (e pipeEnd) holders(pids []int) []int {
	var all []int
	for _, pid := range pids {
		if e.isAt(pid, strconv.Itoa(e.fd)) {
			all = append(all, pid)
		}
	}
	return all
}

func (e pipeEnd) isAt(pid int, fd string) bool {
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd))
	return err == nil && link == e.link
}

// The times that a process is given to become a stage: any, and one that can be expected
// to (a fork of the shell, a command with a stage in its words).
const (
	startTime       = 50 * time.Millisecond
	startTimeLikely = 2 * time.Second
)

// starting tells whether a process that the parent of this one started, or one with the
// end as its standard descriptor, may be about to become a stage; since tells when this
// process began to look. A parent that holds an end for whom it has not started yet is
// counted where parent says so.
func (p *parser) starting(e pipeEnd, pids []int, since time.Time, parent bool) bool {
	waited := time.Since(since)
	if waited > startTimeLikely {
		return false
	}
	ours := os.Getppid()
	shell, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", ours))
	above := ancestors()
	for _, pid := range pids {
		ppid, state := familyOf(pid)
		switch {
		case ppid == ours || pid == ours && parent:
			if !e.holdsAny(pid) {
				continue
			}
		case slices.Contains(above, pid) || !e.isAt(pid, strconv.Itoa(e.fd)):
			continue
		}
		if waited <= startTime {
			return true
		}
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		// Before its words are what they will be, the shell expands them, which may take
		// another program; a reader that is idle is none.
		if err == nil && exe == shell && (e.fd == 1 || state == 'R' || state == 'D') {
			return true
		}
		if _, plans := p.starts(pid); plans && pid != ours { // the shell's words are those of all
			return true
		}
	}
	return false
}

// ancestors are the parent of this process, its parent, and so on.
func ancestors() []int {
	var all []int
	for pid := os.Getppid(); pid > 0 && !slices.Contains(all, pid); {
		all = append(all, pid)
		pid, _ = familyOf(pid)
	}
	return all
}

// starts tells whether a process has a stage among its words, as what starts one has (sudo,
// su -c, env), and whether that would leave a plan.
func (p *parser) starts(pid int) (stage, plans bool) {
	text, err := probe.ReadProc(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false, false
	}
	if text == "" {
		return true, true // it is in the middle of an execve(2), or has none
	}
	// The words may be a shell's or another language's, in one.
	words := strings.FieldsFunc(text, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_=+./:@%", r)
	})
	for i, w := range words {
		if tool := p.tool(filepath.Base(w)); tool != nil {
			stage, plans = true, plans || p.plans(tool, words[i+1:])
		}
	}
	return stage, plans
}

func (e pipeEnd) holdsAny(pid int) bool {
	names, err := probe.ProcNames(fmt.Sprintf("/proc/%d/fd", pid))
	return err == nil && slices.ContainsFunc(names, func(fd string) bool { return e.isAt(pid, fd) })
}

// familyOf returns a process's parent and its state, as proc_pid_stat(5) has them.
func familyOf(pid int) (ppid int, state byte) {
	text, err := probe.ReadProc(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:]) // the name may hold anything
	if len(f) < 2 {
		return 0, 0
	}
	ppid, _ = strconv.Atoi(f[1]) // 0, as of a process that is gone, is nobody's parent here
	return ppid, f[0][0]
}

// stageAt returns the tool that a process is, and its words; nil if it is none.
func (p *parser) stageAt(pid int) (tool *Tool, words []string) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	exe, err := os.Readlink(dir + "exe")
	if err != nil {
		return nil, nil
	}
	text, err := probe.ReadProc(dir + "cmdline")
	if err != nil || len(text) == 0 {
		return nil, nil
	}
	argv := strings.Split(strings.TrimSuffix(text, "\x00"), "\x00")
	name := filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
	called := filepath.Base(argv[0])
	if p.tool(name) == nil {
		// All seven in one file, under the names that it is called by.
		var own, other unix.Stat_t
		if unix.Stat("/proc/self/exe", &own) != nil || unix.Stat(dir+"exe", &other) != nil ||
			own.Dev != other.Dev || own.Ino != other.Ino {
			return nil, nil
		}
		name = called
	}
	tool = p.tool(name)
	if tool == nil || called != name && tool.guise(called) != nil {
		return nil, nil // unshare, say: it has a program to run
	}
	return tool, argv[1:]
}

// plans tells whether a tool with these words leaves a plan, or, being wrong, ends. One
// that has a program to run does not: what comes from it is that program's.
func (p *parser) plans(tool *Tool, words []string) bool {
	q := parser{tools: p.tools}
	if tool.Disguise != nil && tool.Disguise(words) != "" {
		return false
	}
	c := &Chain{}
	if _, err := q.parse(c, tool, words); err != nil {
		return true
	}
	return q.help == nil && !q.version && q.admin == nil && q.act == nil && (c.Payload == nil || c.shell)
}

// beyond looks further up the pipeline, through the programs that write this process's
// standard input: a plan that one of them gets is not for it. It returns the stage that
// leaves one, nil if there is none, and whether there may yet be one.
func (p *parser) beyond(pids, writers []int, since time.Time) (stage *Tool, maybe bool) {
	early := time.Since(since) <= startTimeLikely
	shell, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", os.Getppid()))
	seen := ancestors()
	for queue := writers; len(queue) > 0; queue = queue[1:] {
		w := queue[0]
		if slices.Contains(seen, w) {
			continue
		}
		seen = append(seen, w)
		in := fmt.Sprintf("/proc/%d/fd/0", w)
		link, err := os.Readlink(in)
		if err != nil || !strings.HasPrefix(link, "pipe:") || claimed(in) {
			continue
		}
		if tool, _ := p.stageAt(w); tool != nil {
			continue // with a program: what comes to it is its own
		}
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", w)); early && (err != nil || exe == shell) {
			maybe = true // who knows what it becomes
			continue
		}
		if stage, _ := p.starts(w); early && stage {
			maybe = true
			continue
		}
		end := pipeEnd{link, 1}
		ups := end.holders(pids)
		for _, u := range ups {
			if tool, words := p.stageAt(u); tool != nil && p.plans(tool, words) {
				return tool, false
			}
		}
		_, state := familyOf(w)
		if p.starting(end, pids, since, false) || len(ups) == 0 && (state == 'R' || state == 'D') {
			maybe = true // or: it has all its input, perhaps a plan, and has yet to write
		}
		queue = append(queue, ups...)
	}
	return nil, maybe && early
}

// A stage that has taken a plan from the pipe on its standard input, or has gone on without
// one, holds a shared lock on it (flock(2)); with the pipe, the program that it becomes
// keeps that. A stage that would leave its plan there later sees that nobody is waiting.

// claim locks the pipe on standard input.
func claim() {
	for range 10 {
		if err := unix.Flock(0, unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return
		}
		time.Sleep(time.Millisecond) // who looks whether there is a lock has one, for a moment
	}
}

// claimed tells whether the pipe that is a process's standard input, by its name in /proc,
// has been claimed.
func claimed(path string) bool {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return errors.Is(unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// tooLate tells whether the reader of this process's output has claimed the pipe.
func tooLate() bool {
	err := unix.Flock(1, unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		_ = unix.Flock(1, unix.LOCK_UN)
	}
	return errors.Is(err, unix.EWOULDBLOCK)
}
