package mount

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// CheckSize tells whether size is one that tmpfs(5) takes: a number, then perhaps K, M,
// G or T, or where percent is allowed %, of the memory. Zero is none: to tmpfs it means
// that there is no limit.
func CheckSize(size string, percent bool) error {
	units := "K, M, G or T"
	if percent {
		units = "K, M, G, T or %"
	}
	digits := strings.TrimRight(size, "KMGTkmgt%")
	n, err := strconv.ParseUint(digits, 10, 63)
	unit := size[len(digits):]
	if err != nil || len(unit) > 1 || unit == "%" && !percent {
		return fmt.Errorf("%q is no size: digits, then %s", size, units)
	}
	if n == 0 {
		return fmt.Errorf("%q: a size of 0 would be no limit at all", size)
	}
	shift := 10 * (strings.Index("kmgt", strings.ToLower(unit)) + 1)
	if unit != "" && unit != "%" && bits.Len64(n)+shift > 63 {
		return fmt.Errorf("%q is more than there can be", size)
	}
	return nil
}
