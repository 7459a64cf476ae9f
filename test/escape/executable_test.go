package escape

import (
	"crypto/sha256"
	"fmt"
	"os"
	"testing"

	"staves/lib/testkit"
)

// CVE-2019-5736: a program of ours that an image has run inside, as /proc/self/exe, is not
// to be written to from there. The one here goes on as a waiter, for the other to find.
func TestOwnExecutable(t *testing.T) {
	sum := func(w *world, nsrun string) string {
		b, err := os.ReadFile(nsrun)
		w.must(err)
		return fmt.Sprintf("%x", sha256.Sum256(b))
	}
	each(t, func(w *world) {
		// An ordinary user's is one that belongs to him.
		w.must(os.Mkdir(w.dir+"/own", 0o755))
		nsrun := w.dir + "/own/nsrun"
		w.must(testkit.CopyFile(nsrun, w.bin+"/nsrun"))
		w.give(w.dir + "/own")
		before := sum(w, nsrun)
		w.must(os.Symlink("/proc/self/exe", w.image+"/bin/entry"))
		for _, chain := range [][]string{w.box(), w.open()} {
			chain[0] = nsrun
			w.held(words(chain, probe, "exe")...)
			w.held(words(chain, "/bin/entry", "-f", "--", probe, "exe")...)
		}
		if w.root {
			w.escapes("nsrun", "-m", "pivot", "--proc", w.image, "--", probe, "exe")
		}
		if sum(w, nsrun) != before {
			t.Error("the command has changed")
		}
	})
}
