package nsrun

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"staves/lib/caps"
	"staves/lib/chain"
	"staves/lib/diag"
	"staves/lib/entry"
	"staves/lib/ns"
	"staves/lib/probe"
)

// maps are the id maps of a new user namespace, and what else belongs to its making.
type maps struct {
	user, group   string // what the present ids are inside; "" for nothing
	users, groups []string
	firstBlock    bool // of a user's subordinate ids only
	setgroups     string
	owner         string
}

// What stands for ranges.
const (
	autoRange   = "auto"
	subidsRange = "subids"
	allRange    = "all"
)

func (m *maps) options(fs *pflag.FlagSet) {
	fs.BoolFuncP("map-root-user", "r", "map the present user to root in the user namespace; implies --user", func(string) error {
		m.mapRoot()
		return nil
	})
	fs.BoolFuncP("map-current-user", "c", "map the present user to itself; implies --user", func(string) error {
		m.mapCurrent()
		return nil
	})
	fs.StringVar(&m.user, "map-user", "", "map the present user to `USER`; implies --user")
	fs.StringVar(&m.group, "map-group", "", "map the present group to `GROUP`; implies --user")
	fs.StringArrayVar(&m.users, "map-users", nil, "map a range of users, `INNER:OUTER:COUNT|auto|subids|all`; may be repeated; implies --user")
	fs.StringArrayVar(&m.groups, "map-groups", nil, "the same for groups, `INNER:OUTER:COUNT|auto|subids|all`")
	fs.BoolFunc("map-auto", "--map-users auto --map-groups auto: one's subordinate ids (subuid(5)), from 0 on", func(string) error {
		m.both(autoRange)
		return nil
	})
	fs.BoolFunc("map-subids", "--map-users subids --map-groups subids: the same, each to itself", func(string) error {
		m.both(subidsRange)
		return nil
	})
	fs.StringVar(&m.owner, "owner", "", "have `USER:GROUP` own the user namespace; implies --user")
	fs.StringVar(&m.setgroups, "setgroups", "", "`allow|deny` setgroups(2) in the user namespace")
}

func (m *maps) mapRoot() { m.user, m.group = "0", "0" }

func (m *maps) mapCurrent() {
	m.user, m.group = fmt.Sprint(unix.Geteuid()), fmt.Sprint(unix.Getegid())
}

func (m *maps) both(special string) {
	m.users, m.groups = append(m.users, special), append(m.groups, special)
}

// flags: a map is one of a new user namespace.
func (m *maps) flags(p *plan) uintptr {
	if p.bare && p.chain.Euid(p.link) != 0 {
		m.mapRoot()
	}
	if m.user != "" || m.group != "" || m.users != nil || m.groups != nil || m.owner != "" {
		return unix.CLONE_NEWUSER
	}
	return 0
}

func (m *maps) check(p *plan) error {
	for name, value := range map[string]string{"map-user": m.user, "map-group": m.group, "owner": m.owner, "setgroups": m.setgroups} {
		if p.given(name) && value == "" {
			return fmt.Errorf("--%s: the value is empty", name)
		}
	}
	switch {
	case m.setgroups != "" && m.setgroups != "allow" && m.setgroups != "deny":
		return fmt.Errorf("--setgroups is allow or deny, not %q", m.setgroups)
	case m.setgroups != "" && !p.makes(unix.CLONE_NEWUSER):
		return errors.New("--setgroups is about a new user namespace: add --user")
	}
	id, err := m.read(p)
	if err != nil {
		return err
	}
	if m.setgroups == "allow" && (id.groups.direct() && !m.privileged(p) || p.exact && m.group != "" && m.groups == nil) {
		return diag.WithHint(errors.New("--setgroups=allow and a map of one group exclude each other"),
			"an ordinary user maps its group only where setgroups(2) is denied; with subordinate groups newgidmap(1) does it: --map-groups auto")
	}
	return nil
}

// An axis is one map with what it takes to write it.
type axis struct {
	ns.Axis
	m      ns.Map
	own    uint32 // the maker's id
	inside uint32 // the process's id inside
	path   string // of the tool, where that is needed
}

// direct tells whether the map needs no more than the right to map one's own id.
func (a *axis) direct() bool {
	return len(a.m) == 1 && a.m[0].Count == 1 && a.m[0].Outer == a.own
}

type ids struct {
	users, groups axis
	owner         *caps.IDs
}

