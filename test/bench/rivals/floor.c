/* Floor does in C what the stages do, with the same system calls and nothing else: no
 * options, no checks, no texts. What a stage takes beyond it is what the stage costs.
 *
 *	floor WORD... -- PROGRAM [ARG...]
 *
 * ns=LETTERS	new namespaces, as nsrun: m mount, u uts, i ipc, n net, C cgroup, U user
 *		with the caller as root, p pid with an init and a process that waits
 * cg=NAME	a group on cgroup v1 with limits on memory, pids and cpu, as cgset; it is
 *		removed in the end
 * overlay	a copy on write of / on a tmpfs, attached over it
 * dev=DIR	a new /dev there
 * pivot=DIR	DIR as the root, with /proc, /sys and what is masked in them
 * plain=DIR	DIR as the root
 * caps		Docker's fourteen capabilities and no_new_privs, as capdrop
 * user=ID	ID with net_raw alone, as capdrop --keep net_raw --user
 *
 * An operation that fails ends it with status 1 and its line number. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define must(x) ({ long r_ = (x); if (r_ < 0) fail(__LINE__); r_; })

static void fail(int line)
{
	fprintf(stderr, "floor: line %d: %s\n", line, strerror(errno));
	exit(1);
}

static const char *group; /* of cg= */
static const char *const controllers[] = {"memory", "pids", "cpu"};

static void put(const char *path, const char *text)
{
	int fd = must(open(path, O_WRONLY | O_CLOEXEC));
	must(write(fd, text, strlen(text)));
	close(fd);
}

static char *at(const char *controller, const char *file)
{
	static char path[200];
	snprintf(path, sizeof path, "/sys/fs/cgroup/%s/%s%s", controller, group, file);
	return path;
}

static void make_group(void)
{
	for (int i = 0; i < 3; i++)
		must(mkdir(at(controllers[i], ""), 0755));
	put(at("memory", "/memory.limit_in_bytes"), "67108864");
	put(at("pids", "/pids.max"), "100");
	put(at("cpu", "/cpu.cfs_quota_us"), "50000");
}

static void join_group(void)
{
	for (int i = 0; i < 3; i++)
		put(at(controllers[i], "/cgroup.procs"), "0");
}

static void remove_group(void)
{
	for (int i = 0; i < 3; i++)
		must(rmdir(at(controllers[i], "")));
}

/* wait_and_exit passes on the status of a child. */
static void wait_and_exit(pid_t pid)
{
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			fail(__LINE__);
	if (group)
		remove_group();
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static pid_t clone_with(unsigned long flags)
{
	return must(syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0));
}

static void namespaces(const char *letters)
{
	unsigned long flags = 0;
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int pid = 0, net = 0, user = 0, mnt = 0;
	for (; *letters; letters++)
		switch (*letters) {
		case 'm': flags |= CLONE_NEWNS; mnt = 1; break;
		case 'u': flags |= CLONE_NEWUTS; break;
		case 'i': flags |= CLONE_NEWIPC; break;
		case 'n': flags |= CLONE_NEWNET; net = 1; break;
		case 'C': flags |= CLONE_NEWCGROUP; break;
		case 'U': flags |= CLONE_NEWUSER; user = 1; break;
		case 'p': flags |= CLONE_NEWPID; pid = 1; break;
		}
	if (pid) {
		pid_t child = clone_with(flags & ~CLONE_NEWCGROUP);
		if (child)
			wait_and_exit(child);
		if (flags & CLONE_NEWCGROUP)
			must(unshare(CLONE_NEWCGROUP));
	} else {
		must(unshare(flags));
	}
	if (user) {
		char map[64];
		put("/proc/self/setgroups", "deny");
		snprintf(map, sizeof map, "0 %u 1", uid);
		put("/proc/self/uid_map", map);
		snprintf(map, sizeof map, "0 %u 1", gid);
		put("/proc/self/gid_map", map);
	}
	if (mnt)
		must(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	if (net) {
		struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP};
		int s = must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
		must(ioctl(s, SIOCSIFFLAGS, &up));
		close(s);
	}
	if (pid) { /* an init, and what it waits for */
		pid_t child = clone_with(0);
		if (child)
			wait_and_exit(child);
	}
}

