package pivot

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/probe"
)

const pivotRootHelp = `usage: pivot_root NEW_ROOT PUT_OLD
Make NEW_ROOT, a mount, the root of this mount namespace, and move the old root to PUT_OLD
in it. 'pivot NEW_ROOT' does the rest as well: it makes the mount, and takes the old root
away.

  -h, --help     print this and exit
  -V, --version  print the version and exit
`

// readPivotRoot reads the words of pivot_root(8).
func readPivotRoot(words []string) (*chain.Act, error) {
	given, rest, err := chain.Getopt(words, askedFor, true)
	if err != nil {
		return nil, usageError("pivot_root", err)
	}
	if act := answer("pivot_root", pivotRootHelp, given); act != nil {
		return act, nil
	}
	if len(rest) != 2 {
		return nil, usage("pivot_root", "bad usage")
	}
	newRoot, putOld := rest[0], rest[1]
	return &chain.Act{Do: func() (int, error) {
		err := unix.PivotRoot(newRoot, putOld)
		if err == nil {
			return 0, nil
		}
		var hints []string
		switch {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
			hints = noDirectory(newRoot, putOld)
		case errors.Is(err, unix.EPERM) && probe.Capable(unix.CAP_SYS_ADMIN):
			hints = []string{"this mount namespace belongs to another user namespace: make one of your own, nsrun -m -- ..."}
		case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPERM):
			hints = whyNot(newRoot, putOld)
		}
		return 0, diag.WithHint(fmt.Errorf("failed to change root from %s to %s: %w", newRoot, putOld, err), hints...)
	}}, nil
}
