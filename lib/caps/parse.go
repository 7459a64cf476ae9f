package caps

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A List is a list of capabilities as a user writes it.
type List struct {
	Named Set  // those that were named
	All   bool // the word "all" was among them
}

// ParseList reads names with commas between, in any spelling (cap_sys_admin,
// SYS_ADMIN, 21, cap_21), and the word "all"; "none" stands alone. An empty list or
// an empty name is an error: a shell variable that was never set must not decide.
func ParseList(text string) (List, error) {
	var l List
	if strings.TrimSpace(text) == "" {
		return l, errors.New("the list is empty (write 'none')")
	}
	if strings.EqualFold(text, "none") {
		return l, nil
	}
	for name := range strings.SplitSeq(text, ",") {
		if strings.EqualFold(name, "all") {
			l.All = true
			continue
		}
		n, err := Parse(name)
		if err != nil {
			return List{}, err
		}
		l.Named |= 1 << n
	}
	return l, nil
}

// Parse returns the number of the capability called name, in any spelling, 0 to 63.
// Whether the running kernel has it, [Last] tells.
func Parse(name string) (int, error) {
	bare := strings.ToLower(name)
	bare = strings.TrimPrefix(bare, "cap_")
	if bare == "" {
		return 0, errors.New("the name of a capability is missing")
	}
	for n, s := range names {
		if s == bare {
			return n, nil
		}
	}
	if n, err := strconv.ParseUint(bare, 10, 8); err == nil && n < 64 {
		return int(n), nil
	}
	if strings.EqualFold(name, "none") {
		return 0, errors.New("'none' stands alone")
	}
	if like := similar(bare); like != "" {
		return 0, fmt.Errorf("%s is no capability; did you mean %s?", name, like)
	}
	return 0, fmt.Errorf("%s is no capability: see capabilities(7)", name)
}

// similar returns a capability's name that differs from bare by a letter, or that bare
// is the distinctive end of (admin is not: three end so), "" if there is none.
func similar(bare string) string {
	end := ""
	for n, s := range names {
		if oneEdit(bare, s) {
			return Name(n)
		}
		if strings.HasSuffix(s, "_"+bare) {
			if end != "" {
				return ""
			}
			end = Name(n)
		}
	}
	return end
}

// oneEdit tells whether a becomes b by one letter changed, added, left out, or by two
// neighbours swapped.
func oneEdit(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) != len(b) {
		return len(b) == len(a)+1 && a[i:] == b[i+1:]
	}
	return i == len(a) || a[i+1:] == b[i+1:] ||
		i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}
