// Package stages is the registry of the seven tools.
package stages

import (
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

// Main runs the tool called name, in the guise that this process was started as; with no
// name, the tool itself is the one that it was started as. It does not return.
func Main(name string) { chain.Main(All, name) }
