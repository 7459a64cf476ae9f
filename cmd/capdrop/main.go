// Capdrop runs a program with fewer privileges.
package main

import "staves/lib/stages"

func main() { stages.Main("capdrop") }
