// Cgset runs a program in a control group with limits.
package main

import "staves/lib/stages"

func init() { stages.Main("cgset") }

func main() {}
