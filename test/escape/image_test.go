package escape

import (
	"os"
	"strings"
	"testing"
)

// CVE-2026-41579, -47766, -88264, -88265, CVE-2025-52565: an image whose /dev, or what is
// in it, leads outside.
func TestHostileDev(t *testing.T) {
	each(t, func(w *world) {
		dev := w.image + "/dev"
		w.must(os.Remove(dev))
		onOverlay := []string{"nsrun", w.namespaces(), "overlay", "--lower", w.image, "mkdev", "pivot", "capdrop", "--"}
		for _, to := range []string{w.victim, "../../../../../../../../.." + w.victim, "/proc/self/root" + w.victim, "/proc/1/root" + w.victim, "/", "."} {
			w.must(os.Symlink(to, dev))
			w.refused(words(w.box(), probe, "path", w.mark)...)
			w.refused(words(onOverlay, probe, "path", w.mark)...)
			w.must(os.Remove(dev))
		}
		w.must(os.Mkdir(dev, 0o755))
		w.give(dev)
		for _, name := range []string{"null", "console", "ptmx", "fd", "pts", "shm", "tty", "mqueue"} {
			w.must(os.Symlink(w.victim+"/"+name, dev+"/"+name))
		}
		w.held(words(w.box(), probe, "path", w.mark)...)
		w.held(words(onOverlay, probe, "path", w.mark)...)
		w.held(words(w.box("--mqueue"), probe, "path", w.mark)...)
		// Without mkdev the image's own links are what they are, but nothing is made by them.
		w.refused(words([]string{"nsrun", w.namespaces(), "pivot", "--mqueue", w.image, "--"}, probe, "path", w.mark)...)
	})
}

// CVE-2021-30465, CVE-2024-45310: mount points that are links in the image.
func TestHostileMountPoints(t *testing.T) {
	each(t, func(w *world) {
		for name, to := range map[string]string{
			"abs": w.victim, "rel": "../../../../../../../../.." + w.victim, "magic": "/proc/self/root" + w.victim, "loop": "loop", "up": "..",
		} {
			w.must(os.Symlink(to, w.image+"/"+name))
		}
		for _, way := range [][]string{
			{"--bind", w.dir + ":/%s/new"},
			{"--bind", w.mark + ":/%s/file"},
			{"--tmpfs", "/%s"},
			{"--tmpfs", "/%s/new/deep"},
			{"--mask", "/%s"},
			{"--ro-path", "/%s"},
			{"--put-old", "/%s/old"},
		} {
			for _, link := range []string{"abs", "rel", "magic", "loop"} {
				w.refused(words(w.box(way[0], strings.ReplaceAll(way[1], "%s", link)), probe, "path", w.mark)...)
			}
		}
		w.held(words(w.box("--tmpfs", "/up/up/up/new"), probe, "path", w.mark)...)
		for _, dir := range []string{"sys", "proc"} {
			w.must(os.Remove(w.image + "/" + dir))
			w.must(os.Symlink(w.victim, w.image+"/"+dir))
			w.refused(words(w.box(), probe, "path", w.mark)...)
			w.must(os.Remove(w.image + "/" + dir))
			w.must(os.Mkdir(w.image+"/"+dir, 0o755))
		}
		// What a tool does that makes mount points by name.
		w.must(os.MkdirAll(w.image+"/abs/made", 0o755))
		if _, err := os.Stat(w.victim + "/made"); err != nil {
			t.Errorf("the links of this image lead nowhere: %v", err)
		}
		w.must(os.Remove(w.victim + "/made"))
		w.must(os.Chtimes(w.victim, w.victimTime, w.victimTime))
	})
}

// CVE-2025-31133: what masks a file is the null device, and not what the image calls so.
func TestForgedNull(t *testing.T) {
	each(t, func(w *world) {
		w.must(os.Symlink("/proc/sys/kernel/core_pattern", w.image+"/dev/null"))
		w.must(os.WriteFile(w.image+"/etc/secret", []byte("secret\n"), 0o644))
		for _, chain := range [][]string{
			{"nsrun", w.namespaces(), "pivot", "--mask", "/etc/secret", w.image, "--"},
			w.box("--mask", "/etc/secret"),
		} {
			out := w.run(w.command(words(chain, "/bin/sh", "-c", "busybox stat -c %t:%T /proc/keys /etc/secret; busybox cat /etc/secret")...))
			if out != "1:3\n1:3\n" {
				t.Errorf("%v: %s", chain, out)
			}
		}
	})
}
