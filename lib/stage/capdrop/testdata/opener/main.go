// Opener opens files for reading, or for writing where the name begins with '>', and
// prints what became of each.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

func main() {
	for _, name := range os.Args[1:] {
		flags := os.O_RDONLY
		if strings.HasPrefix(name, ">") {
			name, flags = name[1:], os.O_WRONLY|os.O_CREATE
		}
		_, err := os.OpenFile(name, flags, 0o644)
		var errno syscall.Errno
		switch {
		case err == nil:
			fmt.Println("opened")
		case errors.As(err, &errno):
			fmt.Println(errno)
		default:
			fmt.Println(err)
		}
	}
}
