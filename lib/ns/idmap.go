package ns

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/probe"
)

// A Range maps Count ids: Inner, of the new user namespace, and those after it, to Outer,
// of the one around it, and those after it (user_namespaces(7)).
type Range struct{ Inner, Outer, Count uint32 }

// ParseRange reads inner:outer:count, or outer,inner,count as older unshare(1) has it.
func ParseRange(text string) (Range, error) {
	var n [3]uint32
	sep := ":"
	if !strings.Contains(text, sep) {
		sep = ","
	}
	words := strings.Split(text, sep)
	if len(words) != 3 {
		return Range{}, fmt.Errorf("%q is not INNER:OUTER:COUNT", text)
	}
	for i, w := range words {
		v, err := strconv.ParseUint(w, 10, 32)
		if err != nil || strings.HasPrefix(w, "+") {
			return Range{}, fmt.Errorf("%q is not INNER:OUTER:COUNT: %q is no number of 32 bits", text, w)
		}
		n[i] = uint32(v)
	}
	r := Range{n[0], n[1], n[2]}
	if sep == "," {
		r.Inner, r.Outer = n[1], n[0]
	}
	return r, r.check()
}

// check finds ids that are none: the last number of 32 bits stands for "no id".
func (r Range) check() error {
	const ids = 1<<32 - 1
	switch {
	case r.Count == 0:
		return fmt.Errorf("the range %s maps no id", r)
	case uint64(r.Inner)+uint64(r.Count) > ids, uint64(r.Outer)+uint64(r.Count) > ids:
		return fmt.Errorf("the range %s goes beyond the last id, 4294967294", r)
	}
	return nil
}

func (r Range) String() string { return fmt.Sprintf("%d:%d:%d", r.Inner, r.Outer, r.Count) }

// around returns r without the two ids of a single mapping: where one of the two lies in
// r, what is left of its ids is paired in order, and one id at the top stays without a
// partner. With grow the range takes one id more inside instead.
func (r Range) around(single Range, grow bool) []Range {
	inner, outer := uint64(single.Inner)-uint64(r.Inner), uint64(single.Outer)-uint64(r.Outer)
	n := uint64(r.Count) // places; inner and outer are the ones to leave out, if they are that low
	if outer < n || inner < n && !grow {
		n--
	}
	inner, outer = min(inner, n), min(outer, n)
	var parts []Range
	for at := uint64(0); at < n; {
		end, part := n, Range{r.Inner + uint32(at), r.Outer + uint32(at), 0}
		for _, hole := range []struct {
			at    uint64
			first *uint32
		}{{inner, &part.Inner}, {outer, &part.Outer}} {
			if hole.at <= at {
				*hole.first++
			} else {
				end = min(end, hole.at)
			}
		}
		part.Count = uint32(end - at)
		parts, at = append(parts, part), end
	}
	return parts
}

// A Map is a user namespace's map of user or of group ids.
type Map []Range

// With returns the map with a single id mapped as well; the ranges make room for it.
func (m Map) With(single Range) Map {
	with := Map{single}
	for _, r := range m {
		with = append(with, r.around(single, false)...)
	}
	return with
}

// Blocks maps blocks of outer ids, one behind the other, to the inner ids from 0 on. A
// single id, where there is one, is mapped as well; no other is left out for it.
func Blocks(blocks []Block, single *Range) Map {
	var m Map
	next := uint32(0)
	if single != nil {
		m = Map{*single}
	}
	for _, b := range blocks {
		parts := []Range{{next, b.First, b.Count}}
		if single != nil {
			if next == single.Inner {
				parts[0].Inner++
			}
			parts = parts[0].around(*single, true)
		}
		if len(parts) > 0 {
			last := parts[len(parts)-1]
			next = last.Inner + last.Count
		}
		m = append(m, parts...)
	}
	return m
}

// Limits of a map (user_namespaces(7)): lines, since Linux 4.15, and one write(2) of less
// than a page.
const (
	maxLines = 340
	maxText  = 4096
)

