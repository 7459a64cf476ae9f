package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A container is a command whose program idles.
type container struct {
	pid     int
	payload int
	took    time.Duration // from fork to the program's first word
	cpu     time.Duration // of all its processes, once it has ended
}

// begun counts containers, for names and addresses of their own.
var begun int

// start runs a command, whose "{}" stands for a number and "{ip}" for an address that no
// other one has, until its program says that it is there.
func start(line string) (*container, error) {
	begun++
	line = strings.NewReplacer("{}", strconv.Itoa(begun), "{ip}", fmt.Sprintf("%08x", 0x0a630100+begun%3500)).Replace(os.ExpandEnv(line))
	words := strings.Fields(line)
	path, err := exec.LookPath(words[0])
	if err != nil {
		return nil, err
	}
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	defer unix.Close(ends[0])
	attr := &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, uintptr(ends[1]), 2}}
	before := time.Now()
	pid, err := syscall.ForkExec(path, words, attr)
	unix.Close(ends[1])
	if err != nil {
		return nil, err
	}
	n, err := retry(func() (int, error) { return unix.Read(ends[0], make([]byte, 1)) })
	c := &container{pid: pid, took: time.Since(before)}
	if err != nil || n != 1 {
		_, _ = unix.Wait4(pid, nil, 0, nil)
		return nil, fmt.Errorf("%s: does not come to its program (%w)", line, err)
	}
	all := family(pid)
	c.payload = all[len(all)-1]
	return c, nil
}

// end ends the program of a container, and returns how long that took to be over.
func (c *container) end() (time.Duration, error) {
	before := time.Now()
	if err := unix.Kill(c.payload, unix.SIGTERM); err != nil {
		return 0, err
	}
	var used unix.Rusage
	_, err := retry(func() (int, error) { return unix.Wait4(c.pid, nil, 0, &used) })
	c.cpu = time.Duration(used.Utime.Nano() + used.Stime.Nano())
	return time.Since(before), err
}

func retry(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// endAll ends containers all at once, and returns how long that took.
func endAll(all []*container) (time.Duration, error) {
	before := time.Now()
	for _, c := range slices.Backward(all) {
		if err := unix.Kill(c.payload, unix.SIGTERM); err != nil {
			return 0, err
		}
	}
	for _, c := range all {
		if _, err := retry(func() (int, error) { return unix.Wait4(c.pid, nil, 0, nil) }); err != nil {
			return 0, err
		}
	}
	return time.Since(before), nil
}

// family is a process with its descendants, the last of which has none.
func family(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", all[i]))
		if err != nil {
			continue // it has ended
		}
		for f := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(f); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}
