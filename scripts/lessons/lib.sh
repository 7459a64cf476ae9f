#!/bin/sh
# What the lessons have in common. A lesson reads it in first; then it says, runs and checks:
#
#   say TEXT               explain
#   run COMMAND            print the command, do it, show its output (it is in $out then)
#   fails COMMAND          the same for one that the kernel refuses
#   start COMMAND          do it in the background; its process is $pid
#   check TEXT COMMAND     what must be so: quietly do COMMAND, which must succeed
#   refute TEXT COMMAND    the same for one that must fail
#   soon COMMAND           try it until it succeeds, for some seconds
#   later COMMAND          do it at the end of the lesson, however it ends
#   need PROGRAM PACKAGE   the lesson cannot be given without
#
# A COMMAND is one word, as it would be typed, or several. A failed check ends the lesson
# with status 1, something missing with status 2.
set -eu

here=$(dirname -- "$(readlink -f -- "$0")")
PATH=$here/../../bin:$PATH:/usr/sbin:/sbin
LC_ALL=C
export PATH LC_ALL
exec 2>&1 # what is said and what programs complain of is one text

prompt='#'
[ "$(id -u)" -eq 0 ] || prompt='$'
undo=
trap 'status=$?; set +e; eval "$undo"; exit "$status"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say() { printf '\n%s\n' "$*"; }

type_() { printf '%s\n' "$*" | sed "1s/^/    $prompt /; 2,\$s/^/      /"; }

do_() { # COMMAND: its output is in $out, its status in $status
	type_ "$@"
	status=0
	out=$(eval "$*" 2>&1) || status=$?
	[ -z "$out" ] || printf '%s\n' "$out" | sed 's/^/    /'
}

run() {
	do_ "$@"
	[ "$status" -eq 0 ] || not_so "that ended with status $status"
}

fails() {
	do_ "$@"
	[ "$status" -ne 0 ] || not_so 'that should have been refused'
}

start() {
	type_ "$* &"
	sh -c "exec $*" </dev/null >/dev/null 2>&1 &
	pid=$!
	later "kill -9 $pid 2>/dev/null"
}

check() {
	text=$1
	shift
	(eval "$*") >/dev/null 2>&1 || not_so "$text"
	printf '    ok: %s\n' "$text"
}

refute() {
	text=$1
	shift
	if (eval "$*") >/dev/null 2>&1; then not_so "$text"; fi
	printf '    ok: %s\n' "$text"
}

soon() {
	tries=0
	until (eval "$*") >/dev/null 2>&1; do
		tries=$((tries + 1))
		[ "$tries" -lt 200 ] || not_so "after some seconds: $*"
		sleep 0.02
	done
}

not_so() {
	printf '    NOT SO: %s\n' "$*"
	exit 1
}

later() { undo="$*; $undo"; }

need() {
	command -v "$1" >/dev/null || cannot "the program $1 is missing (Debian: apt-get install $2)"
}

cannot() {
	printf 'This lesson cannot be given here: %s.\n' "$*"
	exit 2
}

need_root() { [ "$(id -u)" -eq 0 ] || cannot 'it is for root'; }

# on_stage -mp...: the lesson goes on in namespaces of its own, of these kinds, mounts and
# processes among them, with an empty directory in memory as its working directory.
# Whatever it mounts and starts ends with it. Who is not root is root of a user namespace
# from there on.
on_stage() {
	if [ -z "${ON_STAGE-}" ]; then
		user=
		[ "$(id -u)" -eq 0 ] || user=-Ur
		# shellcheck disable=SC2086 # an option, or none
		ON_STAGE=1 exec nsrun $user "$1" --mount-proc --kill-child -- "$0"
	fi
	stage=/mnt
	case $here/ in /mnt/*) stage=/media ;; esac # it must not hide the lesson itself
	mount -t tmpfs -o mode=755 lesson "$stage"
	cd "$stage"
}

# make_root DIR: a root directory in which the programs of this machine are visible, and
# two more, that climb out of a chroot.
make_root() {
	mkdir -p "$1/proc" "$1/sys" "$1/dev" "$1/tmp" "$1/etc"
	for top in usr bin sbin lib lib32 lib64 libx32; do
		if [ -L "/$top" ]; then
			cp -P "/$top" "$1/"
		elif [ -d "/$top" ]; then
			mkdir "$1/$top"
			mount --rbind "/$top" "$1/$top"
		fi
	done
	cat >"$1/climb" <<-'END'
		mkdir "below";
		chroot "below" or die "chroot: $!\n";
		chdir ".." for 1 .. 100;
		chroot ".";
		exec @ARGV;
	END
	cat >"$1/descend" <<-'END'
		open my $left, "<&=", 3 or die "descriptor 3: $!\n";
		chdir $left or die "fchdir: $!\n";
		exec "cat", @ARGV;
	END
}

# controller NAME: the directory of its tree of control groups is $tree, and their version
# $version.
# shellcheck disable=SC2034 # lessons read them
controller() {
	version=1
	tree=$(awk -v name="$1" '$3 == "cgroup" && "," $4 "," ~ "," name "," { print $2; exit }' /proc/mounts)
	[ -z "$tree" ] || return 0
	version=2
	tree=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
	if [ -z "$tree" ] || { [ "$1" != freezer ] && ! grep -qw "$1" "$tree/cgroup.controllers"; }; then
		cannot "there is no controller $1 of control groups"
	fi
}

# number NAME: the number of a system call, for perl's syscall(), on this machine.
number() {
	case $(uname -m) in
	x86_64) set -- "$1" 2 ;;
	aarch64) set -- "$1" 3 ;;
	*) cannot "no number of the system call $1 is known for a machine $(uname -m)" ;;
	esac
	awk -v call="$1" -v column="$2" '$1 == call { print $column }' <<-END
		pivot_root 155 41
		prctl 157 167
		setns 308 268
		uname 63 160
		umount2 166 39
	END
}
