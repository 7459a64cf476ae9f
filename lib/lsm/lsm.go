// Package lsm says under which confinement of a Linux security module the next program
// runs: an AppArmor profile or an SELinux context, in force from its execve on.
// proc_pid_attr(5), apparmor(7), setexeccon(3).
//
// When not to use this package: to confine the process that runs now, which both modules
// allow in special cases only.
package lsm

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
	"staves/lib/probe"
)

// Names of modules, as the kernel has them.
const (
	AppArmor = "apparmor"
	SELinux  = "selinux"
)

// A root is the directory that the kernel's files are beneath: "", the machine's.
type root string

const machine = root("")

const (
	// active is the list of the modules that are in force (Linux 4.12); securityfs is not
	// mounted everywhere.
	active          = "/sys/kernel/security/lsm"
	appArmorEnabled = "/sys/module/apparmor/parameters/enabled"
	seLinuxStatus   = "/sys/fs/selinux/status"
	seLinuxContext  = "/sys/fs/selinux/context"

	// The attributes belong to a thread.
	attrCurrent      = "/proc/thread-self/attr/current"
	attrExec         = "/proc/thread-self/attr/exec"
	attrAppArmorExec = "/proc/thread-self/attr/apparmor/exec" // Linux 5.8: modules can be stacked
)

func (r root) read(file string) (string, error) { return probe.ReadProc(string(r) + file) }

// Enabled tells whether a module is in force.
func Enabled(name string) bool { return machine.enabled(name) }

func (r root) enabled(name string) bool {
	if text, err := r.read(active); err == nil {
		return slices.Contains(strings.Split(strings.TrimSpace(text), ","), name)
	}
	if name == AppArmor {
		text, err := r.read(appArmorEnabled)
		return err == nil && strings.HasPrefix(text, "Y")
	}
	return unix.Access(string(r)+seLinuxStatus, unix.F_OK) == nil
}

// ExecAppArmor has the next execve enter an AppArmor profile, which is loaded, and reads
// that back.
func ExecAppArmor(b *entry.Builder, profile string) { machine.execAppArmor(b, profile) }

func (r root) execAppArmor(b *entry.Builder, profile string) {
	r.set(b, "enter the AppArmor profile "+profile, attrAppArmorExec, "exec "+profile, shown(profile))
}

// shown is how AppArmor shows the name of a profile, as far as that is certain: its mode
// follows. Of several, stacked, it has an order of its own, and of those of another
// namespace another spelling; then all that is certain is that there is something to show.
func shown(profile string) string {
	switch {
	case strings.HasPrefix(profile, ":") || strings.HasPrefix(profile, "&") || strings.Contains(profile, "//&"):
		return ""
	case profile == "unconfined":
		return profile + "\n"
	}
	return profile + " ("
}

// ExecSELinux has the next execve enter an SELinux context, and reads that back.
func ExecSELinux(b *entry.Builder, context string) { machine.execSELinux(b, context) }

func (r root) execSELinux(b *entry.Builder, context string) {
	same, err := r.canonical(context)
	if err != nil { // as written, then: whether there is such a context the kernel says again
		same = context
	}
	r.set(b, "enter the SELinux context "+context, attrExec, context, same+"\x00")
}

// set writes text, and wants to read what begins with back.
func (r root) set(b *entry.Builder, what, file, text, back string) {
	path := string(r) + file
	fd := b.Get("open "+path, unix.SYS_OPENAT, unix.AT_FDCWD, path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	b.Do(what, unix.SYS_WRITE, fd, text, len(text))
	b.Close(fd)
	b.WantFile("read back: the next execve will not "+what, path, back)
}

// CheckSELinux finds whether the policy that is loaded has a context. Where selinuxfs is
// not to be had, or may not be asked, nobody knows, and the error is nil.
func CheckSELinux(context string) error { return machine.checkSELinux(context) }

// errNoPolicy: SELinux then takes every context, to no effect.
var errNoPolicy = errors.New("SELinux has no policy loaded")

func (r root) checkSELinux(context string) error {
	switch _, err := r.canonical(context); {
	case errors.Is(err, errNoPolicy):
		return err
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%s is no context of the policy that is loaded: %w", context, unix.EINVAL)
	}
	return nil
}

// canonical asks the kernel how it writes a context: with a type's first name, and with
// categories in order (security_canonicalize_context(3)).
func (r root) canonical(context string) (string, error) {
	fd, err := unix.Open(string(r)+seLinuxContext, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(context)); err != nil {
		return "", err
	}
	buf := make([]byte, 16<<10)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return "", err
	}
	text := strings.TrimRight(string(buf[:n]), "\x00")
	if !strings.Contains(text, ":") { // the name that it has for everything until then
		return "", errNoPolicy
	}
	return text, nil
}

// Current is the profile or context that this thread is in.
func Current() (string, error) { return machine.current() }

func (r root) current() (string, error) {
	text, err := r.read(attrCurrent)
	return strings.TrimRight(text, "\n\x00"), err
}
