// Netbr runs a program in a network namespace wired to a bridge.
package main

import "staves/lib/stages"

func init() { stages.Main("netbr") }

func main() {}
