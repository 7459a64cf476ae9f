// Mkdev puts a minimal /dev on a directory.
package main

import "staves/lib/stages"

func main() { stages.Main("mkdev") }
