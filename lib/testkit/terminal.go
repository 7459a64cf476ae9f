package testkit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Terminal is what a person sits at: a pseudo-terminal (pty(7)) with a program in it.
type Terminal struct {
	Cmd    *exec.Cmd
	master *os.File

	mu     sync.Mutex
	shown  []byte // not yet expected
	all    []byte
	more   chan struct{}
	ended  chan error
	status error
}

// NewTerminal starts cmd in a session of its own, in a new terminal of 24 lines and 80
// columns. The caller has Close called.
func NewTerminal(cmd *exec.Cmd) (*Terminal, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t := &Terminal{Cmd: cmd, master: master, more: make(chan struct{}, 1), ended: make(chan error, 1)}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return nil, err
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return nil, err
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer slave.Close()
	if err := t.Resize(24, 80); err != nil {
		return nil, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty, cmd.SysProcAttr.Ctty = true, true, 0
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go t.read()
	go func() { t.ended <- cmd.Wait() }()
	return t, nil
}

func (t *Terminal) read() {
	buf := make([]byte, 4096)
	for {
		n, err := t.master.Read(buf)
		t.mu.Lock()
		t.shown = append(t.shown, buf[:n]...)
		t.all = append(t.all, buf[:n]...)
		t.mu.Unlock()
		select {
		case t.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// Shown is all that the terminal has shown.
func (t *Terminal) Shown() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.all)
}

const terminalPatience = 4 * time.Second

// Expect waits until what was shown since the last Expect matches.
func (t *Terminal) Expect(pattern string) error {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	deadline := time.After(terminalPatience)
	for {
		t.mu.Lock()
		at := re.FindIndex(t.shown)
		if at != nil {
			t.shown = t.shown[at[1]:]
		}
		t.mu.Unlock()
		if at != nil {
			return nil
		}
		select {
		case <-t.more:
		case <-deadline:
			return fmt.Errorf("the terminal does not show %q; it shows:\n%s", pattern, t.Shown())
		}
	}
}

// Type types keys.
func (t *Terminal) Type(keys string) error {
	_, err := t.master.WriteString(keys)
	return err
}

// Resize changes the terminal's size.
func (t *Terminal) Resize(rows, columns uint16) error {
	return unix.IoctlSetWinsize(int(t.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
}

// Raw tells whether the terminal passes keys on as they are, without lines and echo.
func (t *Terminal) Raw() (bool, error) {
	termios, err := unix.IoctlGetTermios(int(t.master.Fd()), unix.TCGETS)
	if err != nil {
		return false, err
	}
	return termios.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) == 0, nil
}

// WaitRaw waits until the terminal is raw, or is not.
func (t *Terminal) WaitRaw(want bool) error {
	for deadline := time.Now().Add(terminalPatience); ; time.Sleep(5 * time.Millisecond) {
		raw, err := t.Raw()
		if err != nil || raw == want {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("raw mode is %v", raw)
		}
	}
}

// Wait waits for the end of the program, and returns its status as a shell would.
func (t *Terminal) Wait() (int, error) {
	select {
	case t.status = <-t.ended:
		t.ended <- t.status
	case <-time.After(terminalPatience):
		return 0, fmt.Errorf("%s does not end; the terminal shows:\n%s", strings.Join(t.Cmd.Args, " "), t.Shown())
	}
	var exit *exec.ExitError
	switch {
	case t.status == nil:
		return 0, nil
	case !errors.As(t.status, &exit):
		return 0, t.status
	}
	if w := exit.Sys().(syscall.WaitStatus); w.Signaled() {
		return 128 + int(w.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// Close hangs up, and ends what has not ended by itself.
func (t *Terminal) Close() {
	_ = t.master.Close()
	_ = t.Cmd.Process.Kill()
	t.status = <-t.ended
	t.ended <- t.status
}
