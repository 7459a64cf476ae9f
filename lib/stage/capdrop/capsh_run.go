package capdrop

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/entry"
)

// usualShell is what capsh runs, and lastShell what it runs where that is not there.
const (
	usualShell = "/bin/bash"
	lastShell  = "/bin/sh"
)

func (c *capsh) setShell(path string) error { c.shell = path; return nil }
func (c *capsh) setExec(string) error       { c.exec = true; return nil }

// program tells whether words after "--" are a program's, and not a shell's.
func (c *capsh) program(words []string) bool {
	if len(words) == 0 {
		return false
	}
	return c.exec || c.own && c.shell == "" && !strings.HasPrefix(words[0], "-") && !strings.HasPrefix(words[0], "+")
}

// run runs a shell, or capsh again, with words, in place of this process or as a child.
func (c *capsh) run(word string, words []string) error {
	paths := []string{c.shell}
	switch {
	case word[0] == '=':
		paths = chain.Candidates(c.self)
	case c.shell == "":
		paths = []string{usualShell, lastShell}
	}
	if word[1] == '+' {
		return c.child(paths, words)
	}
	return c.inPlace(paths, words)
}

// inPlace executes the first of paths that is there.
func (c *capsh) inPlace(paths, words []string) error {
	err := error(unix.ENOENT)
	for _, path := range paths {
		err = entry.Execve(path, append([]string{path}, words...), c.env)
		if !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("execute %s: %w", path, err)
		}
	}
	return fmt.Errorf("execute %s: %w", strings.Join(paths, ", "), err)
}

// child runs the first of paths that is there as a child, and ends as it does; what a
// signal has killed has failed.
func (c *capsh) child(paths, words []string) error {
	pid, err := 0, error(unix.ENOENT)
	for _, path := range paths {
		if pid, err = entry.Spawn(path, append([]string{path}, words...), c.env); !errors.Is(err, unix.ENOENT) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("execute %s: %w", strings.Join(paths, ", "), err)
	}
	status, err := entry.Wait(pid)
	switch {
	case err != nil:
		return fmt.Errorf("wait for the child: %w", err)
	case status.Signaled():
		return fmt.Errorf("the child %d was killed by signal %d", pid, status.Signal())
	}
	return &chain.Error{Status: status.ExitStatus()}
}

// forkFor starts a child that sleeps, for killIt.
func (c *capsh) forkFor(text string) error {
	n, err := capshNumber("forkfor", text)
	switch {
	case err != nil:
		return err
	case c.asleep != 0:
		return errors.New("--forkfor: there is a child already")
	case n == 0:
		return errors.New("--forkfor: a child must sleep for a second at least")
	}
	const sleep = "sleep"
	err = unix.ENOENT
	for _, path := range chain.Candidates(sleep) {
		if c.asleep, err = entry.Spawn(path, []string{sleep, strconv.Itoa(int(n))}, c.env); err == nil {
			return nil
		}
	}
	return fmt.Errorf("--forkfor: start sleep(1): %w", err)
}

// killIt sends a signal to the child, and fails unless the child dies of it.
func (c *capsh) killIt(text string) error {
	n, err := capshNumber("killit", text)
	if err != nil {
		return err
	}
	if c.asleep == 0 {
		return errors.New("--killit: there is no child: put --forkfor before it")
	}
	if err := unix.Kill(c.asleep, unix.Signal(n)); err != nil {
		return fmt.Errorf("send signal %d to the child: %w", n, err)
	}
	status, err := entry.Wait(c.asleep)
	if err != nil {
		return fmt.Errorf("wait for the child: %w", err)
	}
	c.asleep = 0
	died := uint32(0)
	if status.Signaled() {
		died = uint32(status.Signal())
	}
	if died != n {
		return fmt.Errorf("the child ended with signal %d, not %d", died, n)
	}
	return nil
}
