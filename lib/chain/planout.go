package chain

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// passOn leaves a plan on standard output, then copies standard input there, unless that
// is a terminal: then it waits for the end of the process of a pidfd, -1 for none. It
// returns when there is no more to copy, or nobody who wants it.
func passOn(out *plan, until int) error {
	err := writeOut([]byte(out.String()))
	switch {
	case errors.Is(err, unix.EPIPE):
		return &Error{Status: StatusFailed} // the reader is gone, and has said why if it is a stage
	case err != nil:
		return fmt.Errorf("leave the plan on standard output: %w", err)
	}
	if !isPipe(1) {
		return nil
	}
	// Who reads it looks who has written it.
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		n, err := unix.IoctlGetInt(1, unix.TIOCINQ)
		if err != nil || n == 0 || readerGone() {
			break
		}
		entry.Pause(pause)
	}
	if until >= 0 {
		fds := []unix.PollFd{{Fd: int32(until), Events: unix.POLLIN}}
		for {
			if _, err := unix.Poll(fds, -1); !errors.Is(err, unix.EINTR) {
				return err
			}
		}
	}
	if out.tty != 0 || out.failed != "" || entry.Closed(0) {
		return nil
	}
	return copyInput()
}

// writeOut writes all of text to standard output. (With os.Stdout, EPIPE would be the end
// of the process by SIGPIPE.)
func writeOut(text []byte) error {
	for len(text) > 0 {
		n, err := unix.Write(1, text)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			_, _ = unix.Poll([]unix.PollFd{{Fd: 1, Events: unix.POLLOUT}}, -1)
		case err != nil:
			return err
		default:
			text = text[n:]
		}
	}
	return nil
}

func readerGone() bool {
	fds := []unix.PollFd{{Fd: 1}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// copyInput copies standard input to standard output, a pipe.
func copyInput() error {
	const most = 1 << 20
	spliced := true
	var buf []byte
	for {
		fds := []unix.PollFd{{Fd: 0, Events: unix.POLLIN}, {Fd: 1}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for standard input: %w", err)
		}
		if fds[1].Revents != 0 {
			return nil // the program has had enough
		}
		if fds[0].Revents == 0 {
			continue
		}
		if spliced {
			n, err := unix.Splice(0, nil, 1, nil, most, unix.SPLICE_F_MOVE)
			switch {
			case errors.Is(err, unix.EINVAL): // what standard input is cannot be spliced
				spliced, buf = false, make([]byte, 64<<10)
			case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			case errors.Is(err, unix.EPIPE), err == nil && n == 0:
				return nil
			case err != nil:
				return fmt.Errorf("pass standard input on: %w", err)
			}
			continue
		}
		n, err := unix.Read(0, buf)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case err != nil:
			return fmt.Errorf("read standard input: %w", err)
		case n == 0:
			return nil
		}
		switch err := writeOut(buf[:n]); {
		case errors.Is(err, unix.EPIPE):
			return nil
		case err != nil:
			return fmt.Errorf("pass standard input on: %w", err)
		}
	}
}
