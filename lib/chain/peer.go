package chain

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

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

// The times that a process is given, which was started with this one, to become a stage:
// any, and one that is still the shell that started both, and has not been idle yet.
const (
	startTime     = 50 * time.Millisecond
	startTimeBusy = 2 * time.Second
)

// starting tells whether a process that the parent of this one started holds the pipe and
// may be about to become a stage; since tells when this process began to look. A parent
// that holds an end for whom it has not started yet is counted where parent says so.
func (e pipeEnd) starting(pids []int, since time.Time, parent bool) bool {
	waited := time.Since(since)
	if waited > startTimeBusy {
		return false
	}
	ours := os.Getppid()
	shell, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", ours))
	for _, pid := range pids {
		ppid, state := familyOf(pid)
		if ppid != ours && (pid != ours || !parent) || !e.holdsAny(pid) {
			continue
		}
		if waited <= startTime {
			return true
		}
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if (state == 'R' || state == 'D') && err == nil && exe == shell {
			return true
		}
	}
	return false
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
	return q.help == nil && !q.version && !q.explain && q.admin == nil && q.act == nil && (c.Payload == nil || c.shell)
}
