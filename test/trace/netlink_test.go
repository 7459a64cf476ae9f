package trace

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"staves/lib/testkit"
)

// Each message to the kernel's network that changes something is traced, and each one traced
// is sent: the same ones, in the same order, with the same arguments.
func TestNetlinkAgainstStrace(t *testing.T) {
	tools(t)
	const up = "netbr --up lab 10.9.0.1/24 && "
	for _, c := range []struct{ before, words string }{
		{"", "netbr -- true"},
		{"", "netbr --bridge lab --no-nat --gw none -- true"},
		{"", "netbr --bridge lab --internal --mtu 1300 -- true"},
		{"nft 'add table ip f; add chain ip f forward { type filter hook forward priority 0; policy drop; }' && ", "netbr --fix-forward -- true"},
		{up, "netbr --bridge lab --addr 10.9.0.5/24 --addr 10.9.0.6 --name web --publish 8080:80 --isolated --lock-mac --rate 10mbit/1mbit -- true"},
		{up + "ip link set lab down && ip link set lo up && ", "netbr --bridge lab --publish 127.0.0.1:8080:80/udp --publish 81:81 -- true"},
		{"", "nsrun -Urmn -- netbr -- true"},
		{up, "nsrun -Urm -- netbr --bridge lab --addr 10.9.0.7 --name inner -- true"},
	} {
		t.Run(c.before+c.words, func(t *testing.T) {
			testkit.Check(t)
			if strings.HasPrefix(c.before, "nft") {
				if _, err := exec.LookPath("nft"); err != nil {
					t.Skip("needs the program nft")
				}
			}
			explained, traced, sent := messages(t, c.before, c.words)
			if len(traced) == 0 {
				t.Fatal("no message is traced")
			}
			compareSent(t, traced, sent)
			compareExplained(t, explained, traced)
		})
	}
}

// A told message is one line of a trace or an explanation.
type told struct {
	line string
	name string
	args []arg
	// conditional tells, of one that is explained, that there is an if.
	conditional bool
}

type arg struct {
	name, value string
	optional    bool
}

var argument = regexp.MustCompile(`(\[?)([a-z.-]+)=("(?:[^"\\]|\\.)*"|[^ \]]*)`)

// readTold reads a line, of which the name of the message, or write, comes first.
func readTold(line string) (m told, ok bool) {
	if strings.HasPrefix(line, "write(/proc/sys/") {
		return told{line: line, name: line}, true
	}
	name, rest, _ := strings.Cut(line, " ")
	if !strings.HasPrefix(name, "RTM_") && !strings.HasPrefix(name, "NFT_MSG_") {
		return m, false
	}
	m = told{line: line, name: name}
	for _, a := range argument.FindAllStringSubmatch(rest, -1) {
		value := a[3]
		if v, err := strconv.Unquote(value); err == nil {
			value = v
		}
		m.args = append(m.args, arg{a[2], value, a[1] != ""})
	}
	return m, true
}

// each returns the messages that a line is for: it has several values of the last argument.
func (m told) each() []told {
	if !strings.HasPrefix(m.name, "NFT_") {
		return []told{m}
	}
	var all []told
	last := len(m.args) - 1
	for _, value := range strings.Split(m.args[last].value, ",") {
		value, times, _ := strings.Cut(value, "*")
		one := m
		one.args = slices.Clone(m.args)
		one.args[last].value = value
		n, _ := strconv.Atoi(times)
		for range max(n, 1) {
			all = append(all, one)
		}
	}
	return all
}

// messages explains a chain, then runs it under strace, in a network namespace of its own, and
// returns what was told and what was sent.
func messages(t *testing.T, before, words string) (explained, traced []told, sent []message) {
	t.Helper()
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	tool, rest, _ := strings.Cut(words, " ")
	script := before + fmt.Sprintf("%s --explain %s >explained && exec strace -f -v -y -s 4000 -o log -e trace=sendto,sendmsg,write %[1]s --trace %[2]s", tool, rest)
	cmd := exec.Command("unshare", "-n", "sh", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	for line := range strings.Lines(string(out)) {
		if text, ok := strings.CutPrefix(line, "+     "); ok {
			if m, ok := readTold(strings.TrimSuffix(text, "\n")); ok {
				traced = append(traced, m)
			}
		}
	}
	conditional := false
	for line := range strings.Lines(read(t, dir, "explained")) {
		text, detail := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "            ")
		if !detail {
			conditional = strings.HasPrefix(line, "        ") && strings.HasSuffix(text, ":")
			continue
		}
		m, ok := readTold(text)
		if !ok {
			t.Errorf("explained, and no message: %q", text)
		}
		m.conditional = conditional
		explained = append(explained, m)
	}
	for line := range strings.Lines(read(t, dir, "log")) {
		if strings.Contains(line, " = ? ERESTART") { // the kernel's lock was taken: it comes once more
			continue
		}
		if w := sysctl.FindStringSubmatch(line); w != nil {
			sent = append(sent, message{name: "write(" + w[1] + ", " + w[2] + ")"})
			continue
		}
		for _, text := range strings.Split(line, "{nlmsg_len=")[1:] {
			if m := (message{nameOf(text), text}); m.name != "" {
				sent = append(sent, m)
			}
		}
	}
	return explained, traced, sent
}

