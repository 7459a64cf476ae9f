/* Steps does in C, one system call after the other, what a container wired to a bridge
 * is made of, for comparison with the stages.
 *
 *	steps idle			be a payload: say so on standard output, and wait
 *	steps wire BRIDGE ADDR -- PROGRAM	what netbr does
 *	steps time BRIDGE ADDR		take each step, and print what it took, in microseconds
 *
 * ADDR is the IPv4 address, in eight hexadecimal digits; the bridge's subnet is a /20. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define must(x) ({ long r_ = (x); if (r_ < 0) fail(__LINE__); r_; })

static void fail(int line)
{
	fprintf(stderr, "steps: line %d: %s\n", line, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static double since;

static void took(const char *what)
{
	if (since && *what)
		printf("%s\t%.1f\n", what, now() - since);
	since = now();
}

/* A request: a header, what belongs to its type, and attributes. */
static struct {
	struct nlmsghdr h;
	char rest[1000];
} req;

static void begin(int type, int flags, const void *head, int len)
{
	memset(&req, 0, sizeof req);
	req.h = (struct nlmsghdr){.nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags};
	req.h.nlmsg_len = NLMSG_LENGTH(len);
	memcpy(NLMSG_DATA(&req.h), head, len);
}

static struct rtattr *add(int type, const void *data, int len)
{
	struct rtattr *a = (void *)((char *)&req + NLMSG_ALIGN(req.h.nlmsg_len));
	a->rta_type = type;
	a->rta_len = RTA_LENGTH(len);
	if (len)
		memcpy(RTA_DATA(a), data, len);
	req.h.nlmsg_len = NLMSG_ALIGN(req.h.nlmsg_len) + RTA_ALIGN(a->rta_len);
	return a;
}

static void end(struct rtattr *a)
{
	a->rta_len = (char *)&req + req.h.nlmsg_len - (char *)a;
}

static void ask(int s)
{
	struct {
		struct nlmsghdr h;
		struct nlmsgerr e;
		char rest[2000];
	} answer;
	must(send(s, &req, req.h.nlmsg_len, 0));
	must(recv(s, &answer, sizeof answer, 0));
	if (answer.e.error) {
		errno = -answer.e.error;
		fail(__LINE__);
	}
}

static int dial(void) { return must(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)); }

/* pair makes a veth pair: one end up at the bridge, the other in our namespace. */
static void pair(int host, int bridge, const char *name)
{
	struct ifinfomsg near = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP}, far = {0};
	int pid = getpid();
	begin(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &near, sizeof near);
	add(IFLA_IFNAME, name, strlen(name) + 1);
	add(IFLA_MASTER, &bridge, 4);
	struct rtattr *info = add(IFLA_LINKINFO, NULL, 0);
	add(IFLA_INFO_KIND, "veth", 5);
	struct rtattr *data = add(IFLA_INFO_DATA, NULL, 0);
	struct rtattr *peer = add(VETH_INFO_PEER, &far, sizeof far);
	add(IFLA_IFNAME, "eth0", 5);
	add(IFLA_NET_NS_PID, &pid, 4);
	end(peer), end(data), end(info);
	ask(host);
}

static void up(int s, int index)
{
	struct ifinfomsg m = {.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
	begin(RTM_SETLINK, 0, &m, sizeof m);
	ask(s);
}

static void configure(unsigned ip)
{
	int s = dial(), index = must(if_nametoindex("eth0"));
	unsigned addr = htonl(ip), gateway = htonl((ip & 0xfffff000) + 1);
	up(s, 1);
	struct ifaddrmsg a = {.ifa_family = AF_INET, .ifa_prefixlen = 20, .ifa_index = index};
	begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &a, sizeof a);
	add(IFA_LOCAL, &addr, 4);
	add(IFA_ADDRESS, &addr, 4);
	ask(s);
	up(s, index);
	struct rtmsg r = {.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_BOOT,
		.rtm_scope = RT_SCOPE_UNIVERSE, .rtm_type = RTN_UNICAST};
	begin(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &r, sizeof r);
	add(RTA_GATEWAY, &gateway, 4);
	add(RTA_OIF, &index, 4);
	ask(s);
	close(s);
}

static void wire(const char *bridge, unsigned ip)
{
	char name[20];
	int host = dial(), index = must(if_nametoindex(bridge));
	took("");
	must(unshare(CLONE_NEWNET));
	took("unshare(CLONE_NEWNET)");
	snprintf(name, sizeof name, "sc%08x", ip);
	pair(host, index, name);
	took("make a veth pair, one end a port of the bridge");
	configure(ip);
	took("lo, address, route inside");
	close(host);
}

static int filesystem(const char *type, const char *const *options)
{
	int fs = must(syscall(SYS_fsopen, type, 1));
	for (; *options; options += 2)
		must(syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, options[0], options[1], 0));
	must(syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	int fd = must(syscall(SYS_fsmount, fs, 1, 0));
	close(fs);
	return fd;
}

#define FS(type, ...) filesystem(type, (const char *const[]){__VA_ARGS__, NULL})

static void groups(int make)
{
	static const char *const controllers[] = {"memory", "pids", "unified"};
	for (int i = 0; i < 3; i++) {
		char path[100];
		snprintf(path, sizeof path, "/sys/fs/cgroup/%s/scale-steps", controllers[i]);
		if (make ? mkdir(path, 0755) : rmdir(path))
			if (errno != ENOENT)
				fail(__LINE__);
	}
}

static void time_all(const char *bridge, unsigned ip)
{
	groups(1);
	since = now();
	groups(0);
	took("rmdir of three control groups");
	groups(1);
	took("mkdir of three control groups");
	wire(bridge, ip);
	must(unshare(CLONE_NEWUTS | CLONE_NEWIPC));
	took("unshare(CLONE_NEWUTS | CLONE_NEWIPC)");
	must(unshare(CLONE_NEWNS));
	took("unshare(CLONE_NEWNS)");
	must(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	took("make mounts private");
	int tmp = FS("tmpfs", "mode", "755");
	must(syscall(SYS_move_mount, tmp, "", AT_FDCWD, "/mnt", 4));
	must(fchdir(tmp));
	must(mkdir("up", 0755));
	must(mkdir("work", 0755));
	took("mount tmpfs");
	FS("overlay", "lowerdir+", "/", "upperdir", "up", "workdir", "work");
	took("mount overlay");
	must(unshare(CLONE_NEWPID));
	pid_t child = must(fork());
	if (!child)
		_exit(0);
	must(waitpid(child, NULL, 0));
	took("a process in a new pid namespace");
	groups(0);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "idle")) {
		must(write(1, "r", 1));
		for (;;)
			pause();
	}
	if (argc < 4) {
		fprintf(stderr, "steps: see steps.c\n");
		return 1;
	}
	unsigned ip = strtoul(argv[3], NULL, 16);
	if (!strcmp(argv[1], "wire")) {
		wire(argv[2], ip);
		execvp(argv[5], argv + 5);
		fail(__LINE__);
	}
	time_all(argv[2], ip);
	return 0;
}
