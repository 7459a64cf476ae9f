package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"staves/lib/chain"
	"staves/lib/stages"
	"staves/lib/testkit"
)

// rows returns the tables of docs/coming-from.md, by their section's title: the first column,
// and the second.
func rows(t *testing.T) map[string][][2]string {
	t.Helper()
	text, err := os.ReadFile("../coming-from.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][][2]string{}
	section := ""
	for line := range strings.Lines(string(text)) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			section = strings.TrimSpace(title)
		}
		if cells := strings.Split(line, "|"); len(cells) == 5 && !strings.HasPrefix(line, "|--") {
			all[section] = append(all[section], [2]string{cells[1], cells[2]})
		} else if len(cells) > 1 && !strings.HasPrefix(line, "|--") {
			t.Errorf("%d columns, not 3: %s", len(cells)-2, line)
		}
	}
	return all
}

// The index leads to every page, and each of its links somewhere.
func TestIndex(t *testing.T) {
	index, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	linked := map[string]bool{"../README.md": true}
	for _, m := range regexp.MustCompile(`\]\(([^)]*)\)`).FindAllStringSubmatch(string(index), -1) {
		file := filepath.Join("..", m[1])
		linked[file] = true
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
	for _, pattern := range []string{"../*.md", "../man/*.[0-9]"} {
		pages, err := filepath.Glob(pattern)
		if err != nil || len(pages) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, page := range pages {
			if !linked[page] {
				t.Errorf("docs/README.md does not lead to %s", page)
			}
		}
	}
}

// example says what stands for a word in capitals: after an option, or anywhere.
var example = map[string]string{
	"--keep LIST": "net_raw", "--drop LIST": "net_raw", "--inh LIST": "net_raw", "--amb LIST": "net_raw", "--bnd LIST": "net_raw",
	"--groups LIST": "5", "--groups L": "5", "--securebits LIST": "noroot", "--iab TEXT": "cap_chown", "--mode M": "hybrid",
	"--cpuset-cpus LIST": "0", "--cpuset-mems LIST": "0", "--set KEY": "memory.max", "--set VALUE": "64M",
	"--map-users R": "0:0:1", "--map-groups R": "0:0:1", "--user NAME": "root",
	"--upper U": "UPPER", "--upper DIR": "UPPER", "--work W": "WORK", "--work DIR": "WORK", "--cwd DIR": "/",
	"--lower A": "DIR", "--lower B": "ROOT", "--lower LAYER": "DIR", "--lower BASE": "ROOT",
	"--landlock-access A": "fs", "--landlock-rule R": "path-beneath::/",
	"--mac ADDRESS": "02:00:00:00:00:01", "--block-fd N": "0", "--info-fd N": "1", "--json-status-fd N": "1",
	"--rlimit NAME": "nofile", "--ro-path PATH": "/etc", "--device-allow RULE": "/dev/null:rw", "--io-weight N": "100",
	"U": "0", "G": "0", "S": "1", "N": "2", "SIZE": "1M", "MODE": "700", "CIDR": "10.9.0.5/24",
	"ADDR": "10.9.0.1", "IP": "10.9.0.1", "SRC": "DIR", "DST": "/mnt", "PATH": "/dev/zero:/dev/more", "SIGNAL": "TERM",
	"DEV": "8:0", "SOFT": "64", "HARD": "64", "CMD": "true", "INIT": "true",
}

var (
	optionOrWord = regexp.MustCompile(`-[A-Za-z-]+|[A-Z]+`)
	joinedFile   = regexp.MustCompile(`--join (user|net)=(FILE|/run/netns/X)`)
)

// typed puts examples for the words in capitals of a line of the page, and has the chain be
// explained. The process pid is there to be joined.
func typed(line string, pid int) string {
	option := ""
	line = joinedFile.ReplaceAllString(line, "--join $1=/proc/PID/ns/$1")
	line = strings.ReplaceAll(line, "PID", strconv.Itoa(pid))
	line = optionOrWord.ReplaceAllStringFunc(line, func(w string) string {
		if strings.HasPrefix(w, "-") {
			option = w
		} else if s, ok := example[option+" "+w]; ok {
			return s
		} else if s, ok := example[w]; ok {
			return s
		}
		return w
	})
	tool, rest, _ := strings.Cut(line, " ")
	return tool + " --explain " + rest
}

// elsewhere starts a process in namespaces of its own, which has a socket as descriptor 3.
func elsewhere(t *testing.T, bin string) (pid int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, "nsrun"), "-rmuinC", "--", "sleep", "60")
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(socket), "socket")
	defer file.Close()
	cmd.ExtraFiles = []*os.File{file}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	comm := filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "comm")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if name, _ := os.ReadFile(comm); string(name) == "sleep\n" {
			return cmd.Process.Pid
		}
		if time.Now().After(end) {
			t.Fatal("there is no process in other namespaces")
		}
	}
}

// What the page has for another program's option can be typed: it is read and checked. What
// this machine lacks is no fault of the page's.
func TestComingFromCanBeTyped(t *testing.T) {
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"ROOT/dev", "DIR", "UPPER", "WORK"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "FILE"), []byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	pid := elsewhere(t, bin)
	lacking := regexp.MustCompile(`an option that manages .* runs none|is not in force on this machine|is in that user namespace already|no line for the user .* in /etc/sub[ug]id`)
	lines := 0
	for section, all := range rows(t) {
		for _, row := range all {
			for _, m := range code.FindAllStringSubmatch(row[1], -1) {
				if tool, _, _ := strings.Cut(m[1], " "); find(tool) == nil {
					continue
				}
				lines++
				line := typed(m[1], pid)
				cmd := exec.Command("sh", "-c", line)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
				var wrong bytes.Buffer // no pipe for the rest: it is looked at who reads that
				cmd.Stderr = &wrong
				if err := cmd.Run(); err != nil && !lacking.Match(wrong.Bytes()) {
					t.Errorf("%s: %s: %v\n%s", section, line, err, &wrong)
				}
			}
		}
	}
	if lines < 100 {
		t.Errorf("only %d lines were typed", lines)
	}
}