// A message is one that was sent, as strace writes it. Which protocol it is of strace finds out
// only if the socket is one of its own namespace and has sent something before: else it writes
// numbers and bytes.
type message struct{ name, text string }

var (
	sysctl = regexp.MustCompile(`write\(\d+<(/proc/sys/[^>]*)>, (".*", \d+)`)
	typeIs = regexp.MustCompile(`^(\d+), nlmsg_type=(?:NFNL_SUBSYS_NFTABLES<<8\|)?(\w+)`)
)

// nameOf is the name of a message's type, "" if it changes nothing.
func nameOf(text string) string {
	m := typeIs.FindStringSubmatch(text)
	if m == nil {
		return "unreadable"
	}
	n, err := strconv.ParseUint(m[2], 0, 16)
	switch {
	case err != nil && (strings.Contains(m[2], "_GET") || strings.HasPrefix(m[2], "NFNL_MSG_BATCH")):
		return ""
	case err != nil:
		return m[2]
	case m[1] == "20" && (n == unix.NFNL_MSG_BATCH_BEGIN || n == unix.NFNL_MSG_BATCH_END): // a link's is longer
		return ""
	case n == unix.RTM_NEWPREFIX: // has no meaning for the kernel: it is asked whether this may be sent
		return ""
	case n>>8 == 0 && n&3 == 2, n>>8 == unix.NFNL_SUBSYS_NFTABLES && (n&0xff)%3 == 1: // GET of every kind
		return ""
	case numbers[n] == "":
		return m[2]
	}
	return numbers[n]
}

const nft = unix.NFNL_SUBSYS_NFTABLES << 8

