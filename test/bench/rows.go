package main

// A row is a job, and the ways to do it; the first is ours.
type row struct {
	job  string
	user bool // by an ordinary user
	ways []way
}

// A way is a command: words, in which $NAME is a variable of the environment, "{}" the
// number of the run, and '...' one word.
type way struct {
	name string
	line string
	key  string // of the ratio of ours to it, in the file of ratios; "" for none
}

// floorWay is the same in C, with the same system calls: the program floor.c.
func floorWay(words string) way {
	return way{"C", "$FLOOR " + words + " -- /bin/true", "C"}
}

// rows lists what is compared. $ROOT is a directory tree to use as root, $BUNDLE an OCI
// bundle of it, $RECIPE the recipe of the tutorials, $JOIN the pid of a process with
// namespaces of its own, $BR a bridge in the network namespace that all of it runs in.
var rows = []row{
	{job: "nothing: the program alone", ways: []way{
		{name: "true", line: "/bin/true"},
	}},

	// Each stage alone.
	{job: "nsrun: a mount namespace", ways: []way{
		{name: "nsrun -m", line: "nsrun -m /bin/true"},
		floorWay("ns=m"),
		{"unshare -m", "unshare -m /bin/true", "unshare"},
	}},
	{job: "nsrun: a user namespace", ways: []way{
		{name: "nsrun -Ur", line: "nsrun -Ur /bin/true"},
		floorWay("ns=U"),
		{"unshare -Ur", "unshare -Ur /bin/true", "unshare"},
	}},
	{job: "nsrun: a pid namespace", ways: []way{
		{name: "nsrun -p, with init", line: "nsrun -p /bin/true"},
		floorWay("ns=p"),
		{"unshare -pf", "unshare -pf /bin/true", "unshare"},
		{"unshare -pf tini", "unshare -pf tini -- /bin/true", "tini"},
	}},
	{job: "nsrun: namespaces joined", ways: []way{
		{name: "nsrun --join", line: "nsrun --join $JOIN -- /bin/true"},
		{"nsenter", "nsenter -t $JOIN -m -u -i -n /bin/true", "nsenter"},
	}},
	{job: "cgset: a group with three limits, removed in the end", ways: []way{
		{name: "cgset", line: "cgset --memory 64M --pids 100 --cpus 0.5 -- /bin/true"},
		{name: "C", line: "$FLOOR cg=staves-bench-c-{} -- /bin/true", key: "C"},
		{"cgcreate, cgset, cgexec, cgdelete", "sh $CGTOOLS staves-bench-{}", "libcgroup"},
	}},
	{job: "netbr: a namespace wired to a bridge", ways: []way{
		{name: "netbr", line: "netbr --bridge $BR -- /bin/true"},
		{"ip netns, ip link, ip addr, ip route", "sh $IPNETNS {}", "ip"},
	}},
	{job: "overlay: a copy on write of /", ways: []way{
		{name: "nsrun -m overlay", line: "nsrun -m overlay -- /bin/true"},
		floorWay("ns=m overlay"),
		{"unshare -m, mount, mount", "unshare -m sh $OVERLAY", "mount"},
	}},
	{job: "mkdev: a /dev", ways: []way{
		{name: "nsrun -m mkdev", line: "nsrun -m mkdev $ROOT/dev -- /bin/true"},
		floorWay("ns=m dev=$ROOT/dev"),
		{"unshare -m, mount, mknod, ln", "unshare -m sh $MKDEV $ROOT/dev", "mknod"},
	}},
	{job: "pivot: a root", ways: []way{
		{name: "nsrun -m pivot", line: "nsrun -m pivot --proc=none --sys=none $ROOT -- /bin/true"},
		floorWay("ns=m plain=$ROOT"),
		{"unshare -m, mount --bind, pivot_root, umount", "unshare -m sh $PIVOT $ROOT", "pivot_root"},
	}},
	{job: "capdrop: one capability, another user", ways: []way{
		{name: "capdrop", line: "capdrop --keep net_raw --user 1000 -- /bin/true"},
		floorWay("user=1000"),
		{"setpriv", "setpriv --reuid 1000 --regid 1000 --clear-groups --bounding-set -all,+net_raw --inh-caps -all,+net_raw --ambient-caps -all,+net_raw --no-new-privs /bin/true", "setpriv"},
		{"capsh", "capsh --drop=cap_chown,cap_sys_admin --gid=1000 --uid=1000 --shell=/bin/true --", "capsh"},
	}},
	{job: "capdrop: with the default filter of system calls", ways: []way{
		{name: "capdrop --seccomp default", line: "capdrop --keep net_raw --user 1000 --seccomp default -- /bin/true"},
		{"setpriv, without a filter", "setpriv --reuid 1000 --regid 1000 --clear-groups --bounding-set -all,+net_raw --inh-caps -all,+net_raw --ambient-caps -all,+net_raw --no-new-privs /bin/true", "setpriv"},
	}},

	// Chains.
	{job: "two stages: namespaces, capabilities", ways: []way{
		{name: "nsrun, capdrop", line: "nsrun -muipnC capdrop -- /bin/true"},
		floorWay("ns=muipnC caps"),
		{"the same unfused", "nsrun -muipnC $BIN/capdrop -- /bin/true", ""},
		{"bwrap", "bwrap --unshare-all --dev-bind / / --cap-drop ALL /bin/true", "bwrap"},
	}},
	{job: "four stages: a container in a given root", ways: []way{
		{name: "nsrun, mkdev, pivot, capdrop", line: "nsrun -muipnC mkdev $ROOT/dev pivot $ROOT capdrop -- /bin/true"},
		floorWay("ns=muipnC dev=$ROOT/dev pivot=$ROOT caps"),
		{"with bwrap's masks", "nsrun -muipnC mkdev $ROOT/dev pivot --mask none --sys=none $ROOT capdrop -- /bin/true", ""},
		{"bwrap", "bwrap --unshare-all --bind $ROOT / --proc /proc --dev /dev --cap-drop ALL /bin/true", "bwrap"},
		{"runc", "runc run --bundle $BUNDLE staves-bench-{}", "runc"},
		{"crun", "crun run --bundle $BUNDLE staves-bench-{}", "crun"},
		{"podman", "podman run --rm --network none --rootfs $ROOT /bin/true", "podman"},
		{"systemd-nspawn", "systemd-nspawn -q --register=no --keep-unit -D $ROOT /bin/true", "nspawn"},
	}},
	{job: "five stages: a container over a copy of /", ways: []way{
		{name: "nsrun, overlay, mkdev, pivot, capdrop", line: "nsrun -muipnC overlay mkdev pivot capdrop -- /bin/true"},
		floorWay("ns=muipnC overlay dev=/../dev pivot=/.. caps"),
		{"unfused", "nsrun -muipnC $BIN/overlay -- $BIN/mkdev -- $BIN/pivot -- $BIN/capdrop -- /bin/true", ""},
		{"bwrap, in a given root", "bwrap --unshare-all --bind $ROOT / --proc /proc --dev /dev --cap-drop ALL /bin/true", "bwrap"},
		{"runc, in a given root", "runc run --bundle $BUNDLE staves-bench-{}", "runc"},
	}},
	{job: "seven stages: limits and a network too, a filter of system calls", ways: []way{
		{name: "all seven", line: "cgset --memory 64M --pids 100 --cpus 0.5 -- netbr --bridge $BR -- nsrun -muipC overlay mkdev pivot capdrop --seccomp default -- /bin/true"},
		{"unfused", "cgset --memory 64M --pids 100 --cpus 0.5 -- $BIN/netbr --bridge $BR -- $BIN/nsrun -muipC $BIN/overlay -- $BIN/mkdev -- $BIN/pivot -- $BIN/capdrop --seccomp default -- /bin/true", ""},
		{"the tutorials' recipe in bash", "bash $RECIPE {}", "recipe"},
	}},

	// As an ordinary user.
	{job: "a user namespace", user: true, ways: []way{
		{name: "nsrun -Ur", line: "nsrun -Ur /bin/true"},
		floorWay("ns=U"),
		{"unshare -Ur", "unshare -Ur /bin/true", "unshare"},
	}},
	{job: "no privileges to gain", user: true, ways: []way{
		{name: "capdrop --preset all", line: "capdrop --preset all -- /bin/true"},
		{"setpriv", "setpriv --no-new-privs --inh-caps -all /bin/true", "setpriv"},
	}},
	{job: "a copy on write of /", user: true, ways: []way{
		{name: "nsrun -Urm overlay", line: "nsrun -Urm overlay -- /bin/true"},
	}},
	{job: "a /dev", user: true, ways: []way{
		{name: "nsrun -Urm mkdev", line: "nsrun -Urm mkdev $ROOT/dev -- /bin/true"},
	}},
	{job: "a root", user: true, ways: []way{
		{name: "nsrun -Urm pivot", line: "nsrun -Urm pivot $ROOT -- /bin/true"},
		{"bwrap", "bwrap --unshare-user --bind $ROOT / /bin/true", "bwrap"},
	}},
	{job: "a container in a given root", user: true, ways: []way{
		{name: "nsrun, mkdev, pivot, capdrop", line: "nsrun -UrmuipnC mkdev $ROOT/dev pivot $ROOT capdrop -- /bin/true"},
		{"bwrap", "bwrap --unshare-all --bind $ROOT / --proc /proc --dev /dev --cap-drop ALL /bin/true", "bwrap"},
	}},
	{job: "a container over a copy of /", user: true, ways: []way{
		{name: "nsrun, overlay, mkdev, pivot, capdrop", line: "nsrun -UrmuipnC overlay mkdev pivot capdrop -- /bin/true"},
		{"bwrap, in a given root", "bwrap --unshare-all --bind $ROOT / --proc /proc --dev /dev --cap-drop ALL /bin/true", "bwrap"},
	}},
}