var code = regexp.MustCompile("`([^`]*)`")

func TestMain(m *testing.M) {
	status := m.Run()
	testkit.Cleanup()
	os.Exit(status)
}

func find(name string) *chain.Tool {
	i := slices.IndexFunc(stages.All, func(t *chain.Tool) bool { return t.Name == name })
	if i < 0 {
		return nil
	}
	return stages.All[i]
}

// Every option of ours that the page names exists, and takes a value or none as it is written.
func TestComingFromNamesOurOptions(t *testing.T) {
	checked := 0
	for section, all := range rows(t) {
		for _, row := range all {
			for _, m := range code.FindAllStringSubmatch(row[1], -1) {
				checked += checkLine(t, section, strings.Fields(m[1]))
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d options were looked at", checked)
	}
}

// checkLine checks the words of a chain, and returns how many options there were.
func checkLine(t *testing.T, section string, words []string) (checked int) {
	t.Helper()
	var table []option
	for i, w := range words {
		if tool := find(w); tool != nil {
			table = options(tool.Options())
			continue
		}
		if table == nil || w == "--" {
			return checked // another program
		}
		if !strings.HasPrefix(w, "-") {
			continue
		}
		name, _, attached := strings.Cut(w, "=")
		names := []string{name}
		if !strings.HasPrefix(w, "--") {
			names = strings.Split(name[1:], "")
		}
		for _, name := range names {
			at := slices.IndexFunc(table, func(o option) bool { return name == "--"+o.Long || name == o.Short })
			checked++
			switch {
			case at < 0:
				t.Errorf("%s: %s: %s has no option %s", section, strings.Join(words, " "), words[0], name)
			case table[at].Arg == "required" && !attached && i == len(words)-1 && len(words) > 2:
				t.Errorf("%s: %s: %s wants a value", section, strings.Join(words, " "), name)
			case table[at].Arg == "none" && attached && !slices.Contains([]string{"--net"}, name):
				t.Errorf("%s: %s: %s takes no value", section, strings.Join(words, " "), name)
			}
		}
	}
	return checked
}

// dockerRun are the options of 'docker run' in Docker 28, which need not be installed.
const dockerRun = `--add-host --annotation --attach --blkio-weight --blkio-weight-device --cap-add --cap-drop
--cgroup-parent --cgroupns --cidfile --cpu-count --cpu-percent --cpu-period --cpu-quota --cpu-rt-period
--cpu-rt-runtime --cpu-shares --cpus --cpuset-cpus --cpuset-mems --detach --detach-keys --device
--device-cgroup-rule --device-read-bps --device-read-iops --device-write-bps --device-write-iops
--disable-content-trust --dns --dns-option --dns-search --domainname --entrypoint --env --env-file --expose
--gpus --group-add --health-cmd --health-interval --health-retries --health-start-interval
--health-start-period --health-timeout --help --hostname --init --interactive --io-maxbandwidth --io-maxiops
--ip --ip6 --ipc --isolation --kernel-memory --label --label-file --link --link-local-ip --log-driver
--log-opt --mac-address --memory --memory-reservation --memory-swap --memory-swappiness --mount --name
--network --network-alias --no-healthcheck --oom-kill-disable --oom-score-adj --pid --pids-limit --platform
--privileged --publish --publish-all --pull --quiet --read-only --restart --rm --runtime --security-opt
--shm-size --sig-proxy --stop-signal --stop-timeout --storage-opt --sysctl --tmpfs --tty --ulimit
--use-api-socket --user --userns --uts --volume --volume-driver --volumes-from --workdir`

// saidOf are the words of a table's first column.
func saidOf(table [][2]string) []string {
	var left strings.Builder
	for _, row := range table {
		left.WriteString(row[0])
	}
	return regexp.MustCompile("`|[ =]").Split(left.String(), -1)
}

func TestComingFromHasDockersOptions(t *testing.T) {
	said := saidOf(rows(t)["docker run"])
	for _, name := range strings.Fields(dockerRun) {
		if !slices.Contains(said, name) {
			t.Errorf("nothing about %s", name)
		}
	}
}

// Every option that the other program has is in its table.
func TestComingFromIsComplete(t *testing.T) {
	long := regexp.MustCompile(`(?m)(?:^|[ \[,])(--[a-z][a-z0-9-]*)`)
	all := rows(t)
	for _, program := range []string{"unshare", "nsenter", "setpriv", "capsh", "bwrap"} {
		t.Run(program, func(t *testing.T) {
			testkit.NeedExec(t, program)
			help, err := exec.Command(program, "--help").CombinedOutput()
			if err != nil {
				t.Fatalf("%s --help: %v", program, err)
			}
			said := saidOf(all[program])
			for _, m := range long.FindAllStringSubmatch(string(help), -1) {
				if !slices.Contains(said, m[1]) && !(strings.HasSuffix(m[1], "-try") && slices.Contains(said, "-try")) {
					t.Errorf("nothing about %s", m[1])
				}
			}
		})
	}
}
