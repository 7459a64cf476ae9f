package escape

import (
	"os"
	"testing"

	"staves/lib/testkit"
)

// Root leaves a chroot by a second one; a root that was pivoted to has nothing above it.
func TestDoubleChroot(t *testing.T) {
	each(t, func(w *world) {
		for _, way := range []string{"chroot", "umount"} {
			w.held(words(w.box(), probe, way, w.mark)...)
			w.held(words(w.open(), probe, way, w.mark)...)
			w.held(words(w.host(), "/mnt/probe", way, w.mark)...)
		}
		w.escapes(words(w.open("--chroot"), probe, "chroot", w.mark)...)
		if w.root {
			// Over an initramfs the old root stays beneath, but nothing of it is mounted on it,
			// and without CAP_SYS_ADMIN nobody can look beneath.
			w.held(words(w.open("--move"), probe, "chroot", w.mark)...)
			w.held(words(w.box("--move"), probe, "umount", w.mark)...)
			w.escapes(words(w.open("--move"), probe, "umount", w.onRoot())...)
		}
		w.escapes(words(w.open("--put-old", "/old"), probe, "path", "/old"+w.mark)...)
	})
}

// onRoot makes another mark, on the root file system itself.
func (w *world) onRoot() string {
	dir, err := os.MkdirTemp("/var/tmp", "escape-")
	w.must(err)
	w.Cleanup(func() { w.must(os.RemoveAll(dir)) })
	w.must(os.Chmod(dir, 0o755))
	w.must(testkit.CopyFile(dir+"/mark", w.mark))
	return dir + "/mark"
}
