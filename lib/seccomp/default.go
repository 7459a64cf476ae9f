package seccomp

import (
	"math"
	"strings"

	"golang.org/x/sys/unix"
)

// Default is the profile that Docker publishes (github.com/moby/profiles, seccomp
// v0.2.3), by what the calls are for. It allows what programs need, and keeps from them
// what few need and what has been a way out of containers: kernel modules, kexec, keys,
// mounts and namespaces, BPF, perf events, io_uring, userfaultfd. Who has the capability
// for such a thing gets the calls with it.
func Default() *Profile { return defaultProfile(true) }

// DefaultFilter is the filter of the default profile, by an index that was made
// beforehand: a third of the time.
func DefaultFilter(m Machine) (*Filter, error) {
	p := defaultProfile(false)
	p.made = &defaultIndex
	return p.Filter(m)
}

//go:generate go test -run TestDefaultIndex -update

// defaultProfile makes the profile, with or without its rules' names.
func defaultProfile(names bool) *Profile {
	call := func(list string) []string {
		if names {
			return strings.Fields(list)
		}
		return nil
	}
	allow := func(list string) Rule { return Rule{Names: call(list), Action: Allow} }
	with := func(capability, names string) Rule {
		r := allow(names)
		r.Includes.Caps = []string{capability}
		return r
	}
	on := func(arches, names string) Rule {
		r := allow(names)
		r.Includes.Arches = strings.Fields(arches)
		return r
	}
	when := func(r Rule, args ...Arg) Rule {
		r.Args = args
		return r
	}
	without := func(capability string, r Rule) Rule {
		r.Excludes.Caps = []string{capability}
		return r
	}
	const cloneNew = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	ptrace := allow("process_vm_readv process_vm_writev ptrace")
	ptrace.Includes.MinKernel = Version{4, 8} // before that, a tracer could get round the filter

	return &Profile{
		Default:  Errno(unix.EPERM),
		Families: [][]Arch{{AMD64, X86, X32}, {ARM64, ARM}},
		Rules: []Rule{
			allow(files), allow(reading), allow(polling), allow(memory), allow(processes),
			allow(identity), allow(scheduling), allow(signals), allow(locks), allow(clocks), allow(sockets), allow(ipcs),
			ptrace,
			// Every address family but AF_ALG and AF_VSOCK: the kernel's cryptography has
			// been a way to root, and vsock leads out of a network namespace.
			when(allow("socket"), Arg{Index: 0, Op: Less, Value: unix.AF_ALG}),
			when(allow("socket"), Arg{Index: 0, Op: Equal, Value: unix.AF_NFC}),
			when(allow("socket"), Arg{Index: 0, Op: Greater, Value: unix.AF_VSOCK}),
			// Linux, Linux with a kernel version of 2.6, each for 32 bits as well, and a
			// question. Others switch protections off.
			when(allow("personality"), Arg{Index: 0, Op: Equal, Value: 0}),
			when(allow("personality"), Arg{Index: 0, Op: Equal, Value: 0x0008}),
			when(allow("personality"), Arg{Index: 0, Op: Equal, Value: 0x20000}),
			when(allow("personality"), Arg{Index: 0, Op: Equal, Value: 0x20008}),
			when(allow("personality"), Arg{Index: 0, Op: Equal, Value: math.MaxUint32}),
			on("arm arm64", "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"),
			on("amd64 x32", "arch_prctl"),
			on("amd64 x32 x86", "modify_ldt"),
			with("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
			with("CAP_SYS_ADMIN", admin),
			// No new namespaces. clone3 has its flags behind a pointer; told that there is
			// none, a C library takes clone.
			without("CAP_SYS_ADMIN", when(allow("clone"), Arg{Index: 0, Op: MaskedEqual, Value: cloneNew, ValueTwo: 0})),
			without("CAP_SYS_ADMIN", Rule{Names: call("clone3"), Action: Errno(unix.ENOSYS)}),
			with("CAP_SYS_BOOT", "reboot"),
			with("CAP_SYS_CHROOT", "chroot"),
			with("CAP_SYS_MODULE", "delete_module init_module finit_module"),
			with("CAP_SYS_PACCT", "acct"),
			with("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
			with("CAP_SYS_RAWIO", "iopl ioperm"),
			with("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
			with("CAP_SYS_TTY_CONFIG", "vhangup"),
			with("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
			with("CAP_SYSLOG", "syslog"),
			with("CAP_BPF", "bpf"),
			with("CAP_PERFMON", "perf_event_open"),
		},
	}
}

// What any program may call. A name with 64 or 32 in it is the same call with wider
// numbers, on the older of the architectures.
const (
	files = `access chdir chmod chown chown32 creat faccessat faccessat2 fanotify_mark fchdir fchmod
		fchmodat fchmodat2 fchown fchown32 fchownat fgetxattr flistxattr fremovexattr fsetxattr fstat fstat64
		fstatat64 fstatfs fstatfs64 futimesat getcwd getdents getdents64 getxattr getxattrat
		inotify_add_watch inotify_init inotify_init1 inotify_rm_watch lchown lchown32 lgetxattr link
		linkat listmount listxattr listxattrat llistxattr lremovexattr lsetxattr lstat lstat64 mkdir
		mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 readlink readlinkat removexattr
		removexattrat rename renameat renameat2 rmdir setxattr setxattrat stat stat64 statfs statfs64 statmount
		statx symlink symlinkat truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64
		utimes`
	reading = `close close_range copy_file_range dup dup2 dup3 fadvise64 fadvise64_64 fallocate fcntl
		fcntl64 fdatasync flock fsync ftruncate ftruncate64 io_cancel ioctl io_destroy io_getevents
		io_pgetevents io_pgetevents_time64 io_setup io_submit _llseek lseek memfd_create pipe pipe2 pread64
		preadv preadv2 pwrite64 pwritev pwritev2 read readahead readv sendfile sendfile64 splice sync
		sync_file_range syncfs tee vmsplice write writev`
	polling = `epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
		epoll_wait_old eventfd eventfd2 _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select
		signalfd signalfd4 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64`
	memory = `brk cachestat madvise map_shadow_stack memfd_secret mincore mlock mlock2 mlockall mmap mmap2
		mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease
		remap_file_pages`
	processes = `execve execveat exit exit_group fork getpgid getpgrp getpid getppid getrandom getrlimit
		getrusage getsid gettid get_thread_area ioprio_get ioprio_set landlock_add_rule
		landlock_create_ruleset landlock_restrict_self pidfd_open prctl prlimit64 restart_syscall riscv_hwprobe
		seccomp setpgid setrlimit setsid set_thread_area set_tid_address sysinfo times ugetrlimit uname
		uretprobe vfork wait4 waitid waitpid`
	identity = `capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32
		getresgid getresgid32 getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32
		setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid
		setresuid32 setreuid setreuid32 setuid setuid32`
	scheduling = `getcpu getpriority sched_getaffinity sched_getattr sched_getparam sched_get_priority_max
		sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
		sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield setpriority`
	signals = `alarm kill pause pidfd_send_signal rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo
		rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack
		sigprocmask sigreturn tgkill tkill`
	locks = `futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list membarrier
		rseq set_robust_list`
	clocks = `adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
		clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time
		timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
		timer_settime64`
	sockets = `accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
		recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair`
	ipcs = `ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
		mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
		semtimedop_time64 shmat shmctl shmdt shmget`

	admin = `bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
		lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl
		quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare`
)
