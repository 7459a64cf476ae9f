// Pivot makes a directory tree the root, and leaves no way back to the old one.
package main

import "staves/lib/stages"

func init() { stages.Main("pivot") }

func main() {}
