package probe

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestProcNames(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for i := range 1000 { // more than one buffer holds
		name := "a-name-that-is-long-" + strconv.Itoa(i)
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
	}
	got, err := ProcNames(dir)
	slices.Sort(got)
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%d names, %v", len(got), err)
	}
	if _, err := ProcNames(dir + "/none"); !errors.Is(err, unix.ENOENT) {
		t.Error(err)
	}
}
