package capdrop

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"staves/lib/caps"
)

const getpcapsHelp = `usage: getpcaps [OPTIONS] PID...
Print the capabilities of processes, 0 for this one.

      --iab                print the inheritable, ambient and bounding sets as well
      --verbose            print sentences
      --legacy, --ugly     print sentences to standard error
      --license            print the version
  -h, --help, --usage      print this and exit
`

// getpcaps prints the capabilities of processes. Options hold for the processes that
// are named after them.
func getpcaps(words []string, out io.Writer, warn func(error)) error {
	if len(words) == 0 {
		return usage("getpcaps", errors.New("no process is named"))
	}
	line, iab := "%s: %s\n", false
	for _, w := range words {
		switch w {
		case "--help", "--usage", "-h":
			_, err := io.WriteString(out, getpcapsHelp)
			return err
		case "--license":
			return version(out, "getpcaps")
		case "--verbose":
			line = "Capabilities for '%s': %s\n"
		case "--legacy", "--ugly":
			line, out = "Capabilities for `%s': %s\n", os.Stderr
		case "--iab":
			iab = true
		default:
			if err := printProcess(out, w, line, iab); err != nil {
				warn(err)
			}
		}
	}
	return nil
}

// printProcess prints the capabilities of the process that word names.
func printProcess(out io.Writer, word, line string, iab bool) error {
	pid, err := strconv.ParseInt(strings.TrimLeft(word, " \t\n"), 10, 32)
	if err != nil || pid < 0 {
		return fmt.Errorf("%q is no process id", word)
	}
	sets, err := caps.Of(int(pid))
	if err != nil {
		return err
	}
	if !iab {
		_, err = fmt.Fprintf(out, line, word, sets)
		return err
	}
	more, err := caps.IABOf(int(pid))
	if err == nil {
		_, err = fmt.Fprintf(out, "%s: \"%s\" [%s]\n", word, sets, more)
	}
	return err
}
