package capdrop

import (
	"errors"
	"fmt"
	"io"
	"os"

	"staves/lib/chain"
	"staves/lib/diag"
)

const ownName = "capdrop"

// guises are the programs that capdrop stands in for: those of libcap, which end with 1
// where something fails, and util-linux's setpriv. capsh's words are understood under our
// own name too.
var guises = []chain.Guise{
	{Name: "capsh", Failed: 1, Execve: true, Read: readCapsh("capsh", false)},
	{Name: ownName, Execve: true, Read: readCapsh(ownName, true)},
	{Name: "setpriv", Failed: chain.StatusNotFound, Read: readSetpriv},
	reporter("getpcaps", 1, getpcaps),
	reporter("getcap", 0, getcap),
	reporter("setcap", 1, setcap),
}

// reporter is a guise that is no link of a chain: run does all that it does. It reports
// by warn what goes wrong and does not end it; its exit status is warned then.
func reporter(name string, warned int, run func(words []string, out io.Writer, warn func(error)) error) chain.Guise {
	return chain.Guise{Name: name, Failed: 1, Read: func(words []string) (*chain.Act, error) {
		return &chain.Act{Do: func() (status int, err error) {
			err = run(words, os.Stdout, func(err error) {
				diag.Print(os.Stderr, name, err)
				status = warned
			})
			if errors.Is(err, errNo) {
				return 1, nil
			}
			return status, err
		}}, nil
	}}
}

// errNo is the answer to a question that a reporter was asked: an exit status, without a
// message.
var errNo = errors.New("no")

// usage is the error for words that make no sense.
func usage(name string, err error) error {
	return diag.WithHint(err, "try '"+name+" --help'")
}

// version is what a guise says of itself.
func version(out io.Writer, name string) error {
	_, err := fmt.Fprintf(out, "%s (staves) %s\n", name, chain.Version)
	return err
}
