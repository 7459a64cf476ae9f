package pivot

import (
	"errors"
	"fmt"
	"io"
	"os"

	"staves/lib/chain"
	"staves/lib/diag"
)

// guises are the programs that pivot stands in for: chroot of coreutils, pivot_root and
// switch_root of util-linux.
var guises = []chain.Guise{
	{Name: "chroot", Read: readChroot},
	{Name: "pivot_root", Failed: 1, Read: readPivotRoot},
	{Name: "switch_root", Failed: 1, Read: readSwitchRoot},
}

// askedFor are the options that every guise has; help is what --help prints.
var askedFor = []chain.Opt{{Long: "help", Short: 'h'}, {Long: "version", Short: 'V'}}

// answer is what a guise does that was asked for help or its version, nil otherwise.
func answer(name, help string, given []chain.Given) *chain.Act {
	for _, g := range given {
		text := ""
		switch g.Long {
		case "help":
			text = help
		case "version":
			text = fmt.Sprintf("%s (staves) %s\n", name, chain.Version)
		default:
			continue
		}
		return &chain.Act{Do: func() (int, error) {
			_, err := io.WriteString(os.Stdout, text)
			return 0, err
		}}
	}
	return nil
}

// usage is the error for words that make no sense.
func usage(name, what string) error { return usageError(name, errors.New(what)) }

func usageError(name string, err error) error {
	return diag.WithHint(err, "try '"+name+" --help'")
}
