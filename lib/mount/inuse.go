package mount

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/probe"
)

// Points lists where something is mounted, each path once. None has a link in it.
func Points() ([]string, error) {
	text, err := probe.ReadProc("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(text) {
		_, at, _ := mountLine(line)
		all = append(all, at)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// UpperInUse tells whether an overlay takes its changes in the directory upper, an absolute
// path. It names a process in whose mount namespace that is mounted; 0 stands for one that
// cannot be seen from here. Without CAP_SYS_ADMIN it is known only of mounts that this user
// may look at: those of other users, and those whose paths lead nowhere any more, are not.
func UpperInUse(upper, work string) (pid int, used bool) {
	var st unix.Stat_t
	if unix.Stat(upper, &st) != nil {
		return 0, false
	}
	seen := map[string]bool{}
	names, err := probe.ProcNames("/proc")
	if err != nil {
		return 0, lockedUpper(upper, work)
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		dir := "/proc/" + name
		ns, err := os.Readlink(dir + "/ns/mnt")
		if err != nil || seen[ns] {
			continue // it has ended, or is another user's
		}
		seen[ns] = true
		text, err := probe.ReadProc(dir + "/mountinfo")
		if err != nil {
			continue
		}
		for line := range strings.Lines(text) {
			// What it was called there may have another name here, and its own may lead
			// elsewhere by now: it is the same directory that counts.
			for _, path := range upperOf(line) {
				if path == upper || isSame(path, &st) || isSame(dir+"/root"+path, &st) {
					return pid, true
				}
			}
		}
	}
	return 0, lockedUpper(upper, work)
}

// upperOf is what the upper directory of an overlay may be called, by its line of
// mountinfo: whoever mounted it may have had to write two backslashes for one.
func upperOf(line string) []string {
	_, _, fstype := mountLine(line)
	f := strings.Fields(line)
	if fstype != "overlay" || len(f) == 0 {
		return nil
	}
	for _, o := range strings.Split(f[len(f)-1], ",") {
		if path, ok := strings.CutPrefix(o, "upperdir="); ok && strings.HasPrefix(path, "/") {
			path = probe.Unescape(path)
			return []string{path, strings.ReplaceAll(path, `\\`, `\`)}
		}
	}
	return nil
}

func isSame(path string, st *unix.Stat_t) bool {
	var other unix.Stat_t
	return unix.Stat(path, &other) == nil && other.Dev == st.Dev && other.Ino == st.Ino
}

// lockedUpper asks the kernel: while one overlay has an upper directory, another that
// wants it for itself (index=on) gets EBUSY, before anything else is found wrong with it.
func lockedUpper(upper, work string) bool {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return false // without privileges
	}
	defer unix.Close(fs)
	for _, o := range []Option{{"lowerdir", "/"}, {"index", "on"}} {
		if unix.FsconfigSetString(fs, o.Key, o.Value) != nil {
			return false
		}
	}
	for _, o := range []Option{{"upperdir", upper}, {"workdir", work}} {
		if path := escaped(o.Value); len(path) <= maxValue {
			err = unix.FsconfigSetString(fs, o.Key, path)
		} else {
			err = setDirectory(fs, o)
		}
		if err != nil {
			return false
		}
	}
	return errors.Is(unix.FsconfigCreate(fs), unix.EBUSY)
}

// setDirectory names a directory by a descriptor, where its path is too long.
func setDirectory(fs int, o Option) error {
	dir, err := unix.Open(o.Value, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return unix.FsconfigSetFd(fs, o.Key, dir)
}
