package vm

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"staves/lib/testkit"
)

// TestInitramfs is what only a machine shows that has not left its initramfs: a root that
// pivot_root(2) cannot put away, and a kernel without overlayfs. This machine's files are at
// /root.
func TestInitramfs(t *testing.T) {
	testkit.NeedRoot(t)
	if runtime.GOARCH != "amd64" {
		t.Skip("needs an amd64 machine")
	}
	testkit.NeedExec(t, "qemu-system-x86_64", "busybox", "unxz", "apt-get")
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	testkit.Check(t)
	const script = `exec 2>&1
PATH=/root$1:$PATH
echo pivot_root:
nsrun -mp -- pivot /root -- /bin/true
echo $?
echo --move:
nsrun -mpuiC -- pivot --move --tmpfs /tmp /root -- /bin/sh -c '
	[ -e /etc/os-release ] && [ ! -e /vm ] && echo root
	grep -c rootfs /proc/self/mountinfo
	echo x >/tmp/x && cat /tmp/x'
echo overlay:
nsrun -m -- overlay --lower /bin --lower /vm /run/tmp -- /bin/true
echo $?
`
	const want = `pivot_root:
pivot: pivot_root: invalid argument
pivot: hint: the present root may be an initramfs, which pivot_root(2) cannot put away: add --move
125
--move:
root
0
x
overlay:
overlay: mount overlay: no such device
overlay: hint: this kernel has no overlayfs (grep overlay /proc/filesystems): as root, modprobe overlay
125
`
	// On the way, what a machine that was killed has left: it goes, if nobody holds its lock.
	tmp := t.TempDir()
	dead, alive := leftover(t, tmp, "dead"), leftover(t, tmp, "alive")
	lock, err := os.Open(filepath.Join(alive, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	vm := exec.Command(filepath.Join(testkit.Root(), "scripts/vm"), "-i", "-t", "120", "--", "sh", "-c", script, "sh", bin)
	vm.Env = append(os.Environ(), "TMPDIR="+tmp)
	out, err := vm.CombinedOutput()
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s\nwanted:\n%s", err, out, want)
	}
	if all, err := filepath.Glob(filepath.Join(tmp, "*")); err != nil || !slices.Equal(all, []string{alive}) {
		t.Errorf("left are %q, not %s alone: %v (%s was dead)", all, alive, err, dead)
	}
}

// leftover makes the directory of a machine that was started long ago.
func leftover(t *testing.T, tmp, name string) string {
	dir := filepath.Join(tmp, "staves-vm."+name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(dir, long, long); err != nil {
		t.Fatal(err)
	}
	return dir
}
