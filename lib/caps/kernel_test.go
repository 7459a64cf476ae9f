package caps

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Privileges given up are gone, so each case is a process of its own: this test
// binary, executed again with the name of the case in this variable.
const childVar = "STAVES_TEST_CAPS"

func init() {
	if os.Getenv(childVar) != "" {
		runtime.LockOSThread()
	}
}

func TestMain(m *testing.M) {
	if name := os.Getenv(childVar); name != "" {
		if err := cases[name](); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const netRaw, chown = 13, 0

var cases = map[string]func() error{
	"read agrees with proc": readAgrees,

	"lower and read": func() error {
		before, err := Read()
		if err != nil {
			return err
		}
		want := State{
			Permitted: 1 << netRaw, Effective: 1 << netRaw, Inheritable: 1 << netRaw, Bounding: 1 << netRaw, Ambient: 1 << netRaw,
			NoNewPrivs: true, Last: before.Last,
			UID: [3]uint32{1000, 1000, 1000}, GID: [3]uint32{1001, 1001, 1001}, Groups: []uint32{5, 6},
		}
		ids := IDs{UID: 1000, GID: 1001, Groups: []uint32{6, 5}}
		return errors.Join(
			DropBounding(before.Bounding&^want.Bounding),
			second(ids.Enter(&before, true)),
			SetThread(want.Permitted, want.Effective, want.Inheritable),
			SetAmbient(want.Ambient),
			NoNewPrivs(),
			readAgrees(),
			same(&want),
		)
	},

	"a difference is named": func() error {
		before, err := Read()
		if err != nil {
			return err
		}
		want := before
		want.Permitted &^= 1 << chown
		want.Bounding = 0
		want.NoNewPrivs = true
		want.UID[2] = 5
		want.Groups = []uint32{77}
		diff := before.Differs(&want)
		for _, part := range []string{
			"the permitted set still has cap_chown;", "the bounding set still has cap_chown,", "no_new_privs is false",
			"the user ids are [0 0 0], not [0 0 5]", "the supplementary groups are", "not 77",
		} {
			if !strings.Contains(diff, part) {
				return fmt.Errorf("%q does not say %q", diff, part)
			}
		}
		return nil
	},

	"ambient wants permitted and inheritable": func() error {
		return wantErrno(SetAmbient(1<<netRaw), unix.EPERM, "raise cap_net_raw in the ambient set")
	},

	"permitted does not grow": func() error {
		if err := SetThread(1<<chown, 1<<chown, 0); err != nil {
			return err
		}
		return wantErrno(SetThread(1<<chown|1<<netRaw, 0, 0), unix.EPERM, "capset to cap_chown,cap_net_raw")
	},

	"the bounding set wants CAP_SETPCAP": func() error {
		if err := SetThread(1<<chown, 1<<chown, 0); err != nil {
			return err
		}
		return wantErrno(DropBounding(1<<netRaw), unix.EPERM, "drop cap_net_raw from the bounding set")
	},

	"no such capability": func() error {
		return wantErrno(DropBounding(1<<63), unix.EINVAL, "drop cap_63")
	},

	"permitted is lost without keep": func() error {
		before, err := Read()
		if err != nil {
			return err
		}
		if _, err := (&IDs{UID: 1000, GID: 1000}).Enter(&before, false); err != nil {
			return err
		}
		after, err := Read()
		if err == nil && after.Permitted != 0 {
			err = fmt.Errorf("permitted is %s", after.Permitted)
		}
		return err
	},

	"groups want CAP_SETGID": func() error {
		if err := SetThread(1<<SETUID, 1<<SETUID, 0); err != nil {
			return err
		}
		now, err := Read()
		if err != nil {
			return err
		}
		_, err = (&IDs{Groups: []uint32{5}}).Enter(&now, false)
		return wantErrno(err, unix.EPERM, "setgroups to 5")
	},

	"the parent-death signal stays": func() error {
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGUSR1), 0, 0, 0); err != nil {
			return err
		}
		now, err := Read()
		if err != nil {
			return err
		}
		if _, err = (&IDs{UID: 1000, GID: 1000}).Enter(&now, true); err != nil {
			return err
		}
		var signal int32
		err = unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&signal)), 0, 0, 0)
		if err == nil && unix.Signal(signal) != unix.SIGUSR1 {
			err = fmt.Errorf("it is %d", signal)
		}
		return err
	},
}

func TestKernel(t *testing.T) {
	for name := range cases {
		t.Run(name, func(t *testing.T) {
			if os.Geteuid() != 0 && name != "read agrees with proc" {
				t.Skip("not root: nothing to give up")
			}
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), childVar+"="+name)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// readAgrees compares Read with what /proc shows of this thread.
func readAgrees() error {
	is, err := Read()
	if err != nil {
		return err
	}
	text, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return err
	}
	status := map[string][]string{}
	for line := range strings.SplitSeq(string(text), "\n") {
		name, value, _ := strings.Cut(line, ":")
		status[name] = strings.Fields(value)
	}
	for name, set := range map[string]Set{
		"CapInh": is.Inheritable, "CapPrm": is.Permitted, "CapEff": is.Effective, "CapBnd": is.Bounding, "CapAmb": is.Ambient,
	} {
		if want := fmt.Sprintf("%016x", uint64(set)); status[name][0] != want {
			err = errors.Join(err, fmt.Errorf("%s is %s, read as %s", name, status[name], want))
		}
	}
	for name, ids := range map[string][]uint32{"Uid": is.UID[:], "Gid": is.GID[:], "Groups": is.Groups} {
		var text []string
		for _, id := range ids {
			text = append(text, strconv.Itoa(int(id)))
		}
		if have := status[name][:min(3, len(status[name]))]; !reflect.DeepEqual(have, text) && len(have)+len(text) > 0 {
			err = errors.Join(err, fmt.Errorf("%s is %s, read as %s", name, status[name], text))
		}
	}
	if nnp := status["NoNewPrivs"][0] == "1"; nnp != is.NoNewPrivs {
		err = errors.Join(err, fmt.Errorf("NoNewPrivs is %v, read as %v", nnp, is.NoNewPrivs))
	}
	last, readErr := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if readErr == nil && strings.TrimSpace(string(last)) != strconv.Itoa(is.Last) {
		err = errors.Join(err, fmt.Errorf("cap_last_cap is %s, read as %d", last, is.Last))
	}
	return err
}

func same(want *State) error {
	is, err := Read()
	if diff := is.Differs(want); err == nil && diff != "" {
		err = errors.New(diff)
	}
	return err
}

func wantErrno(err error, errno unix.Errno, text string) error {
	if !errors.Is(err, errno) || !strings.HasPrefix(err.Error(), text) {
		return fmt.Errorf("error %q, want %q and %v", err, text, errno)
	}
	return nil
}

func second[T any](_ T, err error) error { return err }
