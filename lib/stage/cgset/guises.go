package cgset

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/cgroup"
	"staves/lib/chain"
)

// The tools of libcgroup, by a link of their name. Their words, output and exit statuses
// are those of libcgroup 3.2; paths are from the top of the tree, as there. What it does
// wrong is not done here: docs/design/0017-libcgroup.md.

var guises = []chain.Guise{
	{Name: "cgset", Failed: statusOther, Read: readSet("cgset")},
	{Name: "cgxset", Failed: statusOther, Read: readSet("cgxset")},
	{Name: "cgcreate", Failed: statusOther, Read: readCreate},
	{Name: "cgdelete", Failed: statusOther, Read: readDelete},
	{Name: "cgexec", Failed: statusOther, Read: readExec},
	{Name: "cgclassify", Failed: 1, Read: readClassify},
	{Name: "cgget", Failed: statusOther, Read: readGet("cgget")},
	{Name: "cgxget", Failed: statusOther, Read: readGet("cgxget")},
	{Name: "lscgroup", Failed: statusOther, Read: readList},
	{Name: "lssubsys", Failed: statusOther, Read: readSubsystems},
}

// Exit statuses of libcgroup: its error numbers, 50000 and more, as a shell sees them.
const (
	statusNoGroup      = 82
	statusNoController = 84
	statusBadName      = 91
	statusFail         = 93
	statusNoValue      = 95
	statusOther        = 96
	statusNoVersion    = 111
	statusUsage        = 129
)

// statusOf is the status of an error of lib/cgroup's, absent that of what is not there.
func statusOf(err error, absent int) int {
	var controller *cgroup.ControllerError
	switch {
	case errors.As(err, &controller):
		return statusNoController
	case errors.Is(err, unix.ENOENT):
		return absent
	}
	return statusOther
}

// withStatus gives an error the exit status that it leads to, and its hints.
func withStatus(status int, err error) error {
	return &chain.Error{Status: status, Err: explain(err)}
}

// libcgroup tells, by the words alone, that cgset is called as libcgroup's: every option
// is one of its own, and among them is one that says what to set.
func libcgroup(words []string) string {
	sets := false
	for i := 0; i < len(words); i++ {
		name, value, attached := strings.Cut(words[i], "=")
		switch {
		case words[i] == "--":
			i = len(words)
		case !strings.HasPrefix(words[i], "-") || words[i] == "-":
		case name == "--rule", name == "--variable", name == "--copy-from":
			sets = true
			if !attached {
				i++
			}
			_ = value
		case strings.HasPrefix(words[i], "-r"):
			sets = true
			if words[i] == "-r" {
				i++
			}
		case words[i] == "-R", words[i] == "-b", words[i] == "-h", words[i] == "--help":
		default:
			return ""
		}
	}
	if sets {
		return "cgset"
	}
	return ""
}

// flagSet is how libcgroup's tools read options: anywhere, but after "--".
func flagSet(name string) *pflag.FlagSet {
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.BoolP("help", "h", false, "")
	fs.BoolP("ignore-default-systemd-delegate-slice", "b", false, "") // there is no such slice here
	_ = fs.MarkHidden("ignore-default-systemd-delegate-slice")
	return fs
}

// parse reads words into fs. It returns what is to be done at once, if that is anything:
// print the help.
func parse(fs *pflag.FlagSet, words []string, usage string) (*chain.Act, error) {
	err := fs.Parse(words)
	if help, _ := fs.GetBool("help"); help && err == nil {
		return &chain.Act{Do: func() (int, error) { return 0, printOut(usage) }}, nil
	}
	var noValue *pflag.ValueRequiredError
	var notExist *pflag.NotExistError
	switch {
	case err == nil:
		return nil, nil
	case errors.As(err, &noValue) && noValue.GetSpecifiedShortnames() != "":
		return nil, wrong(fs.Name(), fmt.Sprintf("option requires an argument -- '%s': ", noValue.GetSpecifiedName()))
	case errors.As(err, &noValue):
		return nil, wrong(fs.Name(), fmt.Sprintf("option '--%s' requires an argument: ", noValue.GetSpecifiedName()))
	case errors.As(err, &notExist) && notExist.GetSpecifiedShortnames() != "":
		return nil, wrong(fs.Name(), fmt.Sprintf("invalid option -- '%s': ", notExist.GetSpecifiedName()))
	case errors.As(err, &notExist):
		return nil, wrong(fs.Name(), fmt.Sprintf("unrecognized option '--%s': ", notExist.GetSpecifiedName()))
	}
	return nil, wrong(fs.Name(), err.Error()+": ")
}

// wrong is libcgroup's answer to words that make no sense.
func wrong(name, what string) error {
	return &chain.Error{Status: statusUsage, Err: fmt.Errorf("%sWrong input parameters, try '%s -h' for more information", what, name)}
}

func printOut(text string) error {
	if _, err := os.Stdout.WriteString(text); err != nil {
		return fmt.Errorf("write to standard output: %w", err)
	}
	return nil
}

// A spec is CONTROLLERS:PATH.
type spec struct {
	controllers []string // none: the group of v2 itself
	path        string
}

// parseSpec reads "cpu,memory:path"; "*" stands for all controllers that are mounted.
func parseSpec(s string, trees []*cgroup.Tree) (spec, error) {
	list, path, ok := strings.Cut(s, ":")
	if !ok || path == "" {
		return spec{}, &chain.Error{
			Status: statusUsage, Err: fmt.Errorf("cgroup controller and path parsing failed (%s): CONTROLLERS:PATH", s),
		}
	}
	path, err := cgroup.CheckPath(path)
	if err != nil {
		return spec{}, withStatus(statusOther, err)
	}
	sp := spec{path: path}
	for c := range strings.SplitSeq(list, ",") {
		switch {
		case c == "*":
			for _, t := range trees {
				sp.controllers = append(sp.controllers, t.Controllers...)
			}
		case c != "":
			sp.controllers = append(sp.controllers, c)
		}
	}
	return sp, nil
}

func parseSpecs(list []string, trees []*cgroup.Tree) ([]spec, error) {
	var specs []spec
	for _, s := range list {
		sp, err := parseSpec(s, trees)
		if err != nil {
			return nil, err
		}
		specs = append(specs, sp)
	}
	return specs, nil
}

// find returns the spec's groups, one for each hierarchy.
func (sp spec) find(trees []*cgroup.Tree) ([]cgroup.Found, error) {
	controllers := sp.controllers
	if len(controllers) == 0 {
		controllers = []string{cgroup.Core}
	}
	var found []cgroup.Found
	for _, c := range controllers {
		f, err := cgroup.Lookup(trees, c, sp.path)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(found, f) { // several controllers may share a hierarchy
			found = append(found, f)
		}
	}
	return found, nil
}

// findAll returns the groups of all specs.
func findAll(specs []spec, trees []*cgroup.Tree) ([]cgroup.Found, error) {
	var found []cgroup.Found
	for _, sp := range specs {
		f, err := sp.find(trees)
		if err != nil {
			return nil, err
		}
		found = append(found, f...)
	}
	return found, nil
}
