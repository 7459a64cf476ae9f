// Command probe is what a hostile program does inside a container: each of its words names
// one way out, which it tries. It prints a line that begins with "ESCAPED" for each that
// leads out, and "held" and the reason for each that does not.
//
//	probe WAY [WORD...]
//
// It belongs to the tests of test/escape, is built static, and changes nothing that it
// does not put back.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// ways are the attempts, by name. Each returns what it reached, or why it did not.
var ways = map[string]func(words []string) (reached string, err error){
	"abstract":      abstract,
	"chroot":        doubleChroot,
	"descriptors":   descriptors,
	"devices":       changeDevices,
	"exe":           writeExecutables,
	"groups":        makeGroup,
	"handle":        openByHandle,
	"keyring":       readKeyring,
	"mknod":         makeNode,
	"proc":          throughProc,
	"nested-proc":   nestedProc,
	"path":          path,
	"release-agent": releaseAgent,
	"setuid":        becomeRoot,
	"tiocsti":       typeAhead,
	"umount":        unmountRoot,
	"watch":         watch,
	"write":         openForWriting,
	"write-device":  openDevices,
}

func main() {
	runtime.LockOSThread() // namespaces and roots belong to a thread
	if len(os.Args) < 2 || ways[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "probe: no such way")
		os.Exit(2)
	}
	switch reached, err := ways[os.Args[1]](os.Args[2:]); {
	case err != nil:
		fmt.Println("held:", err)
	case reached != "":
		fmt.Println("ESCAPED:", reached)
	default:
		fmt.Println("held")
	}
}

// Mark is what the file outside holds that shows that a way leads there.
const Mark = "this is outside\n"

// marked tells whether the file at path is the one outside.
func marked(path string) bool {
	b, err := os.ReadFile(path)
	return err == nil && bytes.Equal(b, []byte(Mark))
}

// path looks for the mark at each path.
func path(words []string) (string, error) {
	if i := slices.IndexFunc(words, marked); i >= 0 {
		return words[i], nil
	}
	return "", nil
}

// openForWriting opens files that change the machine, without writing.
func openForWriting(words []string) (string, error) {
	var open []string
	for _, pattern := range words {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		for _, p := range paths {
			if f, err := os.OpenFile(p, os.O_WRONLY, 0); err == nil {
				_ = f.Close()
				if st, err := os.Stat(p); err != nil || st.Mode()&os.ModeDevice == 0 { // a mask is the null device
					open = append(open, p)
				}
			}
		}
	}
	if len(open) > 0 {
		return fmt.Sprint(open), nil
	}
	return "", nil
}
