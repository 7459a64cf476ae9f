package escape

import (
	"os"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// How often each of the five mount points is raced for: 500 rounds in all.
const asRoot, asUser = 80, 20

// While a box starts, its mount points are now directories, now links to a directory
// outside: nothing is ever made or mounted there.
func TestRacingLinks(t *testing.T) {
	each(t, func(w *world) {
		n := asRoot
		if !w.root {
			n = asUser
		}
		w.must(os.WriteFile(w.image+"/etc/secret", nil, 0o600))
		for _, race := range []struct {
			point string
			pivot []string
		}{
			{"/data", []string{"--bind", w.image + "/etc:/data/sub"}},
			{"/data", []string{"--tmpfs", "/data/sub/deep"}},
			{"/dev", nil},
			{"/proc", nil},
			{"/etc", []string{"--mask", "/etc/secret", "--ro-path", "/etc"}},
		} {
			swapping := w.swap(w.image+race.point, w.victim)
			inside := 0
			for range n {
				out := w.run(w.command(words(w.box(race.pivot...), probe, "path", w.mark)...))
				if len(out) > 4 && out[:4] == "held" {
					inside++
				}
			}
			swaps := swapping()
			if swaps < n || inside == 0 || inside == n {
				w.Errorf("%s %v: %d of %d boxes started, at %d swaps: no race", race.point, race.pivot, inside, n, swaps)
			}
		}
	})
}

// swap exchanges the directory at path with a link to target, again and again, until what
// it returns is called, which tells how often.
func (w *world) swap(path, target string) func() int {
	w.must(os.MkdirAll(path, 0o755))
	link := path + ".link"
	w.must(os.Symlink(target, link))
	w.give(w.image)
	var stop atomic.Bool
	done := make(chan int)
	go func() {
		n := 0
		for ; !stop.Load(); n++ {
			_ = unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
		}
		if n%2 == 1 {
			_ = unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
		}
		done <- n
	}()
	return func() int {
		stop.Store(true)
		n := <-done
		w.must(os.Remove(link))
		return n
	}
}
