package chain

import (
	"fmt"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// terminal is the device number of the terminal that a standard descriptor is, 0 for none.
func terminal(fd int) uint64 {
	var st unix.Stat_t
	if entry.Closed(fd) || unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
		return 0
	}
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
		return 0
	}
	if n, err := unix.IoctlGetInt(fd, unix.TIOCGDEV); err == nil { // /dev/tty tells which one it is
		return uint64(uint32(n))
	}
	return st.Rdev
}

// takeTerminal makes the first stage's terminal, which was not read, standard input: by
// another standard descriptor that it is, or else as this session's own.
func takeTerminal(want uint64) error {
	for _, fd := range []int{2, 1} {
		mode, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err == nil && mode&unix.O_ACCMODE == unix.O_RDWR && terminal(fd) == want {
			return dupInput(fd)
		}
	}
	const what = "open the first stage's terminal"
	fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer unix.Close(fd)
	if terminal(fd) != want {
		return fmt.Errorf("%s: it is not this session's", what)
	}
	return dupInput(fd)
}

func dupInput(fd int) error {
	if err := unix.Dup3(fd, 0, 0); err != nil {
		return fmt.Errorf("make the terminal standard input: %w", err)
	}
	return nil
}
