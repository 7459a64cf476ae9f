package chain

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"staves/lib/diag"
)

var errUntold = errors.New("read a plan from standard input: no stage writes it")

// received reads the plan that a stage leaves on standard input, nil if there is none.
// Nothing is read from a pipe that no stage writes.
func (p *parser) received() (*plan, error) {
	end, ok := otherEnd(0)
	last, planSeen := false, false
	// How many times in a row nobody was seen who might become a stage, and a program that
	// is none gets a plan: in the middle of an execve(2) a process shows no words.
	none, between := 0, 0
	for since := time.Now(); ; time.Sleep(time.Millisecond) {
		var pids, writers []int
		if ok {
			pids = processes()
			writers = end.holders(pids)
		}
		for _, pid := range writers {
			tool, words := p.stageAt(pid)
			if tool == nil || !p.plans(tool, words) {
				continue
			}
			for _, w := range writers {
				if why := stranger(w); why != "" {
					return nil, diag.WithHint(fmt.Errorf("take the plan of process %d: %s", w, why),
						"what others ask for is not done unasked; if it is meant: "+outright)
				}
			}
			if !await(pid) {
				return nil, fmt.Errorf("%s, which comes before it in the pipeline, ended without a plan", tool.Name)
			}
			claim()
			if _, is := planSize(peek(planHeader)); !is {
				return nil, fmt.Errorf("something else stands before the plan of %s on standard input", tool.Name)
			}
			return takePlan(input{})
		}
		seen := peek(planHeader)
		if _, is := planSize(seen); is {
			if planSeen {
				return nil, diag.WithHint(errUntold, "if it is meant: "+outright)
			}
			// Its writer may have become a stage since the look at the writers. It stays
			// until the plan has been read: the next look finds it.
			planSeen = true
			continue
		}
		stage, maybe := p.beyond(pids, writers, since)
		if stage == nil {
			between = 0
		} else if between++; between < 3 {
			continue
		} else {
			return nil, diag.WithHint(fmt.Errorf("a program that is no stage gets the plan of %s, which comes before it in the pipeline", stage.Name),
				"if it passes the plan on: "+outright)
		}
		if len(seen) == planHeader || !strings.HasPrefix(planMagic, seen[:min(len(seen), len(planMagic))]) {
			claim()
			return nil, nil
		}
		if over() || !ok || last {
			return nil, nil
		}
		if none++; maybe || p.starting(end, pids, since, false) {
			none = 0
		}
		if none == 5 {
			claim()
			last = true // what has become a stage since it was seen is found yet
		}
	}
}

const outright = "put --plan - before the other options, which says to read one"

// peek returns the first bytes that are in the pipe on standard input now, n at most,
// without taking them.
func peek(n int) string {
	var p [2]int
	if unix.Pipe2(p[:], unix.O_CLOEXEC) != nil {
		return ""
	}
	defer func() { _, _ = unix.Close(p[0]), unix.Close(p[1]) }()
	m, err := unix.Tee(0, p[1], n, unix.SPLICE_F_NONBLOCK)
	if err != nil || m == 0 {
		return ""
	}
	buf := make([]byte, m)
	got, err := unix.Read(p[0], buf)
	if err != nil {
		return ""
	}
	return string(buf[:got])
}

// over tells whether nothing will come any more: all that could write are gone.
func over() bool {
	fds := []unix.PollFd{{Fd: 0, Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&unix.POLLIN == 0
}

// await waits until there is something to read, and returns false if the writer pid ends,
// or becomes another program, without that.
func await(pid int) bool {
	for {
		fds := []unix.PollFd{{Fd: 0, Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 100)
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return false
		case n > 0:
			return fds[0].Revents&unix.POLLIN != 0
		}
		if _, state := familyOf(pid); state == 0 || state == 'Z' {
			return false
		}
	}
}

// input is standard input as it is: an [os.File] would close it in the end.
type input struct{}

func (input) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(0, b)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN): // somebody has made it so
			_, _ = unix.Poll([]unix.PollFd{{Fd: 0, Events: unix.POLLIN}}, -1)
			continue
		case err != nil:
			return 0, err
		case n == 0 && len(b) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// takePlan reads exactly one plan.
func takePlan(r io.Reader) (*plan, error) {
	header := make([]byte, planHeader)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, fmt.Errorf("read the plan: %w", cutOff(err))
	}
	n, ok := planSize(string(header))
	if !ok {
		return nil, fmt.Errorf("read the plan: %w: its first line is %q", errPlan, header)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, fmt.Errorf("read the plan: %w", cutOff(err))
	}
	return parsePlan(string(text))
}

// cutOff says in our words what [io.ReadFull] found wrong.
func cutOff(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("standard input is empty, or ends before it")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: standard input ends within it", errPlan)
	}
	return err
}

// readPlan reads the plan that --plan names. What is no plan is read no further than one
// could be long.
func readPlan(file string, tool *Tool) (*plan, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, PathError("read the plan", file, errnoOr(err))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, int64(planHeader+maxPlan+1)))
	if err != nil {
		return nil, PathError("read the plan", file, errnoOr(err))
	}
	header, rest, _ := strings.Cut(string(text), "\n")
	if _, ok := planSize(header + "\n"); !ok {
		return nil, diag.WithHint(PathError("read", file, errPlan), "make one: "+tool.Name+" ... | cat > PLAN")
	}
	if len(text) > planHeader+maxPlan {
		return nil, PathError("read", file, fmt.Errorf("%w: it is longer than one can be", errPlan))
	}
	p, err := parsePlan(rest) // one may have been edited: its length is what the file has
	if err != nil {
		return nil, PathError("read", file, err)
	}
	return p, nil
}

// errnoOr is the errno in err, if there is one: the path is said already.
func errnoOr(err error) error {
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return err
}
