package nsrun

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"staves/lib/diag"
	"staves/lib/ns"
)

// target is the value of one --join.
type target struct {
	pid   int
	inode uint64   // of its pidfd, 0 for any
	kinds []string // of the process
	all   bool     // all that differ
	some  bool     // the process may turn out to have none that differs

	kind *ns.Kind // of a namespace by itself
	file string
	id   uint64
}

// parseTarget reads PID[:INODE][/NS,...], NS=FILE or NS=:ID.
func parseTarget(text string) (t target, err error) {
	if name, file, ok := strings.Cut(text, "="); ok {
		if t.kind, err = kindOf(name); err != nil {
			return t, err
		}
		if id, ok := strings.CutPrefix(file, ":"); ok {
			t.id, err = strconv.ParseUint(id, 10, 64)
			if err != nil || t.id == 0 {
				return t, fmt.Errorf("%q is no id of a namespace; a file of that name is ./%s", file, file)
			}
		} else if t.file = file; file == "" {
			return t, fmt.Errorf("%q: the file's name is empty", text)
		}
		return t, nil
	}
	pid, names, some := strings.Cut(text, "/")
	if t.pid, t.inode, err = parsePID(pid); err != nil {
		return t, diag.WithHint(err, "it is --join PID[:INODE][/NS,...], or --join NS=FILE")
	}
	if !some {
		t.all = true
		return t, nil
	}
	for _, name := range strings.Split(names, ",") {
		k, err := kindOf(name)
		if err != nil {
			return t, err
		}
		t.kinds = append(t.kinds, k.Long)
	}
	return t, nil
}

// parsePID reads PID or PID:INODE.
func parsePID(text string) (pid int, inode uint64, err error) {
	number, serial, hasInode := strings.Cut(text, ":")
	if pid, err = strconv.Atoi(number); err != nil || pid <= 0 {
		return 0, 0, fmt.Errorf("%q is no process id", number)
	}
	if hasInode {
		if inode, err = strconv.ParseUint(serial, 10, 64); err != nil || inode == 0 {
			return 0, 0, fmt.Errorf("%q is no inode number of a process", serial)
		}
	}
	return pid, inode, nil
}

// kindOf finds the kind of namespace of a name: that of the option, of the kernel's file,
// or of its constant.
func kindOf(name string) (*ns.Kind, error) {
	var names []string
	for i := range ns.Kinds {
		k := &ns.Kinds[i]
		if name == k.Long || name == k.Own() {
			return k, nil
		}
		names = append(names, k.Own())
	}
	return nil, fmt.Errorf("%q is no namespace: there are %s", name, strings.Join(names, ", "))
}

func (t *target) names(kind *ns.Kind) bool { return slices.Contains(t.kinds, kind.Long) }
