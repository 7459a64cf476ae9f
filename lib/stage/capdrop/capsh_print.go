package capdrop

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"staves/lib/caps"
)

// What capsh prints, scripts take apart: the lines are those of libcap's capsh.

// out writes to standard output.
func out(format string, args ...any) error {
	_, err := fmt.Fprintf(os.Stdout, format, args...)
	return err
}

func (c *capsh) printCurrent(string) error {
	now, err := caps.Read()
	if err != nil {
		return err
	}
	return out("Current: %s\nCurrent IAB: %s\n", now.Sets(), now.IAB())
}

func (c *capsh) print(string) error {
	now, err := caps.Read()
	if err != nil {
		return err
	}
	bits := uint32(now.Securebits)
	binary := strconv.FormatUint(uint64(bits), 2)
	nnp := 0
	if now.NoNewPrivs {
		nnp = 1
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Current: %s\nBounding set =%s\nAmbient set =%s\nCurrent IAB: %s\n",
		now.Sets(), capshNames(now.Bounding), capshNames(now.Ambient), now.IAB())
	fmt.Fprintf(&b, "Securebits: 0%o/0x%x/%d'b%s (no-new-privs=%d)\n", bits, bits, len(binary), binary, nnp)
	for _, bit := range []struct {
		name string
		bit  caps.Securebits
	}{
		{"noroot", caps.NoRoot},
		{"no-suid-fixup", caps.NoSetuidFixup},
		{"keep-caps", caps.KeepCaps},
		{"no-ambient-raise", caps.NoCapAmbientRaise},
	} {
		on, locked := "no", "unlocked"
		if now.Securebits&bit.bit != 0 {
			on = "yes"
		}
		if now.Securebits&(bit.bit<<1) != 0 {
			locked = "locked"
		}
		fmt.Fprintf(&b, " secure-%s: %s (%s)\n", bit.name, on, locked)
	}
	fmt.Fprintf(&b, "uid=%d(%s) euid=%[3]d(%[4]s)\n", now.UID[0], userName(now.UID[0]), now.UID[1], userName(now.UID[1]))
	fmt.Fprintf(&b, "gid=%d(%s)\n", now.GID[0], groupName(now.GID[0]))
	var groups []string
	for _, g := range now.Groups {
		groups = append(groups, fmt.Sprintf("%d(%s)", g, groupName(g)))
	}
	fmt.Fprintf(&b, "groups=%s\nGuessed mode: %s (%d)\n", strings.Join(groups, ","), now.Mode(), now.Mode())
	return out("%s", b.String())
}

const unknownName = "???"

func userName(uid uint32) string {
	account, err := caps.Files.AccountOf(uid)
	if err != nil {
		return unknownName
	}
	return account.Name
}

func groupName(gid uint32) string {
	name, err := caps.Files.GroupName(gid)
	if err != nil {
		return unknownName
	}
	return name
}

// capshNames are the names in a set, numbers where there are none.
func capshNames(set caps.Set) string {
	var names []string
	for n := range 64 {
		if set.Has(n) {
			names = append(names, caps.TextName(n))
		}
	}
	return strings.Join(names, ",")
}

func (c *capsh) decode(text string) error {
	set := caps.ParseHex(text)
	return out("%#016x=%s\n", uint64(set), capshNames(set))
}

func (c *capsh) printMode(string) error {
	now, err := caps.Read()
	if err != nil {
		return err
	}
	return out("Mode: %s\n", now.Mode())
}

func (c *capsh) printModes(string) error {
	return out("Supported modes: %s\n", strings.Join(caps.Modes[caps.NoPriv:], " "))
}

func (c *capsh) explain(name string) error {
	n, err := caps.ParseName(name)
	if err != nil {
		return err
	}
	return out("%s", explanation(n))
}

func (c *capsh) suggest(text string) error {
	var found []string
	for n := range 64 {
		if what := caps.Explain(n); what != "" && strings.Contains(strings.ToLower(what), strings.ToLower(text)) {
			found = append(found, explanation(n))
		}
	}
	return out("%s", strings.Join(found, "\n"))
}

// explanation is what capability n allows, with a line above it that says what it looks
// like in /proc/self/status.
func explanation(n int) string {
	what, name := caps.Explain(n), caps.Name(n)
	if what == "" {
		name = "<unsupported>"
	}
	head := fmt.Sprintf("%s (%d) [/proc/self/status:CapXXX: 0x%016x]\n", name, n, uint64(1)<<n)
	if what == "" {
		return head
	}
	return head + "\n    " + strings.ReplaceAll(what, "\n", "\n    ") + "\n"
}

func (c *capsh) help() error {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: %s [WORD]...\nWords are carried out in order. Without what is to be run it ends with 0.\n\n", c.name)
	for _, w := range capshWords {
		name := "--" + w.name
		if w.value != "" {
			name += "=" + w.value
		}
		fmt.Fprintf(&b, "  %-18s %s\n", name, w.help)
	}
	b.WriteString("  --                 the other words are for /bin/bash\n" +
		"  -+                 likewise, in a child that is waited for\n" +
		"  ==                 the other words are for capsh, started again\n" +
		"  =+                 likewise, in a child that is waited for\n")
	if _, err := io.WriteString(os.Stdout, b.String()); err != nil {
		return err
	}
	return nil
}

func (c *capsh) license() error { return version(os.Stdout, c.name) }
