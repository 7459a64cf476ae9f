package chain

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"staves/lib/diag"
	"staves/lib/entry"
)

// A reader is the process that reads the plan: its id and a pidfd, which is -1 for none.
type reader struct{ pid, fd int }

var nobody = reader{fd: -1}

// passOn leaves a plan on standard output, then copies standard input there, unless that
// is a terminal: then it waits for the end of a reader, and stops when that does. It
// returns when there is no more to copy, or nobody who wants it.
func passOn(out *plan, until reader) error {
	if isPipe(1) && tooLate() {
		return diag.WithHint(errors.New("leave the plan on standard output: the next stage has not waited for it, and goes on without"),
			"start them together, or have the next one say that it reads a plan: --plan -")
	}
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
	if until.fd >= 0 {
		fds := []unix.PollFd{{Fd: int32(until.fd), Events: unix.POLLIN}}
		for {
			n, err := unix.Poll(fds, 200)
			if err != nil && !errors.Is(err, unix.EINTR) || n > 0 {
				return err
			}
			// A program with a process group of its own (bash's suspend) stops alone. The
			// shell around it takes the terminal when all of the pipeline has stopped, and
			// continues those of the pipeline's group.
			if _, state := familyOf(until.pid); state == 'T' {
				_ = unix.Kill(unix.Getpid(), unix.SIGSTOP)
				_ = unix.PidfdSendSignal(until.fd, unix.SIGCONT, nil, 0)
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
