package nsrun

import (
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/entry"
	"staves/lib/ns"
)

// maps are the id maps of a new user namespace.
type maps struct {
	rootUser bool
}

func (m *maps) options(fs *pflag.FlagSet) {
	fs.BoolVarP(&m.rootUser, "map-root-user", "r", false, "map root in the user namespace to the present user; implies --user")
}

func (m *maps) check(*plan) error { return nil }

// flags: a map is one of a new user namespace.
func (m *maps) flags(p *plan) uintptr {
	if m.root(p) {
		return unix.CLONE_NEWUSER
	}
	return 0
}

// root tells whether the process goes on as root: if so asked, or if an ordinary user
// asked for nothing.
func (m *maps) root(p *plan) bool {
	return m.rootUser || p.bare && p.chain.Euid(p.link) != 0
}

func (m *maps) write(p *plan) {
	if !m.root(p) {
		return
	}
	p.raw("write /proc/self/uid_map", "without a map no id inside means anything outside", "user_namespaces(7)", func(b *entry.Builder) {
		ns.MapRoot(b, p.chain.Euid(p.link), p.chain.Egid(p.link))
	})
}