var numbers = map[uint64]string{
	unix.RTM_NEWLINK:              "RTM_NEWLINK",
	unix.RTM_DELLINK:              "RTM_DELLINK",
	unix.RTM_SETLINK:              "RTM_SETLINK",
	unix.RTM_NEWADDR:              "RTM_NEWADDR",
	unix.RTM_NEWROUTE:             "RTM_NEWROUTE",
	unix.RTM_NEWNEIGH:             "RTM_NEWNEIGH",
	unix.RTM_NEWQDISC:             "RTM_NEWQDISC",
	unix.RTM_NEWLINKPROP:          "RTM_NEWLINKPROP",
	nft | unix.NFT_MSG_NEWTABLE:   "NFT_MSG_NEWTABLE",
	nft | unix.NFT_MSG_NEWCHAIN:   "NFT_MSG_NEWCHAIN",
	nft | unix.NFT_MSG_NEWRULE:    "NFT_MSG_NEWRULE",
	nft | unix.NFT_MSG_DELRULE:    "NFT_MSG_DELRULE",
	nft | unix.NFT_MSG_NEWSET:     "NFT_MSG_NEWSET",
	nft | unix.NFT_MSG_NEWSETELEM: "NFT_MSG_NEWSETELEM",
	nft | unix.NFT_MSG_DELSETELEM: "NFT_MSG_DELSETELEM",
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// compareSent holds what was traced against what was sent.
func compareSent(t *testing.T, traced []told, sent []message) {
	t.Helper()
	var all []told
	for _, m := range traced {
		all = append(all, m.each()...)
	}
	for i := range max(len(all), len(sent)) {
		switch {
		case i >= len(sent):
			t.Fatalf("traced, but not sent: %s", all[i].line)
		case i >= len(all):
			t.Fatalf("sent, but not traced: %s %s", sent[i].name, sent[i].text)
		case all[i].name != sent[i].name:
			t.Fatalf("message %d: traced is %q, sent %s %s", i+1, all[i].line, sent[i].name, sent[i].text)
		}
		for _, a := range all[i].args {
			spelled := a.spelled(strings.HasPrefix(all[i].name, "NFT_"))
			if spelled != nil && !slices.ContainsFunc(spelled, func(text string) bool { return strings.Contains(sent[i].text, text) }) {
				t.Errorf("%q: %s is none of %q in %s", all[i].line, a.name, spelled, sent[i].text)
			}
		}
	}
}

// hex is how strace writes bytes that it does not read.
func hex(b ...byte) (s string) {
	for _, c := range b {
		s += fmt.Sprintf(`\x%02x`, c)
	}
	return s
}

func hexString(s string) string { return hex(append([]byte(s), 0)...) }

func hexNumber(s string) string {
	n, _ := strconv.ParseUint(s, 0, 32)
	return hex(binary.NativeEndian.AppendUint32(nil, uint32(n))...)
}

// spelled is how strace may write an argument, nil where nothing can be said of that.
func (a arg) spelled(nft bool) []string {
	if nft {
		return a.spelledNft()
	}
	switch name := a.name[strings.LastIndexByte(a.name, '.')+1:]; name {
	case "name", "altname", "kind", "port-kind", "alias":
		return []string{strconv.Quote(a.value), hexString(a.value), hex([]byte(a.value)...)}
	case "local":
		ip := netip.MustParsePrefix(a.value).Addr()
		return []string{strconv.Quote(ip.String()), hex(ip.AsSlice()...)}
	case "gateway":
		ip := netip.MustParseAddr(a.value)
		return []string{strconv.Quote(a.value), hex(ip.AsSlice()...)}
	case "address", "lladdr":
		mac, _ := net.ParseMAC(a.value)
		return []string{a.value, hex(mac...)}
	case "mtu", "netns-pid", "netns-fd", "index", "group":
		return []string{" " + a.value, "=" + a.value, hexNumber(a.value)}
	case "addrgenmode":
		return []string{"IN6_ADDR_GEN_MODE_NONE", hex(5, 0, unix.IFLA_INET6_ADDR_GEN_MODE, 0, 1)}
	case "hairpin", "isolated", "learning", "locked":
		option := map[string]string{"hairpin": "MODE", "learning": "LEARNING", "isolated": "ISOLATED", "locked": "LOCKED"}[name]
		return []string{"IFLA_BRPORT_" + option + "}, " + map[string]string{"on": "1", "off": "0"}[a.value]}
	case "rate":
		bits, _ := strconv.Atoi(strings.TrimSuffix(a.value, "bit"))
		return []string{hexNumber(strconv.Itoa(bits / 8))}
	case "flags":
		if a.value == "IFA_F_NODAD" {
			return []string{a.value, `"` + hex(unix.AF_INET6, 64, unix.IFA_F_NODAD)}
		}
		return []string{a.value, hexNumber("1") + hexNumber("1")} // IFF_UP, and what to change
	case "type":
		return []string{"rtm_type=RTN_" + strings.ToUpper(a.value)}
	case "dst":
		if to, err := netip.ParseAddr(a.value); err == nil {
			return []string{strconv.Quote(a.value), hex(to.AsSlice()...)}
		}
		return nil // default: numbers in a header
	case "dev", "master", "family": // numbers in a header
		return nil
	}
	return []string{"a way to spell " + a.name}
}

// spelledNft is that for nftables, of whose attributes strace writes the bytes.
func (a arg) spelledNft() []string {
	switch a.name {
	case "family":
		n := map[string]byte{"inet": unix.NFPROTO_INET, "ip": unix.NFPROTO_IPV4, "ip6": unix.NFPROTO_IPV6}[a.value]
		return []string{"nfgen_family=" + map[byte]string{unix.NFPROTO_INET: "AF_UNIX", unix.NFPROTO_IPV4: "AF_INET", unix.NFPROTO_IPV6: "AF_INET6"}[n], `"` + hex(n, 0, 0, 0)}
	case "table", "set", "chain":
		return []string{hexString(a.value)}
	case "to":
		to := netip.MustParseAddrPort(a.value)
		return []string{hex(append(to.Addr().AsSlice(), byte(to.Port()>>8), byte(to.Port()))...)}
	case "elem":
	default:
		return []string{"a way to spell " + a.name}
	}
	value, proto, published := strings.Cut(a.value, "/")
	if number, ok := map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP}[proto]; published && ok {
		var on []byte
		if to, err := netip.ParseAddrPort(value); err == nil {
			on, value = to.Addr().AsSlice(), strconv.Itoa(int(to.Port()))
		}
		port, _ := strconv.Atoi(value)
		return []string{hex(append(on, number, 0, 0, 0, byte(port>>8), byte(port))...)}
	}
	from, _, _ := strings.Cut(value, "-")
	if ip, err := netip.ParseAddr(from); err == nil {
		return []string{hex(ip.AsSlice()...)}
	}
	return []string{hexString(value)}
}

// compareExplained holds what was explained against what was traced.
func compareExplained(t *testing.T, explained, traced []told) {
	t.Helper()
	for _, m := range traced {
		if !slices.ContainsFunc(explained, func(e told) bool { return e.covers(m) }) {
			t.Errorf("traced, but not explained: %s", m.line)
		}
	}
	for _, e := range explained {
		if !e.conditional && !slices.ContainsFunc(traced, e.covers) {
			t.Errorf("explained, but not traced: %s", e.line)
		}
	}
}

var open = strings.NewReplacer(regexp.QuoteMeta("..."), ".*")

// covers tells whether what is explained is m: "..." is what was open.
func (e told) covers(m told) bool {
	if !regexp.MustCompile("^" + open.Replace(regexp.QuoteMeta(e.name)) + "$").MatchString(m.name) {
		return false
	}
	rest := m.args
	for _, a := range e.args {
		switch {
		case len(rest) > 0 && rest[0].name == a.name && (strings.HasPrefix(a.value, "...") || a.value == rest[0].value):
			rest = rest[1:]
		case !a.optional:
			return false
		}
	}
	return len(rest) == 0
}
