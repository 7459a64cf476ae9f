package capdrop

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/caps"
	"staves/lib/chain"
	"staves/lib/entry"
	"staves/lib/seccomp"
)

// filter are the options about system calls.
type filter struct {
	from string // default, none or a file
	dump string // text or bpf: print the filter

	profile *seccomp.Profile // once it is read
}

const (
	noFilter    = "none"
	ownFilter   = "default"
	dumpText    = "text"
	dumpProgram = "bpf"
)

func (f *filter) options(fs *pflag.FlagSet) {
	fs.StringVar(&f.from, "seccomp", noFilter, "filter system calls: `PROFILE` is default (Docker's), none, or a file")
	fs.StringVar(&f.dump, "seccomp-dump", "", "print the filter, or write it as the kernel takes it: `text|bpf`; and end")
	fs.Lookup("seccomp-dump").NoOptDefVal = dumpText
}

func (f *filter) on() bool { return f.from != noFilter }

// check reads the profile: later, another root may be in place.
func (f *filter) check(c *chain.Chain, link *chain.Link) error {
	if !f.on() || f.from == ownFilter {
		return nil
	}
	text, err := f.read()
	if err != nil {
		return err
	}
	c.State.Keep(f.key(), text)
	// Whatever capabilities there will be, they only take rules away.
	_, err = f.compile(caps.All)
	return err
}

// key is what a later life of the chain finds the profile by.
func (f *filter) key() string { return "seccomp " + f.from }

// read reads the profile's file, and has it parsed.
func (f *filter) read() (text string, err error) {
	all, err := readProfile(f.from)
	if err != nil {
		return "", fmt.Errorf("--seccomp: %w", err)
	}
	return string(all), f.parse(all)
}

// writerPatience is how many milliseconds a named pipe may be without a writer.
const writerPatience = 1000

// errNoWriter is why there is nothing to wait for at a pipe.
var errNoWriter = errors.New("it is a pipe that no program writes to")

// readProfile reads a file, or what is written to a pipe: a shell's <(COMMAND) is one. The
// open of a named one would wait for a writer, for ever where none comes.
func readProfile(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, chain.PathError("open", path, err)
	}
	var st unix.Stat_t
	var first []byte
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
		first, err = firstOfPipe(fd)
	}
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, chain.PathError("read", path, err)
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	rest, err := io.ReadAll(io.LimitReader(file, seccomp.MaxSize+1))
	return append(first, rest...), err
}

// firstOfPipe waits for a writer, and reads what is there by then: perhaps nothing.
func firstOfPipe(fd int) ([]byte, error) {
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(ready, writerPatience); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	first := make([]byte, 1)
	switch n, err := unix.Read(fd, first); {
	case errors.Is(err, unix.EAGAIN): // there is one, who takes long
		return nil, nil
	case err != nil:
		return nil, err
	case n == 0 && ready[0].Revents == 0:
		return nil, errNoWriter
	default:
		return first[:n], nil
	}
}

func (f *filter) parse(text []byte) (err error) {
	if f.profile, err = seccomp.Parse(text); err != nil {
		return fmt.Errorf("--seccomp %s: %w", f.from, err)
	}
	return nil
}

// compile makes a filter for a process with that bounding set of the profile.
func (f *filter) compile(bounding caps.Set) (*seccomp.Filter, error) {
	here := seccomp.Here(bounding)
	if f.from == ownFilter {
		return seccomp.DefaultFilter(here)
	}
	compiled, err := f.profile.Filter(here)
	if err != nil {
		return nil, fmt.Errorf("--seccomp %s: %w", f.from, err)
	}
	return compiled, nil
}

// allowed finds out whether the filter can be loaded, in the state that the steps begin
// from (seccomp(2): EACCES).
func (f *filter) allowed(now *caps.State, noNewPrivs bool) error {
	if !f.on() {
		return nil
	}
	return mayConfine("seccomp", now, noNewPrivs)
}

func (f *filter) step(p *plan, final bool) chain.Step {
	s := p.step("seccomp(SECCOMP_SET_MODE_FILTER) with "+f.from,
		"from here on the kernel refuses system calls that the profile does not allow", "seccomp(2)",
		func(b *entry.Builder) error {
			if text, ok := p.chain.State.Kept(f.key()); ok && f.profile == nil { // read in an earlier life
				if err := f.parse([]byte(text)); err != nil {
					return err
				}
			}
			// What was asked for counts where the bounding set could not be lowered to it.
			compiled, err := f.compile(p.stage.sets.bounding(p.link) & p.want.Bounding)
			if err != nil {
				return err
			}
			compiled.Load(b)
			return nil
		})
	s.Final = final
	s.Refusals = []chain.Refusal{{Errno: unix.EPERM, Hint: "or the profile does not allow execve: see capdrop --seccomp-dump"}}
	return s
}

// dumpFilter is the option --seccomp-dump: it prints the filter that the payload would get.
func (s *stage) dumpFilter(fs *pflag.FlagSet) func(words []string) error {
	f := &s.filter
	return func(words []string) error {
		switch {
		case f.dump != dumpText && f.dump != dumpProgram:
			return fmt.Errorf("--seccomp-dump: %q is neither %s nor %s", f.dump, dumpText, dumpProgram)
		case len(words) > 0:
			return fmt.Errorf("--seccomp-dump runs no program: %s", words[0])
		case !fs.Changed("seccomp"):
			f.from = ownFilter
		case !f.on():
			return errors.New("--seccomp none: no filter to print")
		}
		now, err := caps.Read()
		if err != nil {
			return err
		}
		if f.from != ownFilter {
			if _, err := f.read(); err != nil {
				return err
			}
		}
		compiled, err := f.compile(s.sets.bounding(&chain.Link{Flags: fs}) & now.Bounding)
		if err != nil {
			return err
		}
		if f.dump == dumpProgram {
			return compiled.Raw(os.Stdout)
		}
		return compiled.Dump(os.Stdout)
	}
}
