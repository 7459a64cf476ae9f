package ns

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"staves/lib/testkit"
)

// The namespace is another one, has the map, and no process is left.
func TestUserNamespace(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.Check(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	m := Map{{Inner: 0, Outer: 1000, Count: 5}, {Inner: 10, Outer: 20, Count: 1}}
	fd, err := UserNamespace(m, Map{{Inner: 0, Outer: 5, Count: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	own, err1 := os.Readlink("/proc/self/ns/user")
	other, err2 := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err1 != nil || err2 != nil || own == other || !strings.HasPrefix(other, "user:[") {
		t.Errorf("%s and %s: %v, %v", own, other, err1, err2)
	}
	if _, err := UserNamespace(m, Map{{Inner: 0, Outer: 0, Count: 0}}); err == nil {
		t.Error("a map of nothing")
	}
}
