// Staves is the seven tools in one file: it acts as the one whose name it is called
// by. 'make box' builds it, with seven links; a system that has little room for seven
// copies of the Go runtime wants it.
package main

import "staves/lib/stages"

func init() { stages.Main("") }

func main() {}
