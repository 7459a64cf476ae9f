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
)

// userID is the ordinary user, of those that no account uses.
const userID = 61234

// measure runs one row. A way that does not work here is left out, with the reason.
func measure(r row, runs int) (result, error) {
	res := result{Job: r.job, User: r.user}
	var ways []way
	for _, w := range r.ways {
		m := measurement{Name: w.name, Key: w.key}
		if err := try(w, r.user); err != nil {
			m.Missing = err.Error()
		} else {
			ways = append(ways, w)
		}
		res.Ways = append(res.Ways, m)
	}
	if res.Ways[0].Missing != "" {
		return res, errors.New(res.Ways[0].Missing)
	}
	times := make([][]time.Duration, len(ways))
	for i := range runs {
		for j := range ways {
			k := (i + j) % len(ways) // no command always follows the same other one
			d, err := once(ways[k], i, r.user)
			if err != nil {
				return res, fmt.Errorf("%s: %w", ways[k].name, err)
			}
			times[k] = append(times[k], d)
		}
	}
	k := 0
	for i := range res.Ways {
		m := &res.Ways[i]
		if m.Missing != "" {
			continue
		}
		t := times[k]
		k++
		slices.Sort(t)
		m.Median, m.Least, m.P90 = ms(t[len(t)/2]), ms(t[0]), ms(t[len(t)*9/10])
		m.Ratio = res.Ways[0].Median / m.Median
	}
	return res, nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// argv are a way's words for one run, and the file of the first.
func argv(w way, run int) ([]string, string, error) {
	line := strings.ReplaceAll(w.line, "{}", strconv.Itoa(os.Getpid())+"-"+strconv.Itoa(run+1))
	words := strings.Fields(os.ExpandEnv(line))
	path, err := exec.LookPath(words[0])
	return words, path, err
}

// as are the credentials of a command.
func as(user bool) *syscall.SysProcAttr {
	if !user {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: userID, Gid: userID}}
}

// try runs a command once with its complaints shown, to see whether it works here.
func try(w way, user bool) error {
	words, path, err := argv(w, -1)
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s is not installed", words[0])
	}
	if err != nil {
		return err
	}
	cmd := exec.Command(path, words[1:]...)
	cmd.SysProcAttr = as(user)
	out, err := cmd.CombinedOutput()
	if err != nil {
		said, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
}

// once runs a command and returns how long that took. It uses fork and wait alone:
// os/exec starts goroutines and keeps books.
func once(w way, run int, user bool) (time.Duration, error) {
	words, path, err := argv(w, run)
	if err != nil {
		return 0, err
	}
	attr := &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: as(user)}
	start := time.Now()
	pid, err := syscall.ForkExec(path, words, attr)
	if err != nil {
		return 0, err
	}
	var status syscall.WaitStatus
	for {
		if _, err = syscall.Wait4(pid, &status, 0, nil); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	d := time.Since(start)
	if err == nil && status != 0 {
		err = fmt.Errorf("wait status %#x", int(status))
	}
	return d, err
}
