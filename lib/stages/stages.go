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
//
// The commands call it from an init function. Namespaces, credentials and the working
// directory belong to a thread: all steps are taken on the process's first one, and it
// is the one that executes the payload. As long as initialisation lasts the runtime keeps
// the goroutine there by itself, whereas runtime.LockOSThread would start a thread more,
// a tenth of what a start takes.
func Main(name string) { chain.Main(All, name) }
