package cgroup

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// Files are read and written with bare system calls: os.Open would start the
// runtime's poller, which an exec chain pays for and then carries along.

// dirFlags open a directory to go on from. cgroupfs has no symbolic links, but the
// tmpfs that v1's hierarchies are mounted in has.
const dirFlags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

func openDir(at int, name string) (int, error) { return openat(at, name, dirFlags) }

func openat(at int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(at, name, flags|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// readFile returns what the file called name in the directory at holds, without the
// newline at its end. The error is the bare errno.
func readFile(at int, name string) (string, error) {
	fd, err := openat(at, name, unix.O_RDONLY|unix.O_NOFOLLOW)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var text []byte
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return "", err
		case n == 0:
			return strings.TrimRight(string(text), "\n"), nil
		default:
			text = append(text, buf[:n]...)
		}
	}
}

// writeFile writes text to an existing file in one write(2), as cgroupfs wants it.
// The error is the bare errno.
func writeFile(at int, name, text string) error {
	fd, err := openat(at, name, unix.O_WRONLY|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		_, err := unix.Write(fd, []byte(text))
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// exists tells whether the directory at has a file called name.
func exists(at int, name string) bool {
	return unix.Faccessat(at, name, unix.F_OK, 0) == nil
}
