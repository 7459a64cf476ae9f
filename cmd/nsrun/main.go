// Nsrun runs a program in new namespaces.
package main

import "staves/lib/stages"

func main() { stages.Main("nsrun") }
