package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// fullChain is what is taken apart.
const fullChain = "nsrun -muipnC overlay mkdev pivot capdrop -- /bin/true"

// The parts of the full chain's time, in the order in which they come. Processes that
// only wait for another one are no part of it.
const (
	partExec = iota
	partRuntime
	partStages
	partSelf
	partOuter
	partInit
	partMounts
	partFiles
	partRest
	partBetween
	partPayload
	partTrue
	partEnds
	parts
)

var partNames = [parts]string{
	"execve(2) of nsrun",
	"Go: the runtime",
	"Go: packages, options, facts, checks, the program for what follows",
	"execve(2) of the same file, which starts no Go",
	"the outer process: unshare(2), up to its fork",
	"the init, up to its fork",
	"mounts and root: fsopen to umount2, pivot_root",
	"files looked for, opened, read, made",
	"all other calls: capset, prctl, chdir, close",
	"between the calls",
	"execve(2) of /bin/true",
	"/bin/true",
	"the ends of all, and of the namespaces",
}

var (
	mountCalls = []int{unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_MOUNT_SETATTR}
	fileCalls  = []int{unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_READ, unix.SYS_WRITE, unix.SYS_STATX, unix.SYS_NEWFSTATAT, unix.SYS_FSTAT, unix.SYS_MKDIRAT, unix.SYS_MKNODAT, unix.SYS_SYMLINKAT, unix.SYS_READLINKAT, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_GETDENTS64}
)

// A life is what a process of the chain is in at the moment.
type life int

const (
	waits   life = iota // for another one
	starts              // the Go runtime
	works               // Go, up to the second execve
	unshare             // the outer process, without Go
	inits
	builds // what becomes the payload
	payload
)

// A cost is the time of a part, in microseconds, and what was counted in it.
type cost struct {
	us            float64
	calls, faults int
}

// breakdown prints a table of what one full chain's time goes to, as perf sees it: the
// medians of some runs. Tracing makes every call and page fault dearer.
func breakdown(runs int) error {
	all := make([][parts]cost, 0, runs)
	for range runs {
		var errors bytes.Buffer
		// perf mounts tracefs: in a mount namespace of its own nobody else has it.
		record := exec.Command("nsrun", append(strings.Fields("-m -- perf record -q -o - -e raw_syscalls:sys_enter -e raw_syscalls:sys_exit"+
			" -e exceptions:page_fault_user -e exceptions:page_fault_kernel -- env"), strings.Fields(fullChain)...)...)
		record.Stderr = &errors
		data, err := record.Output()
		if err != nil {
			return fmt.Errorf("perf record: %w: %s", err, errors.Bytes())
		}
		script := exec.Command("perf", "script", "-i", "-", "-F", "pid,time,event,trace")
		script.Stdin = bytes.NewReader(data)
		events, err := script.Output()
		if err != nil {
			return fmt.Errorf("perf script: %w", err)
		}
		costs, err := takeApart(events)
		if err != nil {
			return err
		}
		all = append(all, costs)
	}
	fmt.Printf("| `%s` | µs | calls | page faults |\n|---|---|---|---|\n", fullChain)
	var sum cost
	for p := range parts {
		row := make([]cost, 0, runs)
		for _, costs := range all {
			row = append(row, costs[p])
		}
		slices.SortFunc(row, func(a, b cost) int { return int(a.us - b.us) })
		c := row[len(row)/2]
		sum = cost{sum.us + c.us, sum.calls + c.calls, sum.faults + c.faults}
		fmt.Printf("| %s | %.0f | %d | %d |\n", partNames[p], c.us, c.calls, c.faults)
	}
	fmt.Printf("| together | %.0f | %d | %d |\n", sum.us, sum.calls, sum.faults)
	return nil
}

var (
	eventLine = regexp.MustCompile(`^\s*(\d+)\s+([\d.]+):\s+(\S+):\s*(.*)$`)
	callText  = regexp.MustCompile(`^NR (-?\d+) .*?(?:= (-?\d+))?$`)
)

// takeApart adds up what the events of one run say. The clock starts where env executes
// the first command, and stops at the last event.
func takeApart(events []byte) (costs [parts]cost, err error) {
	lives := map[int]life{}
	since := map[int]float64{}
	env, start, end := 0, 0.0, 0.0 // the process; end is when /bin/true has
	for lines := bufio.NewScanner(bytes.NewReader(events)); lines.Scan(); {
		m := eventLine.FindStringSubmatch(lines.Text())
		if m == nil {
			return costs, fmt.Errorf("perf script: %q", lines.Text())
		}
		pid, _ := strconv.Atoi(m[1])
		now, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return costs, err
		}
		now *= 1e6
		number, result := -1, ""
		if call := callText.FindStringSubmatch(m[4]); call != nil {
			number, _ = strconv.Atoi(call[1])
			result = call[2]
		}
		enter, exit := strings.HasSuffix(m[3], "sys_enter"), strings.HasSuffix(m[3], "sys_exit")
		executed := exit && number == unix.SYS_EXECVE && result == "0"
		if len(lives) == 0 { // env
			switch {
			case executed && env == 0:
				env = pid
			case executed:
				costs[partExec] = cost{now - start, 1, costs[partExec].faults}
				lives[pid], since[pid] = starts, now
			case enter && number == unix.SYS_EXECVE:
				start, costs[partExec].faults = now, 0
			case !enter && !exit:
				costs[partExec].faults++
			}
			continue
		}
		l, known := lives[pid]
		if !known { // a child's first event
			l = inits
			if len(lives) == 2 {
				l = builds
			}
			lives[pid], since[pid] = l, now
		}
		part := l.part(number, exit)
		if !enter && !exit {
			costs[part].faults++
			continue
		}
		if end > 0 {
			costs[partEnds].us += now - end
			end = now
		}
		if l == waits {
			continue
		}
		switch {
		case executed && l == builds:
			part, lives[pid] = partPayload, payload
		case executed:
			part, lives[pid] = partSelf, unshare
		case l == starts && enter && number == unix.SYS_SIGALTSTACK:
			lives[pid] = works // the runtime's last, but for its handlers
		case exit && (number == unix.SYS_CLONE || number == unix.SYS_CLONE3) && result != "0":
			lives[pid] = waits
		case enter && number == unix.SYS_EXIT_GROUP && l == payload:
			lives[pid], end = waits, now
		}
		costs[part].us += now - since[pid]
		since[pid] = now
		if exit {
			costs[part].calls++
		}
	}
	if end == 0 {
		return costs, fmt.Errorf("perf has not seen /bin/true end")
	}
	return costs, nil
}

// part tells what the time up to an event counts as: the end of a call, or what comes
// before its start.
func (l life) part(number int, exit bool) int {
	switch l {
	case starts:
		return partRuntime
	case works:
		return partStages
	case unshare:
		return partOuter
	case inits:
		return partInit
	case payload:
		return partTrue
	case builds:
		switch {
		case !exit:
			return partBetween
		case slices.Contains(mountCalls, number):
			return partMounts
		case slices.Contains(fileCalls, number):
			return partFiles
		}
		return partRest
	}
	return partEnds
}