/* filesystem makes a detached mount; the options are key, value, ... NULL, a flag has
 * the value "". */
static int filesystem(const char *type, unsigned attr, const char *const *options)
{
	int fs = must(syscall(SYS_fsopen, type, 1));
	for (; *options; options += 2)
		must(syscall(SYS_fsconfig, fs, *options[1] ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG,
			options[0], *options[1] ? options[1] : NULL, 0));
	must(syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	int fd = must(syscall(SYS_fsmount, fs, 1, attr));
	close(fs);
	return fd;
}

#define FS(type, attr, ...) filesystem(type, attr, (const char *const[]){__VA_ARGS__, NULL})

static void attach(int fd, int dir, const char *path)
{
	must(syscall(SYS_move_mount, fd, "", dir, path, *path ? 4 : 4 | 0x40));
}

static void overlay(void)
{
	int here = must(open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
	umask(0);
	int tmp = FS("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, "source", "tmpfs", "mode", "755", "size", "50%");
	attach(tmp, AT_FDCWD, "/");
	must(fchdir(tmp));
	must(mkdirat(AT_FDCWD, "root.work", 0700));
	must(mkdirat(AT_FDCWD, "root.up", 0755));
	int fd = FS("overlay", MOUNT_ATTR_NODEV, "source", "overlay", "lowerdir+", "/", "upperdir", "root.up", "workdir", "root.work");
	must(umount2(".", MNT_DETACH));
	must(fchdir(here));
	umask(022);
	attach(fd, AT_FDCWD, "/");
	close(fd), close(tmp), close(here);
}

static int clone_tree(int dir, const char *path, unsigned flags)
{
	return must(syscall(SYS_open_tree, dir, path, 1 | O_CLOEXEC | (*path ? 0 : AT_EMPTY_PATH) | flags));
}

static void set_attr(int fd, unsigned flags, unsigned long attr)
{
	struct mount_attr a = {.attr_set = attr};
	must(syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | flags, &a, sizeof a));
}

static void dev(const char *dir)
{
	static const struct { const char *name; int major, minor; } nodes[] = {
		{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
	static const char *const links[][2] = {{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"},
		{"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"}};
	int to = must(open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC));
	umask(0);
	int fd = FS("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, "source", "tmpfs", "mode", "755", "size", "64k");
	for (int i = 0; i < 6; i++)
		must(mknodat(fd, nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
	for (int i = 0; i < 5; i++)
		must(symlinkat(links[i][0], fd, links[i][1]));
	must(mkdirat(fd, "shm", 0755));
	must(mkdirat(fd, "pts", 0755));
	umask(022);
	attach(fd, to, "");
	for (int i = 0; i < 6; i++) {
		int node = clone_tree(fd, nodes[i].name, 0);
		attach(node, fd, nodes[i].name);
		close(node);
	}
	set_attr(fd, 0, MOUNT_ATTR_NODEV);
	int pts = FS("devpts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, "source", "devpts", "newinstance", "", "ptmxmode", "0666", "mode", "0620", "gid", "5");
	attach(pts, fd, "pts");
	int shm = FS("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, "source", "tmpfs", "mode", "1777", "size", "64M");
	attach(shm, fd, "shm");
	close(pts), close(shm), close(fd), close(to);
}

static int inside(int root, const char *path, int flags)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC | flags,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
	return syscall(SYS_openat2, root, path, &how, sizeof how);
}

static void hide_dir(int root, const char *path)
{
	int to = inside(root, path, O_DIRECTORY);
	if (to < 0)
		return;
	int fd = FS("tmpfs", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
		"source", "tmpfs", "size", "4k", "nr_inodes", "2", "mode", "555");
	attach(fd, to, "");
	close(fd), close(to);
}

/* new_root opens DIR as a mount without devices. */
static int new_root(const char *dir)
{
	int root = must(open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC));
	if (strcmp(dir, "/..")) { /* not a mount yet */
		int tree = clone_tree(root, "", AT_RECURSIVE);
		attach(tree, root, "");
		close(root);
		root = tree;
	}
	set_attr(root, 0, MOUNT_ATTR_NODEV);
	return root;
}

static void system_files(int root)
{
	static const char *const readonly[] = {"bus", "fs", "irq", "sys", "sysrq-trigger"};
	static const char *const files[] = {"interrupts", "kcore", "keys", "latency_stats", "sched_debug", "timer_list", "timer_stats"};
	int proc = FS("proc", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, "source", "proc");
	int to = must(inside(root, "proc", O_DIRECTORY));
	attach(proc, to, "");
	close(to);
	for (int i = 0; i < 5; i++)
		if ((to = inside(proc, readonly[i], 0)) >= 0) {
			int tree = clone_tree(to, "", AT_RECURSIVE);
			set_attr(tree, AT_RECURSIVE, MOUNT_ATTR_RDONLY);
			attach(tree, to, "");
			close(tree), close(to);
		}
	hide_dir(proc, "acpi"), hide_dir(proc, "asound"), hide_dir(proc, "scsi");
	int null = must(open("/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC));
	for (int i = 0; i < 7; i++)
		if ((to = inside(proc, files[i], 0)) >= 0) {
			int tree = clone_tree(null, "", 0);
			set_attr(tree, 0, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
			attach(tree, to, "");
			close(tree), close(to);
		}
	int sys = FS("sysfs", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, "source", "sysfs");
	to = must(inside(root, "sys", O_DIRECTORY));
	attach(sys, to, "");
	hide_dir(sys, "devices/virtual/powercap"), hide_dir(sys, "firmware");
	close(to), close(sys), close(null), close(proc);
}

static void pivot(int root)
{
	must(fchdir(root));
	must(syscall(SYS_pivot_root, ".", "."));
	must(umount2(".", MNT_DETACH));
	must(chdir("/"));
	close(root);
}

static void set_caps(unsigned long long keep, int ambient)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2] = {{keep, keep, 0}, {keep >> 32, keep >> 32, 0}};
	if (ambient >= 0)
		d[0].inheritable = keep;
	must(syscall(SYS_capset, &h, d));
	must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
	if (ambient >= 0)
		must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, ambient, 0, 0));
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static void bound(unsigned long long keep)
{
	for (int c = 0; prctl(PR_CAPBSET_READ, c) >= 0; c++)
		if (!(keep >> c & 1) && prctl(PR_CAPBSET_READ, c))
			must(prctl(PR_CAPBSET_DROP, c));
}

int main(int argc, char **argv)
{
	for (argv++; *argv && strcmp(*argv, "--"); argv++) {
		char *word = *argv;
		if (!strncmp(word, "ns=", 3)) {
			namespaces(word + 3);
		} else if (!strncmp(word, "cg=", 3)) {
			group = word + 3;
			make_group();
			pid_t child = clone_with(0);
			if (child)
				wait_and_exit(child);
			join_group();
			group = NULL;
		} else if (!strcmp(word, "overlay")) {
			overlay();
		} else if (!strncmp(word, "dev=", 4)) {
			dev(word + 4);
		} else if (!strncmp(word, "pivot=", 6)) {
			int root = new_root(word + 6);
			system_files(root);
			pivot(root);
		} else if (!strncmp(word, "plain=", 6)) {
			pivot(new_root(word + 6));
		} else if (!strcmp(word, "caps")) {
			unsigned long long docker = 0xa80425fb;
			bound(docker);
			set_caps(docker, -1);
		} else if (!strncmp(word, "user=", 5)) {
			uid_t id = atoi(word + 5);
			bound(1ULL << CAP_NET_RAW);
			must(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
			must(syscall(SYS_setgroups, 0, NULL));
			must(setresgid(id, id, id));
			must(setresuid(id, id, id));
			set_caps(1ULL << CAP_NET_RAW, CAP_NET_RAW);
		} else {
			fprintf(stderr, "floor: what is %s?\n", word);
			return 1;
		}
	}
	if (*argv)
		argv++;
	execvp(argv[0], argv);
	fail(__LINE__);
}
