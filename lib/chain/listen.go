package chain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FirstListenFD is where the payload finds the first of the sockets that are passed to it
// (sd_listen_fds(3)).
const FirstListenFD = 3

// Variables in which a program is told of its sockets, and that it is the one meant.
const (
	listenPidVar = "LISTEN_PID"
	listenFDsVar = "LISTEN_FDS"
)

// inherited are the sockets that the caller passes to this process, for what it becomes:
// the payload may have another pid than the one that is meant.
func inherited(pid, fds string) []int {
	n, err := strconv.Atoi(fds)
	if err != nil || n < 1 || n > 256 || pid != strconv.Itoa(unix.Getpid()) {
		return nil
	}
	var all []int
	for i := range n {
		all = append(all, FirstListenFD+i)
	}
	return all
}

// listenEnv tells the payload of its sockets, in place of what env says of any.
func (s *State) listenEnv(env []string) []string {
	if len(s.Listen) == 0 {
		return env
	}
	env = slices.DeleteFunc(env, func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return name == listenPidVar || name == listenFDsVar
	})
	return append(env, listenPidVar+"="+strconv.Itoa(unix.Getpid()), listenFDsVar+"="+strconv.Itoa(len(s.Listen)))
}

// placeListen moves the sockets to where the payload looks for them.
func (s *State) placeListen() error {
	for i, fd := range s.Listen {
		to := FirstListenFD + i
		if fd == to {
			continue
		}
		if err := unix.Dup3(fd, to, 0); err != nil {
			return fmt.Errorf("pass the listening socket: descriptor %d: %w", fd, err)
		}
		_ = unix.Close(fd)
	}
	s.Listen = nil
	return nil
}
