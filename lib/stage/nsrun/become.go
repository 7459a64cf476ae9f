package nsrun

import (
	"fmt"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/caps"
	"staves/lib/chain"
	"staves/lib/entry"
)

// become is who the payload runs as.
type become struct {
	uid, gid string // names or numbers; follow for those of the process that is joined
	preserve bool
	keepCaps bool
}

// follow stands for what the process that is joined has.
const follow = "follow"

func (w *become) options(fs *pflag.FlagSet) {
	fs.StringVarP(&w.uid, "setuid", "S", "", "become `USER`, as last step; follow: the user of the joined process")
	fs.StringVarP(&w.gid, "setgid", "G", "", "become `GROUP`, with no other groups; follow: the group of the joined process")
	fs.BoolFunc("follow-ids", "--setuid follow --setgid follow", func(string) error {
		w.uid, w.gid = follow, follow
		return nil
	})
	fs.BoolVar(&w.preserve, "preserve-credentials", false, "do not become root in a joined user namespace")
	fs.BoolVar(&w.keepCaps, "keep-caps", false, "keep the capabilities that the user namespace gives, whoever NEXT runs as")
}

func (w *become) check(p *plan) error {
	for name, value := range map[string]string{"setuid": w.uid, "setgid": w.gid} {
		if p.given(name) && value == "" {
			return fmt.Errorf("--%s: the value is empty", name)
		}
		if value == follow && !p.join.process() {
			return fmt.Errorf("--%s follow is about a joined process: add --join PID", name)
		}
	}
	if _, err := lookUp("setuid", w.number(w.uid), caps.Files.UID); err != nil {
		return err
	}
	_, err := lookUp("setgid", w.number(w.gid), caps.Files.GID)
	return err
}

func (w *become) number(text string) string {
	if text == follow {
		return ""
	}
	return text
}

// ids are those to take, nil for the present ones.
func (w *become) ids(p *plan) (uid, gid *uint32) {
	uid, _ = lookUp("", w.number(w.uid), caps.Files.UID) // check has seen the errors
	gid, _ = lookUp("", w.number(w.gid), caps.Files.GID)
	if w.uid == follow {
		uid = &p.join.found.uid
	}
	if w.gid == follow {
		gid = &p.join.found.gid
	}
	if p.join.makesRoot(p) {
		root := uint32(0)
		if uid == nil {
			uid = &root
		}
		if gid == nil {
			gid = &root
		}
	}
	return uid, gid
}

func (w *become) take(p *plan) {
	if w.uid != "" || w.gid != "" || p.join.makesRoot(p) {
		p.step(chain.Step{
			Call: "setgroups(), setresgid(), setresuid()", Why: "groups first, the user last, as each takes away the right to the one before", Man: "credentials(7)",
			Write: func(b *entry.Builder) error {
				uid, gid := w.ids(p)
				enterIDs(b, uid, gid, w.keepCaps, w.gid == "" && !p.exact)
				return nil
			},
		})
	}
	if w.keepCaps && (p.makes(unix.CLONE_NEWUSER) || p.joins(unix.CLONE_NEWUSER)) {
		p.step(chain.Step{
			Call: "capset(), prctl(PR_CAP_AMBIENT_RAISE)", Why: "an execve takes the capabilities of whoever is not root, but for ambient ones", Man: "capabilities(7)",
			Write: func(b *entry.Builder) error {
				now, err := caps.Read()
				if err != nil {
					return err
				}
				all := now.Supported() // as its first process has them, in any user namespace
				caps.SetThread(b, all, all, all)
				caps.SetAmbient(b, all)
				return nil
			},
		})
	}
}

// enterIDs changes ids. With a group there are no others; where setgroups(2) is denied, they
// may stay if lax says so.
func enterIDs(b *entry.Builder, uid, gid *uint32, keepCaps, lax bool) {
	caps.KeepDeathSignal(b, func() {
		if keepCaps {
			caps.SetKeepCaps(b, 1)
		}
		if gid != nil {
			dropGroups(b, lax)
			id := uintptr(*gid)
			b.Do(fmt.Sprintf("setresgid to %d", id), unix.SYS_SETRESGID, id, id, id)
		}
		if uid != nil {
			id := uintptr(*uid)
			b.Do(fmt.Sprintf("setresuid to %d", id), unix.SYS_SETRESUID, id, id, id)
		}
		if keepCaps {
			caps.SetKeepCaps(b, 0)
		}
	})
}

// dropGroups takes all supplementary groups away. Where that is denied, it is all the same if
// there is none.
func dropGroups(b *entry.Builder, lax bool) {
	const what = "drop all groups"
	if lax {
		b.Try(what, unix.EPERM, unix.SYS_SETGROUPS, 0, 0)
		return
	}
	b.If(what, unix.EPERM, b.Forget, func() {
		b.Want(what, 0, unix.SYS_GETGROUPS, 0, 0)
	}, unix.SYS_SETGROUPS, 0, 0)
}
