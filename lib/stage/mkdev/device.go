package mkdev

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/dev"
)

// parseDevice reads PATH[:/dev/NAME][:MODE]. The mode is that of the host's node where
// none is written.
func parseDevice(arg string) (n dev.Node, mode bool, err error) {
	f := strings.Split(arg, ":")
	n.Host = f[0]
	name := path.Join("/dev", path.Base(n.Host))
	if strings.HasPrefix(path.Clean(n.Host), "/dev/") {
		name = path.Clean(n.Host)
	}
	words := f[1:]
	if len(words) > 0 && strings.HasPrefix(words[0], "/") {
		name, words = path.Clean(words[0]), words[1:]
	}
	if len(words) == 1 {
		bits, err := strconv.ParseUint(words[0], 8, 32)
		if err != nil || bits > 0o777 {
			return n, false, fmt.Errorf("%q is no mode: octal digits, up to 777", words[0])
		}
		n.Mode, mode, words = uint32(bits), true, nil
	}
	below, ok := strings.CutPrefix(name, "/dev/")
	n.Name = below
	top, _, _ := strings.Cut(below, "/")
	switch {
	case n.Host == "" || len(words) > 0:
		return n, mode, errors.New("write PATH, PATH:MODE or PATH:/dev/NAME:MODE")
	case !ok:
		return n, mode, fmt.Errorf("%s does not lie in /dev", name)
	case dev.Taken(top):
		return n, mode, fmt.Errorf("/dev/%s is there already", top)
	}
	return n, mode, nil
}

// more reads the values of --device and looks at the nodes of the host.
func (s *stage) more(bind bool) ([]dev.Node, error) {
	var all []dev.Node
	for _, arg := range s.devices {
		n, err := device(arg, bind)
		if err != nil {
			return nil, fmt.Errorf("--device %s: %w", arg, err)
		}
		clash := func(o dev.Node) bool {
			return o.Name == n.Name || strings.HasPrefix(o.Name, n.Name+"/") || strings.HasPrefix(n.Name, o.Name+"/")
		}
		if slices.ContainsFunc(all, clash) {
			return nil, fmt.Errorf("--device %s: /dev/%s is another device already", arg, n.Name)
		}
		all = append(all, n)
	}
	return all, nil
}

func device(arg string, bind bool) (dev.Node, error) {
	n, mode, err := parseDevice(arg)
	if err != nil {
		return n, err
	}
	if mode && bind {
		return n, errors.New("the node will be the host's own, whose mode stays: leave the mode out")
	}
	var st unix.Stat_t
	if err := unix.Stat(n.Host, &st); err != nil {
		return n, chain.PathError("use", n.Host, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
	case unix.S_IFBLK:
		n.Block = true
	default:
		return n, fmt.Errorf("%s is no device", n.Host)
	}
	n.Major, n.Minor, n.UID, n.GID = unix.Major(st.Rdev), unix.Minor(st.Rdev), st.Uid, st.Gid
	if !mode {
		n.Mode = st.Mode & 0o777
	}
	return n, nil
}
