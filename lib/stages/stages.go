// Package stages is the registry of the seven tools.
package stages

import (
	"os"
	"path/filepath"

	"staves/lib/chain"
	"staves/lib/stage/capdrop"
	"staves/lib/stage/cgset"
	"staves/lib/stage/mkdev"
	"staves/lib/stage/netbr"
	"staves/lib/stage/nsrun"
	"staves/lib/stage/overlay"
	"staves/lib/stage/pivot"
)

// All are the seven, in the order in which a full container uses them.
var All = []*chain.Tool{
	cgset.Tool,
	netbr.Tool,
	nsrun.Tool,
	overlay.Tool,
	mkdev.Tool,
	pivot.Tool,
	capdrop.Tool,
}

// Main runs the tool called name; with no name, the one that this process was started
// as. It does not return.
func Main(name string) {
	if name == "" && len(os.Args) > 0 {
		name = filepath.Base(os.Args[0])
	}
	chain.Main(All, name)
}
