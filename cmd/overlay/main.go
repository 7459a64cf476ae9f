// Overlay makes a copy-on-write view of directories, or of the present root.
package main

import "staves/lib/stages"

func init() { stages.Main("overlay") }

func main() {}
