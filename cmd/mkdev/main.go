// Mkdev puts a minimal /dev on a directory.
package main

import "staves/lib/stages"

func init() { stages.Main("mkdev") }

func main() {}
