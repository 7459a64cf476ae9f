package pivot

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"staves/lib/entry"
	"staves/lib/mount"
)

// cover is what programs shall not see, or not change.
type cover struct{ mask, readOnly []string }

func (c *cover) options(fs *pflag.FlagSet) {
	fs.StringArrayVar(&c.mask, "mask", nil, "hide PATH in the new root as well as the usual; none: nothing by default: `PATH|default|none`")
	fs.StringArrayVar(&c.readOnly, "ro-path", nil, "make PATH in the new root read-only as well; none: nothing by default: `PATH|default|none`")
}

func (c *cover) check(*plan) error {
	for option, paths := range map[string][]string{"mask": c.mask, "ro-path": c.readOnly} {
		for _, path := range named(paths) {
			if !strings.HasPrefix(path, "/") {
				return fmt.Errorf("--%s %s: the path begins at the new root: write /%[2]s", option, path)
			}
			if strings.Trim(path, "/") == "" {
				if option == "mask" {
					return fmt.Errorf("--mask %s: nothing would be left to run", path)
				}
				return fmt.Errorf("--%s %s: the root as a whole is for --ro", option, path)
			}
		}
	}
	return nil
}

// usual says which of the usual parts of proc and sysfs are covered.
func (c *cover) usual() mount.Cover {
	return mount.Cover{Mask: byDefault(c.mask), ReadOnly: byDefault(c.readOnly)}
}

const (
	byDefaultAll  = "default"
	byDefaultNone = "none"
)

// byDefault tells whether the last of those two words asks for the default, as none does.
func byDefault(words []string) bool {
	on := true
	for _, w := range words {
		on = w == byDefaultAll || on && w != byDefaultNone
	}
	return on
}

// named are the words that are paths.
func named(words []string) []string {
	var paths []string
	for _, w := range words {
		if w != byDefaultAll && w != byDefaultNone {
			paths = append(paths, w)
		}
	}
	return paths
}

func (c *cover) steps(p *plan) {
	for _, path := range named(c.readOnly) {
		p.do("make "+path+" read-only", "by a mount of its own, which is", "mount_setattr(2)", func(b *entry.Builder) error {
			p.root.ReadOnly(b, path)
			return nil
		})
	}
	for _, path := range named(c.mask) {
		p.do("mask "+path, "a mount of nothing lies over it", "move_mount(2)", func(b *entry.Builder) error {
			p.root.Mask(b, path)
			return nil
		})
	}
}
