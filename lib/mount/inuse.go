package mount

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

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

// UpperInUse returns a process in whose mount namespace an overlay with that upper
// directory, an absolute path, is mounted, or 0: as far as this user may look.
func UpperInUse(upper string) (pid int) {
	// As the overlay was told it, and as the kernel writes options in mountinfo.
	escape := strings.NewReplacer(",", `\054`, "=", `\075`, " ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`)
	option := ",upperdir=" + escape.Replace(escaped(upper)) + ","
	seen := map[string]bool{}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0
	}
	for _, dir := range dirs {
		ns, err := os.Readlink(dir + "/ns/mnt")
		if err != nil || seen[ns] {
			continue // it has ended, or is another user's
		}
		seen[ns] = true
		text, err := probe.ReadProc(dir + "/mountinfo")
		if err != nil || !strings.Contains(text, option) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			return pid
		}
	}
	return 0
}
