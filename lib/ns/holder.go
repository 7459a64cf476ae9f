package ns

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"staves/lib/probe"
)

// UserNamespace makes a user namespace with these maps of users and of groups, with no process
// in it, and returns a descriptor of it: what mount_setattr(2) wants for a mount whose ids
// are mapped. It takes root's capabilities. The caller has locked its goroutine to the
// thread.
func UserNamespace(users, groups Map) (fd int, err error) {
	fail := func(err error) (int, error) { return 0, fmt.Errorf("make a user namespace for a map: %w", err) }
	before, err := children()
	if err != nil {
		return fail(err)
	}
	// The maps are written from outside, to a process that is in it: this one stops, as one
	// that is traced, before it does anything, and is killed.
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"userns"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, Ptrace: true, Pdeathsig: syscall.SIGKILL,
	}})
	if err != nil {
		return fail(err)
	}
	defer func() {
		_ = unix.Kill(pid, unix.SIGKILL) // it may have ended, if it was not stopped
		_, _ = unix.Wait4(pid, nil, 0, nil)
	}()
	if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
		return fail(err)
	}
	// The /proc in view may be that of an outer pid namespace, where it has another number.
	after, err := children()
	if err != nil {
		return fail(err)
	}
	after = slices.DeleteFunc(after, func(c string) bool { return slices.Contains(before, c) })
	if len(after) != 1 {
		return fail(errors.New("the process in it is not to be found in /proc"))
	}
	dir := "/proc/" + after[0]
	if err := writeFile(dir+"/"+Users.File, users.Text()); err != nil {
		return fail(err)
	}
	if err := writeFile(dir+"/"+Groups.File, groups.Text()); err != nil {
		return fail(err)
	}
	if fd, err = unix.Open(dir+"/ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return fail(err)
	}
	return fd, nil
}

// children are the child processes of this thread, as /proc numbers them.
func children() ([]string, error) {
	text, err := probe.ReadProc("/proc/thread-self/children")
	return strings.Fields(text), err
}

func writeFile(path, text string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(text)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
