// Nsrun runs a program in new namespaces.
package main

import "staves/lib/stages"

func init() { stages.Main("nsrun") }

func main() {}