// read makes maps of the options, as the machine's files have it.
func (m *maps) read(p *plan) (id ids, err error) {
	uid, gid := uint32(p.chain.Euid(p.link)), uint32(p.chain.Egid(p.link))
	id.users = axis{Axis: ns.Users, own: uid}
	id.groups = axis{Axis: ns.Groups, own: gid}
	inUser, err := lookUp("map-user", m.user, caps.Files.UID)
	if err != nil {
		return id, err
	}
	inGroup, err := lookUp("map-group", m.group, caps.Files.GID)
	if err != nil {
		return id, err
	}
	if err := m.fill(&id.users, "map-users", m.users, inUser, uid); err != nil {
		return id, err
	}
	if err := m.fill(&id.groups, "map-groups", m.groups, inGroup, uid); err != nil {
		return id, err
	}
	ownUser, ownGroup := uid, gid
	if m.owner != "" {
		user, group, ok := strings.Cut(m.owner, ":")
		if !ok {
			return id, fmt.Errorf("--owner: %q is not USER:GROUP", m.owner)
		}
		id.owner = &caps.IDs{}
		if id.owner.UID, err = caps.Files.UID(user); err == nil {
			id.owner.GID, err = caps.Files.GID(group)
		}
		if err != nil {
			return id, fmt.Errorf("--owner: %w", err)
		}
		ownUser, ownGroup = id.owner.UID, id.owner.GID
	}
	id.users.inside, id.groups.inside = overflow, overflow
	if in, ok := id.users.m.Inner(ownUser); ok {
		id.users.inside = in
	}
	if in, ok := id.groups.m.Inner(ownGroup); ok {
		id.groups.inside = in
	}
	if m.privileged(p) {
		return id, nil
	}
	for _, a := range []*axis{&id.users, &id.groups} {
		if len(a.m) > 0 && !a.direct() {
			if err := a.delegate(uid); err != nil {
				return id, err
			}
		}
	}
	return id, nil
}

// overflow is what an id without a map is inside (/proc/sys/kernel/overflowuid).
const overflow = 65534

// lookUp returns the id that a name or a number stands for, nil for none.
func lookUp(option, text string, number func(string) (uint32, error)) (*uint32, error) {
	if text == "" {
		return nil, nil
	}
	id, err := number(text)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", option, err)
	}
	return &id, nil
}

// fill makes a map of ranges and of the single id of the maker, uid's own files giving what
// special ranges stand for.
func (m *maps) fill(a *axis, option string, ranges []string, inner *uint32, uid uint32) error {
	var single *ns.Range
	if inner != nil {
		single = &ns.Range{Inner: *inner, Outer: a.own, Count: 1}
	}
	var explicit ns.Map
	var blocks []ns.Block
	for _, text := range ranges {
		switch text {
		case allRange:
			around, err := ns.ReadMap("/proc/self/" + a.File)
			if err != nil {
				return fmt.Errorf("--%s all: %w", option, err)
			}
			explicit = append(explicit, around.Identity()...)
		case autoRange, subidsRange:
			account, _ := caps.Files.AccountOf(uid) // a number does without
			own, err := ns.SubIDs(a.SubIDs, account.Name, uid)
			if err != nil {
				return subIDsError(err)
			}
			if m.firstBlock {
				own = own[:1]
			}
			if text == autoRange {
				blocks = append(blocks, own...)
				continue
			}
			for _, b := range own {
				explicit = append(explicit, ns.Range{Inner: b.First, Outer: b.First, Count: b.Count})
			}
		default:
			r, err := ns.ParseRange(text)
			if err != nil {
				return fmt.Errorf("--%s: %w", option, err)
			}
			explicit = append(explicit, r)
		}
	}
	switch {
	case explicit == nil:
		a.m = ns.Blocks(blocks, single)
	case single != nil:
		a.m = append(explicit.With(*single), ns.Blocks(blocks, single)[1:]...)
	default:
		a.m = append(explicit, ns.Blocks(blocks, nil)...)
	}
	if err := a.m.Check(); err != nil {
		return fmt.Errorf("--%s: %w", option, err)
	}
	return nil
}

// subIDsError names the line that is missing.
func subIDsError(err error) error {
	var none *ns.NoSubIDsError
	if !errors.As(err, &none) {
		return err
	}
	return diag.WithHint(err, fmt.Sprintf("give the user some ids, as root: echo %s:%d:65536 >>%s", none.User, none.Free, none.File))
}

