package caps

// Explain says what capability n allows, in lines of at most 66 characters, "" for one
// that has no name. capabilities(7) says more.
func Explain(n int) string {
	if n < 0 || n >= len(explanations) {
		return ""
	}
	return explanations[n]
}

var explanations = [len(names)]string{
	"Give a file any owner and any group (chown(2)).",
	"Read, write and execute files and search directories whatever\n" +
		"their permission bits and access lists say. A file without any\n" +
		"execute bit still cannot be executed.",
	"Read files and search directories whatever their permission bits\n" +
		"say, and open a file by its handle (open_by_handle_at(2)), which\n" +
		"has led out of containers.",
	"Do what only a file's owner may: change its mode, its times, its\n" +
		"access list and inode flags, and delete it from a directory with\n" +
		"the sticky bit.",
	"Keep the setuid and setgid bits of a file that is changed, and set\n" +
		"the setgid bit for a group that one is not a member of.",
	"Send signals to processes of other users (kill(2)).",
	"Change the own group ids and supplementary groups at will, show\n" +
		"foreign group ids on UNIX sockets, and write a group map of a user\n" +
		"namespace.",
	"Change the own user ids at will, show foreign user ids on UNIX\n" +
		"sockets, and write a user map of a user namespace.",
	"Drop capabilities from the own bounding set, make what is in the\n" +
		"bounding set inheritable, and change the securebits. It adds\n" +
		"nothing to what is permitted.",
	"Set and clear the inode flags immutable and append-only (chattr(1)\n" +
		"+i and +a).",
	"Bind a socket to a privileged port: in general one below 1024\n" +
		"(net.ipv4.ip_unprivileged_port_start).",
	"Nothing: broadcasts and multicasts are free to all. The kernel has\n" +
		"the name, and no use for it.",
	"Configure the network of the own network namespace: interfaces,\n" +
		"addresses, routes, firewall and address translation, promiscuous\n" +
		"mode, bridges and tunnels.",
	"Open RAW and PACKET sockets, which ping and tcpdump want, forge\n" +
		"any packet with them, and bind to foreign addresses for a\n" +
		"transparent proxy.",
	"Lock memory beyond the limit RLIMIT_MEMLOCK (mlock(2)), and\n" +
		"allocate huge pages.",
	"Use System V message queues, semaphores and shared memory whatever\n" +
		"their permission bits say.",
	"Load and unload kernel modules, and with them do anything.",
	"Reach the hardware directly: I/O ports (iopl(2)), /dev/mem,\n" +
		"/dev/kmem and /proc/kcore, raw commands to disks and USB devices.",
	"Change the root directory (chroot(2)), also out of one, and enter\n" +
		"a mount namespace (setns(2)).",
	"Trace any process (ptrace(2)), read and write its memory, and see\n" +
		"in /proc what belongs to others.",
	"Switch process accounting on and off (acct(2)).",
	"Administer the system: mount and unmount, name the host, make and\n" +
		"enter namespaces, quotas, swap, keys, disks and devices, and much\n" +
		"that found no capability of its own. It comes near to being root.",
	"Restart the machine (reboot(2)), and load another kernel\n" +
		"(kexec_load(2)).",
	"Raise the priority of processes, also of others: nice values,\n" +
		"real-time scheduling, CPU affinity, I/O classes (setpriority(2),\n" +
		"sched_setscheduler(2)).",
	"Go beyond resource limits (setrlimit(2)), disk quotas, and what is\n" +
		"reserved for root on file systems, raise limits, and lower\n" +
		"oom_score_adj.",
	"Set the clocks (settimeofday(2)), the hardware's as well.",
	"Hang up terminals (vhangup(2)) and configure virtual consoles.",
	"Make device nodes (mknod(2)).",
	"Take leases on files of other owners (fcntl(2), F_SETLEASE).",
	"Write to the kernel's audit log.",
	"Configure the kernel's auditing: switch it on and off, and change\n" +
		"its rules.",
	"Give files capabilities (setcap(8)), and map the user 0 of the\n" +
		"parent into a new user namespace.",
	"Go against mandatory access control where the security module,\n" +
		"Smack, minds this capability.",
	"Configure mandatory access control where the security module minds\n" +
		"this capability: AppArmor's profiles, Smack's rules.",
	"Read and clear the kernel's message buffer where dmesg is\n" +
		"restricted (syslog(2)), and see kernel addresses in /proc.",
	"Set timers that wake the system from sleep (CLOCK_REALTIME_ALARM\n" +
		"and CLOCK_BOOTTIME_ALARM of timer_create(2)).",
	"Keep the system from going to sleep (/proc/sys/wake_lock,\n" +
		"EPOLLWAKEUP of epoll_ctl(2)).",
	"Read the audit log by a multicast netlink socket.",
	"Watch the performance of the whole system: perf events beyond the\n" +
		"own processes (perf_event_open(2)).",
	"Load BPF programs and make maps of all kinds (bpf(2)). What the\n" +
		"programs may look at takes CAP_PERFMON, what they may do to the\n" +
		"network CAP_NET_ADMIN.",
	"Checkpoint and restore processes: choose process ids (clone3(2),\n" +
		"ns_last_pid), and follow the links of /proc/PID/map_files.",
}
