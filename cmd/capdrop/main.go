// Capdrop runs a program with fewer privileges.
package main

import "staves/lib/stages"

func init() { stages.Main("capdrop") }

func main() {}
