package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// throughProc looks for the mark behind the root, the working directory and the
// descriptors of every process in view.
func throughProc(words []string) (string, error) {
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return "", err
	}
	if len(processes) == 0 {
		return "", errors.New("no process in view")
	}
	for _, p := range processes {
		links := []string{p + "/root", p + "/cwd"}
		more, _ := filepath.Glob(p + "/fd/*")
		for _, l := range append(links, more...) {
			for _, found := range []string{l + words[0], l + "/" + strings.Repeat("../", 64) + words[0]} {
				if marked(found) {
					return l, nil
				}
			}
		}
	}
	return "", nil
}

// writeExecutables opens for writing the file of every process in view that is not this
// one's own: one that says ETXTBSY can be written to when the process has ended.
func writeExecutables([]string) (string, error) {
	var own unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &own); err != nil {
		return "", err
	}
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return "", err
	}
	held := errors.New("no other program in view")
	for _, l := range links {
		var st unix.Stat_t
		fd, err := unix.Open(l, unix.O_PATH, 0)
		if err != nil {
			held = fmt.Errorf("open %s: %w", l, err)
			continue
		}
		if unix.Fstat(fd, &st) != nil || st.Dev == own.Dev && st.Ino == own.Ino {
			continue
		}
		file := fmt.Sprintf("/proc/self/fd/%d", fd)
		// By root of the machine's capability, what is mounted read-only can be changed.
		_ = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
		var fs unix.Statfs_t
		_, err = unix.Open(file, unix.O_WRONLY, 0)
		// The kernel says that the file is busy before it says anything else.
		if unix.Fstatfs(fd, &fs) == nil && fs.Flags&unix.ST_RDONLY != 0 && err == unix.ETXTBSY {
			err = unix.EROFS
		}
		if sealed(file) {
			err = unix.EPERM
		}
		if err == nil || err == unix.ETXTBSY {
			return fmt.Sprintf("%s, another program's file, can be written to (%v)", l, err), nil
		}
		held = fmt.Errorf("open %s for writing: %w", l, err)
	}
	return "", held
}

// sealed tells whether the file is one in memory that cannot be written to (memfd_create(2)).
func sealed(file string) bool {
	fd, err := unix.Open(file, unix.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	return err == nil && seals&unix.F_SEAL_WRITE != 0
}

// nestedProc makes namespaces of its own and mounts a proc there, which has no masks.
func nestedProc(words []string) (string, error) {
	if len(words) > 0 { // the child
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			return "", fmt.Errorf("mount proc: %w", err)
		}
		return openForWriting([]string{"/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches"})
	}
	cmd := exec.Command("/proc/self/exe", "nested-proc", "child")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	if os.Geteuid() != 0 || unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") != nil {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("make namespaces: %w", err)
	}
	if s, ok := strings.CutPrefix(string(out), "ESCAPED: "); ok {
		return "in namespaces of its own: " + strings.TrimSpace(s), nil
	}
	return "", errors.New(strings.TrimSpace(strings.TrimPrefix(string(out), "held: ")))
}

// releaseAgent mounts a hierarchy of cgroup v1 and writes the program that the kernel runs
// on the host when a group is empty; it writes the one that is there.
func releaseAgent([]string) (string, error) {
	const dir = "/tmp/groups"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	held := errors.New("no controller")
	for _, controller := range []string{"freezer", "pids", "cpu", "memory", "blkio"} {
		if err := unix.Mount("cgroup", dir, "cgroup", 0, controller); err != nil {
			held = fmt.Errorf("mount cgroup: %w", err)
			continue
		}
		defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
		agent := dir + "/release_agent"
		text, err := os.ReadFile(agent)
		if err == nil {
			err = os.WriteFile(agent, text, 0o644)
		}
		if err == nil {
			return "release_agent can be written to", nil
		}
		return "", err
	}
	return "", held
}

// makeGroup makes a group in each directory of control groups in view, and removes it.
func makeGroup([]string) (string, error) {
	dirs := []string{"/sys/fs/cgroup"}
	more, _ := filepath.Glob("/sys/fs/cgroup/*")
	held := errors.New("no groups in view")
	for _, d := range append(dirs, more...) {
		if _, err := os.Stat(d + "/cgroup.procs"); err != nil {
			continue
		}
		if held = os.Mkdir(d+"/staves-escape", 0o755); held == nil {
			_ = os.Remove(d + "/staves-escape")
			return "a group in " + d, nil
		}
	}
	return "", held
}

// typeAhead puts a line in front of whoever reads the terminal next (ioctl_tty(2)). It
// tries each terminal that it can come by.
func typeAhead([]string) (string, error) {
	held := errors.New("no terminal")
	for fd := range 3 {
		for _, c := range []byte("staves\n") {
			if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCSTI, uintptr(unsafe.Pointer(&c))); errno != 0 {
				held = fmt.Errorf("TIOCSTI: %w", errno)
				break
			} else if c == '\n' {
				return fmt.Sprintf("typed on the terminal of descriptor %d", fd), nil
			}
		}
	}
	return "", held
}

// readKeyring searches the session keyring for a key of that name.
func readKeyring(words []string) (string, error) {
	id, err := unix.KeyctlSearch(unix.KEY_SPEC_SESSION_KEYRING, "user", words[0], 0)
	if err != nil {
		return "", fmt.Errorf("keyctl: %w", err)
	}
	buf := make([]byte, 64)
	n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, id, buf, 0)
	if err != nil {
		return "", fmt.Errorf("keyctl: %w", err)
	}
	return "a key of the caller's: " + string(buf[:n]), nil
}

// abstract connects to a socket that has a name and no file (unix(7)).
func abstract(words []string) (string, error) {
	c, err := net.Dial("unix", "@"+words[0])
	if err != nil {
		return "", err
	}
	_ = c.Close()
	return "a socket of the host", nil
}
