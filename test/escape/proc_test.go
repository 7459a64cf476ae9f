package escape

import (
	"os"
	"testing"
)

// What of /proc and /sys changes the machine.
var machine = []string{
	"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug", "/proc/sys/kernel/poweroff_cmd",
	"/proc/sys/vm/drop_caches", "/proc/sys/vm/panic_on_oom", "/proc/sys/fs/binfmt_misc/register", "/proc/sysrq-trigger",
	"/proc/irq/*/smp_affinity", "/proc/kcore", "/proc/keys", "/proc/acpi/*", "/proc/bus/pci/*/*", "/proc/timer_stats",
	"/sys/kernel/uevent_helper", "/sys/power/state", "/sys/kernel/mm/*/enabled", "/sys/firmware/efi/vars/*", "/sys/fs/cgroup/*/release_agent",
	"/sys/fs/cgroup/release_agent", "/sys/devices/system/cpu/*/online", "/sys/block/*/queue/scheduler",
}

func TestMachineFiles(t *testing.T) {
	each(t, func(w *world) {
		for _, chain := range [][]string{w.box(), w.open(), w.open("--sys=bind"), w.box("--cgroup")} {
			w.held(words(chain, append([]string{probe, "write"}, machine...)...)...)
		}
		w.held(words(w.host(), append([]string{"/mnt/probe", "write"}, machine...)...)...)
		if w.root {
			w.escapes(words(w.open("--mask", "none", "--ro-path", "none"), append([]string{probe, "write"}, machine...)...)...)
		}
	})
}

// Another proc, mounted in namespaces made inside, would be without masks: the kernel
// refuses it where the one in view has some, unless an unmasked one is mounted elsewhere.
func TestNestedProc(t *testing.T) {
	each(t, func(w *world) {
		w.held(words(w.box(), probe, "nested-proc")...)
		if w.root {
			w.held(words([]string{"nsrun", "-UrmuipCn", "pivot", w.image, "--"}, probe, "nested-proc")...)
			w.held(words(w.box("--move"), probe, "nested-proc")...)
			w.escapes(words(w.open("--mask", "none", "--ro-path", "none"), probe, "nested-proc")...)
		} else {
			w.held(words(w.open(), probe, "nested-proc")...)
		}
	})
}

// Behind /proc/PID/root, cwd and fd of processes of the host is the host.
func TestProcessLinks(t *testing.T) {
	each(t, func(w *world) {
		w.held(words(w.box(), probe, "proc", w.mark)...)
		w.held(words(w.open(), probe, "proc", w.mark)...)
		w.held(words(w.host(), "/mnt/probe", "proc", w.mark)...)
		// Without a pid namespace there is no /proc, unless one asks for it.
		if w.root {
			w.held("nsrun", "-m", "pivot", w.image, "--", probe, "proc", w.mark)
			w.escapes("nsrun", "-m", "pivot", "--proc", w.image, "--", probe, "proc", w.mark)
		} else {
			w.held("nsrun", "-Urm", "pivot", w.image, "--", probe, "proc", w.mark)
		}
	})
}

// CVE-2019-16884, CVE-2019-19921: an image's own /proc takes what is meant for the kernel.
func TestForgedProc(t *testing.T) {
	each(t, func(w *world) {
		forged := w.dir + "/forged"
		w.must(os.MkdirAll(forged+"/self/attr", 0o755))
		var files []string
		for _, f := range []string{"uid_map", "gid_map", "setgroups", "oom_score_adj", "attr/exec"} {
			files = append(files, forged+"/self/"+f)
			w.must(os.WriteFile(forged+"/self/"+f, nil, 0o666))
		}
		w.give(forged)
		w.must(os.Remove(w.image + "/proc"))
		for _, to := range []string{forged, "../../../../../../../../.." + forged, "/", "/proc/1/root" + forged} {
			w.must(os.Symlink(to, w.image+"/proc"))
			w.refused(words(w.box(), probe, "path", w.mark)...)
			w.must(os.Remove(w.image + "/proc"))
		}
		w.must(os.Mkdir(w.image+"/proc", 0o755))
		w.held(words(w.box("--proc=none", "--bind", forged+":/proc"), probe, "path", w.mark)...)
		w.refused(words(w.box("--bind", forged+":/proc"), probe, "path", w.mark)...)
		for _, f := range files {
			if b, err := os.ReadFile(f); err != nil || len(b) > 0 {
				t.Errorf("%s: %q, %v", f, b, err)
			}
		}
	})
}
