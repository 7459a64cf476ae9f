# The container of the tutorials in bash: NUMBER. Groups by libcgroup, a named network
# namespace on the bridge $BR, namespaces by unshare, an overlay, a /dev and a new root by
# mount and pivot_root, capabilities by capsh.
set -e
n=r${1#*-}
cgcreate -g memory,pids,cpu:"staves-bench-$n"
cgset -r memory.limit_in_bytes=64M -r pids.max=100 -r cpu.cfs_quota_us=50000 "staves-bench-$n"
ip netns add "$n"
ip link add "v$n" type veth peer name eth0 netns "$n"
ip link set "v$n" master "$BR" up
ip -n "$n" link set lo up
ip -n "$n" link set eth0 up
ip -n "$n" addr add 10.99.0.201/24 dev eth0
ip -n "$n" route add default via 10.99.0.1
cgexec -g memory,pids,cpu:"staves-bench-$n" ip netns exec "$n" unshare -muipC --fork bash -ec '
	mount --make-rprivate /
	mount -t tmpfs tmpfs /mnt
	mkdir /mnt/up /mnt/work /mnt/root
	mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/up,workdir=/mnt/work /mnt/root
	cd /mnt/root
	mount -t proc proc proc
	mount -t sysfs -o ro sysfs sys
	mount -t tmpfs -o mode=755 tmpfs dev
	mkdir dev/pts dev/shm
	mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
	mount -t tmpfs tmpfs dev/shm
	mknod -m 666 dev/null c 1 3
	mknod -m 666 dev/zero c 1 5
	mknod -m 666 dev/full c 1 7
	mknod -m 666 dev/random c 1 8
	mknod -m 666 dev/urandom c 1 9
	mknod -m 666 dev/tty c 5 0
	ln -s /proc/self/fd dev/fd
	ln -s pts/ptmx dev/ptmx
	mkdir -p oldroot
	pivot_root . oldroot
	umount -l /oldroot
	exec capsh --drop=cap_sys_admin,cap_sys_module,cap_sys_ptrace,cap_net_admin,cap_sys_boot --shell=/bin/true --
'
ip netns del "$n"
ip link del "v$n" 2>/dev/null || :
for c in memory pids cpu; do # all at once, it leaves the second
	cgdelete -g "$c:staves-bench-$n"
done
