package capdrop

import (
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"staves/lib/chain"
)

// program are the options that say what is run, or that nothing is.
type program struct {
	exec bool
	of   string
}

func (p *program) options(fs *pflag.FlagSet) {
	fs.BoolVar(&p.exec, "exec", false, "take the words after -- for a program, even if they begin with -")
	fs.StringVar(&p.of, "of", "", "print the capabilities of process `PID`, and run nothing")
}

func (p *program) check(*chain.Chain, *chain.Link) error { return nil }

// Admin finds the option that has something printed, and nothing run.
func (s *stage) Admin(fs *pflag.FlagSet) func(words []string) error {
	switch {
	case fs.Changed("of"):
		return s.run.printOf
	case fs.Changed("seccomp-dump"):
		return s.dumpFilter(fs)
	case s.lock.support:
		return s.lock.printSupport
	}
	return nil
}

// printOf prints the capabilities of processes.
func (p *program) printOf(words []string) error {
	var failed []error
	for _, pid := range append([]string{p.of}, words...) {
		if err := printProcess(os.Stdout, pid, "%s: %s\n", false); err != nil {
			failed = append(failed, err)
		}
	}
	switch len(failed) {
	case 0:
		return nil
	case 1:
		return failed[0]
	}
	return fmt.Errorf("%w, and %d more", failed[0], len(failed)-1)
}
