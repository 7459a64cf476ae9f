// Reexec ROOT COMMAND is the small container runtime of many an article about Go: it
// executes itself again in new namespaces, and there limits its CPU time, changes the root
// and runs the command.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == "child" {
		must("run", child(os.Args[2], os.Args[3]))
		return
	}
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: reexec ROOT COMMAND")
		os.Exit(125)
	}
	group, err := limit()
	must("limit", err)
	cmd := exec.Command("/proc/self/exe", "child", os.Args[1], os.Args[2])
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "GROUP="+group)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWUTS | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Unshareflags: syscall.CLONE_NEWNS,
	}
	err = cmd.Run()
	must("remove the group", os.Remove(group))
	must("child", err)
}

// limit makes a control group with half of a CPU, of v2 or v1.
func limit() (group string, err error) {
	name := "recipe-" + strconv.Itoa(os.Getpid())
	group = "/sys/fs/cgroup/" + name
	file, text := "cpu.max", "50000 100000"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		group = "/sys/fs/cgroup/cpu/" + name
		file, text = "cpu.cfs_quota_us", "50000"
	}
	if err := os.Mkdir(group, 0o755); err != nil {
		return "", err
	}
	return group, os.WriteFile(filepath.Join(group, file), []byte(text), 0)
}

func child(root, command string) error {
	// 0 is the process that writes.
	if err := os.WriteFile(os.Getenv("GROUP")+"/cgroup.procs", []byte("0"), 0); err != nil {
		return err
	}
	if err := syscall.Sethostname([]byte(filepath.Base(os.Getenv("GROUP")))); err != nil {
		return err
	}
	if err := syscall.Mount(root, root, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
		return err
	}
	if err := os.MkdirAll(root+"/.old", 0o700); err != nil {
		return err
	}
	if err := syscall.PivotRoot(root, root+"/.old"); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	if err := syscall.Unmount("/.old", syscall.MNT_DETACH); err != nil {
		return err
	}
	if err := os.Remove("/.old"); err != nil {
		return err
	}
	cmd := exec.Command("/bin/sh", "-c", "exec "+command)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

func must(what string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "reexec: %s: %v\n", what, err)
		os.Exit(1)
	}
}
