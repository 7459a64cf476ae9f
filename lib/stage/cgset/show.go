package cgset

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"staves/lib/cgroup"
)

// What --show prints of a group, under the names of v2 whatever version there is.
var shownLimits = []string{
	"memory.max", "memory.high", "memory.low", "memory.min", "memory.swap.max", "memory.oom.group",
	"cpu.max", "cpu.max.burst", "cpu.weight", "cpu.idle", "cpuset.cpus", "cpuset.mems",
	"pids.max", "io.max", "io.weight", "io.bfq.weight",
}

type keyValue struct{ key, value string }

// heldTo are the limits of a group that it has files for.
func heldTo(found []cgroup.Found) []keyValue {
	var list []keyValue
	for _, key := range shownLimits {
		for _, f := range found {
			if text, err := f.Read(key); err == nil {
				list = append(list, keyValue{key, text})
				break
			}
		}
	}
	return list
}

func printGroup(path string, found []cgroup.Found, json bool) error {
	pids := cgroup.Processes(found)
	limits := heldTo(found)
	use := cgroup.ReadUsage(cgroup.Dirs(found))
	list := append([]number{
		{"memory_bytes", "memory", use.Memory, humanBytes},
		{"pids", "processes and threads", use.Pids, plain},
	}, numbers(use)...)
	state, owner := stateOf(found), ownerOf(found)
	var out strings.Builder
	if json {
		fmt.Fprintf(&out, `{"name": %s, "state": %q, "owner": %q, "directories": [`, jsonString("/"+path), state, owner)
		writeList(&out, cgroup.Dirs(found), jsonString)
		out.WriteString(`], "processes": [`)
		writeList(&out, pids, strconv.Itoa)
		out.WriteString(`], "limits": {`)
		writeList(&out, limits, func(kv keyValue) string { return jsonString(kv.key) + ": " + jsonString(kv.value) })
		out.WriteString(`}, "usage": {`)
		writeList(&out, list, func(x number) string { return jsonString(x.key) + ": " + jsonNumber(x.n) })
		out.WriteString("}}\n")
		return printOut(out.String())
	}
	line := func(label, text string) { fmt.Fprintf(&out, "%-26s %s\n", label, strings.ReplaceAll(text, "\n", ", ")) }
	line("group", "/"+path)
	line("state", state+", owner: "+owner)
	for _, d := range cgroup.Dirs(found) {
		line("directory", d)
	}
	if len(pids) > 0 {
		var words []string
		for _, p := range pids {
			words = append(words, strconv.Itoa(p))
		}
		line("processes", strings.Join(words, " "))
	}
	for _, kv := range limits {
		line(kv.key, kv.value)
	}
	for _, x := range list {
		if x.n >= 0 {
			line(x.label, x.write(x.n))
		}
	}
	return printOut(out.String())
}

func stateOf(found []cgroup.Found) string {
	switch {
	case cgroup.Frozen(found):
		return "frozen"
	case len(cgroup.Processes(found)) > 0:
		return "running"
	}
	return "empty"
}

// ownerOf tells who is to remove a group: alive or dead, or nobody of ours.
func ownerOf(found []cgroup.Found) string {
	owner := "none"
	for _, f := range found {
		switch f.Owner() {
		case cgroup.Alive:
			return "alive"
		case cgroup.Dead:
			owner = "dead"
		case cgroup.Nobody:
		}
	}
	return owner
}

func printList(trees []*cgroup.Tree, json bool) error {
	groups := map[string][]cgroup.Found{}
	for _, t := range trees {
		top := cgroup.Found{Tree: t, Dir: t.Dir}
		below, err := top.Below()
		if err != nil {
			return err
		}
		for _, path := range below {
			groups[path] = append(groups[path], cgroup.Found{Tree: t, Dir: t.Dir + "/" + path})
		}
	}
	var names []string
	for path := range groups {
		names = append(names, path)
	}
	slices.Sort(names)
	var out strings.Builder
	if json {
		out.WriteString("[")
		writeList(&out, names, func(path string) string {
			found := groups[path]
			use := cgroup.ReadUsage(cgroup.Dirs(found))
			return fmt.Sprintf(`{"name": %s, "state": %q, "owner": %q, "processes": %d, "memory_bytes": %s}`,
				jsonString("/"+path), stateOf(found), ownerOf(found), len(cgroup.Processes(found)), jsonNumber(use.Memory))
		})
		out.WriteString("]\n")
		return printOut(out.String())
	}
	line := func(state, owner, processes, memory, name string) {
		fmt.Fprintf(&out, "%-8s %-6s %9s %12s %s\n", state, owner, processes, memory, name)
	}
	line("STATE", "OWNER", "PROCESSES", "MEMORY", "NAME")
	for _, path := range names {
		found := groups[path]
		memory := "-"
		if use := cgroup.ReadUsage(cgroup.Dirs(found)); use.Memory >= 0 {
			memory = humanBytes(use.Memory)
		}
		line(stateOf(found), ownerOf(found), strconv.Itoa(len(cgroup.Processes(found))), memory, oneLine("/"+path))
	}
	return printOut(out.String())
}

// oneLine keeps a name that others gave from forging a line, or acting on a terminal.
func oneLine(s string) string {
	q := strconv.Quote(s)
	if q == `"`+s+`"` {
		return s
	}
	return q
}

// writeList writes the items of a list with commas between them.
func writeList[T any](out *strings.Builder, list []T, write func(T) string) {
	for i, x := range list {
		if i > 0 {
			out.WriteString(", ")
		}
		out.WriteString(write(x))
	}
}

// jsonString is a string in JSON (RFC 8259), whatever bytes are in it.
func jsonString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ':
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r) // a byte that is no UTF-8 becomes U+FFFD
		}
	}
	b.WriteByte('"')
	return b.String()
}
