package layer

import "golang.org/x/sys/unix"

// A Kind says what became of a path.
type Kind string

// The kinds of change.
const (
	Added   Kind = "added" // or put in the place of something else
	Changed Kind = "changed"
	Deleted Kind = "deleted"
)

// A Change is one path that an upper directory says something about.
type Change struct {
	Kind Kind
	Path string // begins with "/"
	Type string // "directory", "file", "link", "device", "pipe", "socket"; "" if deleted
	// Hides tells of a directory that nothing of what lies beneath it is in view.
	Hides bool
}

var types = map[uint32]string{
	unix.S_IFDIR: "directory", unix.S_IFREG: "file", unix.S_IFLNK: "link", unix.S_IFCHR: "device",
	unix.S_IFBLK: "device", unix.S_IFIFO: "pipe", unix.S_IFSOCK: "socket",
}

// Changes calls f for every change in an overlay's upper directory, in the order of the
// paths. A directory is reported as changed when something in it is.
//
// A new hard link to a file that was there counts as changed: what was there before is known by the attribute overlay.origin, which the kernel gives
// to files it copies up; trusted.* attributes are seen by root alone.
func Changes(upper string, f func(Change) error) error {
	return walk(upper, func(n *node) error {
		c := Change{Kind: Added, Path: "/" + n.path, Type: types[n.stat.Mode&unix.S_IFMT]}
		gone, err := n.whiteout()
		if err != nil {
			return err
		}
		if gone {
			c.Kind, c.Type = Deleted, ""
			return f(c)
		}
		if _, copied, err := n.mark("origin"); err != nil {
			return err
		} else if copied {
			c.Kind = Changed
		}
		if n.isDir() {
			opaque, _, err := n.mark("opaque")
			if err != nil {
				return err
			}
			c.Hides = opaque == "y"
		}
		return f(c)
	})
}
