# A group with three limits by libcgroup's programs: NAME.
set -e
cgcreate -g memory,pids,cpu:"$1"
cgset -r memory.limit_in_bytes=64M -r pids.max=100 -r cpu.cfs_quota_us=50000 "$1"
cgexec -g memory,pids,cpu:"$1" /bin/true
for c in memory pids cpu; do # all at once, it leaves the second
	cgdelete -g "$c:$1"
done
