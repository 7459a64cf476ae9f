# A /dev by the usual programs, in a mount namespace: DIR.
set -e
mount -t tmpfs -o mode=755,size=64k tmpfs "$1"
mknod -m 666 "$1/null" c 1 3
mknod -m 666 "$1/zero" c 1 5
mknod -m 666 "$1/full" c 1 7
mknod -m 666 "$1/random" c 1 8
mknod -m 666 "$1/urandom" c 1 9
mknod -m 666 "$1/tty" c 5 0
ln -s /proc/self/fd "$1/fd"
ln -s /proc/self/fd/0 "$1/stdin"
ln -s /proc/self/fd/1 "$1/stdout"
ln -s /proc/self/fd/2 "$1/stderr"
ln -s pts/ptmx "$1/ptmx"
mkdir "$1/pts" "$1/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$1/pts"
mount -t tmpfs -o mode=1777,size=64M tmpfs "$1/shm"
exec /bin/true
