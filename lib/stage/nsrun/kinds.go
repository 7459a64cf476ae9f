package nsrun

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/entry"
	"staves/lib/ns"
)

// kinds are the namespaces to make, and the files to keep them by.
type kinds struct {
	on   [8]bool   // one for each of ns.Kinds
	file [8]string // "" for none
}

func (k *kinds) options(fs *pflag.FlagSet) {
	for i, kind := range ns.Kinds {
		fs.BoolFuncP(kind.Long, kind.Short, kind.Usage, func(value string) error {
			if value == "true" { // what stands for no value; the file of that name is ./true
				value = ""
			} else if value == "" {
				return errors.New("the file's name is empty")
			}
			k.on[i], k.file[i] = true, value
			return nil
		})
	}
}

func (k *kinds) check(p *plan) error {
	for _, keep := range k.kept() {
		var st unix.Stat_t
		err := unix.Lstat(keep.File, &st)
		switch {
		case err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG && st.Mode&unix.S_IFMT != unix.S_IFSOCK:
			return fmt.Errorf("--%s=%s: it is no regular file", keep.Kind.Long, keep.File)
		case err != nil && !errors.Is(err, unix.ENOENT):
			return fmt.Errorf("--%s=%s: %w", keep.Kind.Long, keep.File, err)
		}
		if keep.Kind.Flag != unix.CLONE_NEWNS {
			continue
		}
		if mount, shared := ns.Propagates(keep.File); shared {
			return diag.WithHint(fmt.Errorf("--mount=%s: %s is a shared mount (findmnt -o TARGET,PROPAGATION %[2]s), which would show the namespace within itself: %w", keep.File, mount, unix.EINVAL),
				"keep it in a directory that is a private mount: mount --bind DIR DIR; mount --make-private DIR")
		}
	}
	return nil
}

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

// kept are the namespaces that are to outlive the payload.
func (k *kinds) kept() (keeps []ns.Keep) {
	for i := range ns.Kinds {
		if k.file[i] != "" {
			keeps = append(keeps, ns.Keep{Kind: &ns.Kinds[i], File: k.file[i]})
		}
	}
	return keeps
}

// keep mounts their files, when everything else is done: who sees a file may count on what
// it stands for, and what fails before leaves none.
func (k *kinds) keep(p *plan) {
	keeps := k.kept()
	if keeps == nil {
		return
	}
	p.raw("mount(MS_BIND) of /proc/self/ns/*", "a mount keeps a namespace, whatever becomes of its processes", "namespaces(7)", func(b *entry.Builder) {
		b.Outside(p.helper, "keep namespaces", func() { ns.KeepAll(b, p.helper.Target, keeps) })
	})
}

// keepsMounts tells whether a mount namespace is kept.
func (k *kinds) keepsMounts() bool {
	return slices.ContainsFunc(k.kept(), func(keep ns.Keep) bool { return keep.Kind.Flag == unix.CLONE_NEWNS })
}

// renew makes a mount namespace that can be kept, before an init and mounts are in it.
func (k *kinds) renew(p *plan) {
	if !k.keepsMounts() {
		return
	}
	p.raw("unshare(CLONE_NEWNS), if need be", "one that is taken for an older one cannot be kept: it is made again on another processor", "namespaces(7)", func(b *entry.Builder) {
		p.older.Renew(b, p.helper)
	})
}
