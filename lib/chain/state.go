package chain

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
	"staves/lib/probe"
)

// State is what the chain carries from one life, or one process, to the next.
type State struct {
	// Done counts the steps of the chain that have been taken.
	Done int
	// Euid and Egid are the effective ids that the chain began with.
	Euid, Egid int
	// Root is a directory tree that overlay left for pivot and mkdev: the path of a
	// mount in this mount namespace.
	Root string
	// Net is the address that netbr gave to the network namespace, and behind commas the
	// facts of what else it provides ([Hosts], [Resolv]).
	Net string
	// Listen are sockets that the payload is to find at descriptor 3 and on.
	Listen []int
	// Mnt tells that this process's mount namespace was made by a stage.
	Mnt bool
	// Env is the environment for the payload, nil for the caller's.
	Env []string
	// Clean are the words of a clean-up that is due if no waiter takes charge of it: a
	// tool's name, then what its Clean is given.
	Clean []string
	// Plan are the words before those of this process, from a pipeline: tools, each with
	// its words and dashes, and this process's tool last; none where there is no pipeline.
	Plan []string

	kept [][2]string
}

// Keep has value found under key in a later life of the chain: what was read before the
// root changed, say.
func (s *State) Keep(key, value string) { s.kept = append(s.kept, [2]string{key, value}) }

// Kept returns what was kept under key.
func (s *State) Kept(key string) (value string, ok bool) {
	for _, k := range s.kept {
		if k[0] == key {
			return k[1], true
		}
	}
	return "", false
}

// Variables in which one stage tells a later one, through exec, what it left.
const (
	rootVar = "STAVES_ROOT"
	netVar  = "STAVES_NET"
	mntVar  = "STAVES_MNT"
)

// firstState reads what stages before this process have left.
func firstState() State {
	s := State{Euid: unix.Geteuid(), Egid: unix.Getegid()}
	var pid, fds string
	for _, e := range entry.Environ() {
		switch name, value, _ := strings.Cut(e, "="); name {
		case rootVar:
			s.Root = value
		case netVar:
			// A variable goes where no namespace does, with sudo -E or a terminal
			// multiplexer; believed there, it would leave a container on the host's network.
			if ip, _, _ := strings.Cut(value, "/"); probe.HasAddress(ip) {
				s.Net = value
			}
		case mntVar:
			s.Mnt = value != "" && value == mntID()
		case listenPidVar:
			pid = value
		case listenFDsVar:
			fds = value
		}
	}
	s.Listen = inherited(pid, fds)
	return s
}

// env is the environment for the next program: the caller's, with what is left for a
// later stage.
func (s *State) env(stage bool) []string {
	var env []string
	given := s.Env
	if given == nil {
		given = entry.Environ()
	}
	for _, e := range given {
		switch name, _, _ := strings.Cut(e, "="); name {
		case rootVar, netVar, mntVar:
		default:
			env = append(env, e)
		}
	}
	if s.Root != "" {
		env = append(env, rootVar+"="+s.Root)
	}
	if s.Net != "" {
		env = append(env, netVar+"="+s.Net)
	}
	if stage && s.Mnt {
		if id := mntID(); id != "" {
			env = append(env, mntVar+"="+id)
		}
	}
	return s.listenEnv(env)
}

// mntID identifies this thread's mount namespace and this process, "" if /proc does not
// tell. A stage that is executed by its path is the same process; whoever else comes to see
// the variable, such as the children of a script that is called like a stage, is not.
func mntID() string {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/mnt", &st); err != nil {
		return ""
	}
	return fmt.Sprintf("%x:%d:%d", st.Dev, st.Ino, unix.Getpid())
}

// The state is text: strings, each ended by a NUL, which no word and no path holds (what
// is kept may: it is a list of what stands between them); a list has its length before it.
func (c *Chain) encode() string {
	s := &c.State
	words := []string{
		strconv.Itoa(s.Done), strconv.Itoa(s.Euid), strconv.Itoa(s.Egid), s.Root, s.Net, strconv.FormatBool(s.Mnt),
		strconv.Itoa(len(c.facts)),
	}
	for _, f := range c.facts {
		words = append(words, strconv.Itoa(f.place), string(f.what))
	}
	words = append(words, strconv.Itoa(len(c.ids)))
	for _, i := range c.ids {
		words = append(words, strconv.Itoa(i.place), strconv.Itoa(i.uid), strconv.Itoa(i.gid))
	}
	words = append(words, strconv.Itoa(len(s.Listen)))
	for _, fd := range s.Listen {
		words = append(words, strconv.Itoa(fd))
	}
	words = append(words, strconv.Itoa(len(s.Clean)))
	words = append(words, s.Clean...)
	words = append(words, strconv.Itoa(len(s.Plan)))
	words = append(words, s.Plan...)
	words = append(words, strconv.FormatBool(s.Env != nil), strconv.Itoa(len(s.Env)))
	words = append(words, s.Env...)
	words = append(words, strconv.Itoa(len(s.kept)))
	for _, k := range s.kept {
		parts := strings.Split(k[1], "\x00")
		words = append(words, k[0], strconv.Itoa(len(parts)))
		words = append(words, parts...)
	}
	return strings.Join(words, "\x00") + "\x00"
}

var errState = errors.New("the chain's state was damaged on the way")

func (c *Chain) decode(text string) error {
	words := strings.Split(text, "\x00")
	bad := words[len(words)-1] != ""
	words = words[:len(words)-1]
	next := func() (w string) {
		if len(words) == 0 {
			bad = true
			return ""
		}
		w, words = words[0], words[1:]
		return w
	}
	number := func() int {
		n, err := strconv.Atoi(next())
		bad = bad || err != nil
		return n
	}
	s := &c.State
	s.Done, s.Euid, s.Egid = number(), number(), number()
	s.Root, s.Net, s.Mnt = next(), next(), next() == "true"
	for n := number(); n > 0 && !bad; n-- {
		place := number()
		c.facts = append(c.facts, fact{Fact(next()), place})
	}
	for n := number(); n > 0 && !bad; n-- {
		c.ids = append(c.ids, ids{number(), number(), number()})
	}
	for n := number(); n > 0 && !bad; n-- {
		s.Listen = append(s.Listen, number())
	}
	for n := number(); n > 0 && !bad; n-- {
		s.Clean = append(s.Clean, next())
	}
	for n := number(); n > 0 && !bad; n-- {
		s.Plan = append(s.Plan, next())
	}
	if next() == "true" {
		s.Env = []string{}
	}
	for n := number(); n > 0 && !bad; n-- {
		s.Env = append(s.Env, next())
	}
	for n := number(); n > 0 && !bad; n-- {
		key := next()
		var parts []string
		for n := number(); n > 0 && !bad; n-- {
			parts = append(parts, next())
		}
		s.Keep(key, strings.Join(parts, "\x00"))
	}
	if bad || len(words) > 0 {
		return errState
	}
	return nil
}