// Check finds what the kernel would refuse without saying why.
func (m Map) Check() error {
	for i, r := range m {
		if err := r.check(); err != nil {
			return err
		}
		for _, q := range m[:i] {
			if overlap(r.Inner, r.Count, q.Inner, q.Count) || overlap(r.Outer, r.Count, q.Outer, q.Count) {
				return fmt.Errorf("the ranges %s and %s overlap", q, r)
			}
		}
	}
	if len(m) > maxLines || len(m.Text()) >= maxText {
		return fmt.Errorf("%d ranges: the kernel takes %d, in less than %d bytes", len(m), maxLines, maxText)
	}
	return nil
}

func overlap(a, m, b, n uint32) bool {
	return uint64(a) < uint64(b)+uint64(n) && uint64(b) < uint64(a)+uint64(m)
}

// Text is the map as the kernel wants it written.
func (m Map) Text() string {
	var b strings.Builder
	for _, r := range m {
		fmt.Fprintf(&b, "%d %d %d\n", r.Inner, r.Outer, r.Count)
	}
	return b.String()
}

// Inner returns what an outer id is inside.
func (m Map) Inner(outer uint32) (inner uint32, ok bool) {
	for _, r := range m {
		if outer-r.Outer < r.Count && outer >= r.Outer {
			return r.Inner + (outer - r.Outer), true
		}
	}
	return 0, false
}

// Outer returns what an inner id is outside.
func (m Map) Outer(inner uint32) (outer uint32, ok bool) {
	for _, r := range m {
		if inner >= r.Inner && inner-r.Inner < r.Count {
			return r.Outer + (inner - r.Inner), true
		}
	}
	return 0, false
}

// ReadMap reads a map: the file uid_map or gid_map of a process.
func ReadMap(path string) (Map, error) {
	text, err := probe.ReadProc(path)
	if err != nil {
		return nil, err
	}
	var m Map
	for line := range strings.Lines(text) {
		var r Range
		if _, err := fmt.Sscan(line, &r.Inner, &r.Outer, &r.Count); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		m = append(m, r)
	}
	return m, nil
}

// Identity maps the inner ids of m, those that there are in its namespace, to themselves:
// for a namespace within it that has them all.
func (m Map) Identity() Map {
	same := make(Map, len(m))
	for i, r := range m {
		same[i] = Range{r.Inner, r.Inner, r.Count}
	}
	return same
}

// A Block is some ids one behind the other: a line of subuid(5).
type Block struct{ First, Count uint32 }

// NoSubIDsError says that there is no line for a user in a file.
type NoSubIDsError struct {
	File, User string
	// Free is where a block could begin that nobody has yet.
	Free uint32
}

func (e *NoSubIDsError) Error() string {
	return fmt.Sprintf("no line for the user %s in %s", e.User, e.File)
}

// SubIDs reads a user's lines, of the name or of the number, in subuid(5) or subgid(5):
// groups too go by the user.
func SubIDs(file, name string, uid uint32) ([]Block, error) {
	text, err := probe.ReadProc(file)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, err
	}
	number := strconv.FormatUint(uint64(uid), 10)
	var blocks []Block
	free := uint64(100000)
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 {
			continue
		}
		first, err1 := strconv.ParseUint(f[1], 10, 32)
		count, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 != nil || err2 != nil || count == 0 {
			continue // newuidmap(1) does not count it either
		}
		free = max(free, first+count)
		if f[0] == number || f[0] == name && name != "" {
			blocks = append(blocks, Block{uint32(first), uint32(count)})
		}
	}
	if blocks == nil {
		if name == "" {
			name = number
		}
		return nil, &NoSubIDsError{File: file, User: name, Free: uint32(free)}
	}
	return blocks, nil
}

// Beyond returns the first ids of m's outer ones that are neither in blocks, which are
// what a user's tool may map, nor the user's own id mapped by itself.
func (m Map) Beyond(blocks []Block, own uint32) (missing Block, ok bool) {
	for _, r := range m {
		if r.Count == 1 && r.Outer == own {
			continue
		}
		at, end := uint64(r.Outer), uint64(r.Outer)+uint64(r.Count)
		for at < end {
			next := at
			for _, b := range blocks {
				if first, last := uint64(b.First), uint64(b.First)+uint64(b.Count); first <= at && at < last {
					next = max(next, last)
				}
			}
			if next > at {
				at = next
				continue
			}
			for _, b := range blocks {
				if first := uint64(b.First); first > at {
					end = min(end, first)
				}
			}
			return Block{uint32(at), uint32(end - at)}, true
		}
	}
	return Block{}, false
}