// delegate finds the tool that writes the map for an ordinary user, and sees to it that it
// will: the ids are uid's subordinate ones.
func (a *axis) delegate(uid uint32) error {
	for _, path := range chain.Candidates(a.Tool) {
		if unix.Access(path, unix.X_OK) == nil {
			a.path = path
			break
		}
	}
	if a.path == "" {
		return diag.WithHint(fmt.Errorf("find %s: %w", a.Tool, unix.ENOENT),
			"an ordinary user maps more than its own id with the help of this setuid program: install it (on Debian the package uidmap)")
	}
	if nss, err := probe.ReadProc("/etc/nsswitch.conf"); err == nil && strings.Contains(nss, "\nsubid:") {
		return nil // the lines are elsewhere
	}
	account, _ := caps.Files.AccountOf(uid) // a number does without
	own, err := ns.SubIDs(a.SubIDs, account.Name, uid)
	var none *ns.NoSubIDsError
	if err != nil && !errors.As(err, &none) {
		return err
	}
	missing, beyond := a.m.Beyond(own, a.own)
	if !beyond {
		return nil
	}
	name := account.Name
	if name == "" {
		name = fmt.Sprint(uid)
	}
	last := missing.First + (missing.Count - 1)
	hint := fmt.Sprintf("if nobody else has them, as root: echo %s:%d:%d >>%s", name, missing.First, missing.Count, a.SubIDs)
	if missing.First < machineIDs {
		hint = "root and other accounts of the machine have such ids, which no user should be given: map subordinate ones, --map-auto (subuid(5))"
	}
	return diag.WithHint(fmt.Errorf("%s does not give the user %s the ids %d to %d", a.SubIDs, name, missing.First, last), hint)
}

// machineIDs is how many ids, from 0 on, are left to accounts of the machine.
const machineIDs = 1 << 16

// privileged tells whether any map may be written.
func (m *maps) privileged(p *plan) bool { return p.chain.Euid(p.link) == 0 }

// outside tells whether it takes a helper that stays outside to write the maps.
func (m *maps) outside() bool {
	return m.users != nil || m.groups != nil || m.owner != "" || m.setgroups == "allow" && m.group != ""
}

// own makes the process the owner that the namespace is to have: it is owned by who makes it.
func (m *maps) own(p *plan) {
	if m.owner == "" {
		return
	}
	p.step(chain.Step{
		Call: "setgroups(), setresgid(), setresuid() to " + m.owner, Why: "a user namespace belongs to the user who makes it", Man: "user_namespaces(7)",
		Write: func(b *entry.Builder) error {
			id, err := m.read(p)
			if err != nil {
				return err
			}
			enterIDs(b, &id.owner.UID, &id.owner.GID, false, true)
			return nil
		},
	})
}

// write writes the maps.
func (m *maps) write(p *plan) {
	if m.setgroups == "deny" && len(m.groups) == 0 && m.group == "" {
		p.raw("write deny to /proc/self/setgroups", "so that no process inside can drop a group", "user_namespaces(7)", ns.DenySetgroups)
	}
	if m.user == "" && m.group == "" && m.users == nil && m.groups == nil {
		return
	}
	p.step(chain.Step{
		Call: "write /proc/self/uid_map", Why: "without a map no id inside means anything outside", Man: "user_namespaces(7)",
		Write: func(b *entry.Builder) error {
			id, err := m.read(p)
			if err != nil {
				return err
			}
			if len(id.groups.m) > 0 && (m.setgroups == "deny" || m.setgroups == "" && id.groups.direct()) {
				m.deny(b, p)
			}
			for _, a := range []*axis{&id.users, &id.groups} {
				m.writeAxis(b, p, a)
			}
			return nil
		},
	})
}

// deny gives up setgroups, from outside if the process may not write to its own files
// after a change of ids.
func (m *maps) deny(b *entry.Builder, p *plan) {
	if m.owner == "" {
		ns.DenySetgroups(b)
		return
	}
	b.Outside(p.helper, "deny setgroups", func() { ns.DenySetgroupsOf(b, p.helper.Target) })
}

func (m *maps) writeAxis(b *entry.Builder, p *plan, a *axis) {
	switch {
	case len(a.m) == 0:
	case p.helper == nil || a.direct() && m.owner == "" && !m.privileged(p):
		a.WriteMap(b, a.m)
	case a.path == "":
		b.Outside(p.helper, "write "+a.File, func() { a.WriteMapOf(b, p.helper.Target, a.m) })
	default:
		b.Log(p.messages.read)
		b.Outside(p.helper, "run "+a.Tool, func() { a.RunTool(b, a.path, p.helper.Target, a.m, p.messages.write) })
		b.Log(0)
	}
}
