package nsrun

import (
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/ns"
)

// kinds are the namespaces to make.
type kinds struct {
	on [8]bool // one for each of ns.Kinds
}

func (k *kinds) options(fs *pflag.FlagSet) {
	for i, kind := range ns.Kinds {
		fs.BoolVarP(&k.on[i], kind.Long, kind.Short, false, kind.Usage)
	}
}

func (k *kinds) check(*plan) error { return nil }

// flags are the namespaces that were asked for; without any option those of a container.
func (k *kinds) flags(p *plan) uintptr {
	var f uintptr
	for i, kind := range ns.Kinds {
		if k.on[i] {
			f |= kind.Flag
		}
	}
	if p.bare {
		f = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWPID | unix.CLONE_NEWCGROUP
		if !p.chain.Has(chain.NetNS, p.link) {
			f |= unix.CLONE_NEWNET
		}
	}
	return f
}
