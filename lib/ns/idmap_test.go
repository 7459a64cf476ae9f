package ns

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestParseRange(t *testing.T) {
	for text, want := range map[string]string{
		"0:100000:65536":  "0:100000:65536",
		"100000,0,65536":  "0:100000:65536",
		"0:0:4294967295":  "0:0:4294967295",
		"0:0:4294967296":  "error",
		"1:0:4294967295":  "error",
		"0:1:4294967295":  "error",
		"0:0:0":           "error",
		"":                "error",
		"1:2":             "error",
		"1:2:3:4":         "error",
		"1:2,3":           "error",
		"-1:2:3":          "error",
		"+1:2:3":          "error",
		" 1:2:3":          "error",
		"4294967295:0:1":  "error",
		"4294967294:0:1":  "4294967294:0:1",
		"0x10:1:1":        "error",
		"99999999999:0:1": "error",
	} {
		r, err := ParseRange(text)
		got := r.String()
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%s: %s (%v), want %s", text, got, err, want)
		}
	}
}

func FuzzParseRange(f *testing.F) {
	f.Add("0:1:2")
	f.Add("0,1,2")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRange(text)
		if err != nil {
			return
		}
		if again, err := ParseRange(r.String()); err != nil || again != r {
			t.Errorf("%q: %v, then %v (%v)", text, r, again, err)
		}
	})
}

func parseMap(t *testing.T, text string) (m Map) {
	t.Helper()
	for w := range strings.FieldsSeq(text) {
		r, err := ParseRange(w)
		if err != nil {
			t.Fatal(err)
		}
		m = append(m, r)
	}
	return m
}

func (m Map) words() string {
	var w []string
	for _, r := range m {
		w = append(w, r.String())
	}
	return strings.Join(w, " ")
}

// A single id has its place, and nothing else is lost but what has no partner.
func TestWith(t *testing.T) {
	for _, c := range []struct{ ranges, single, want string }{
		{"", "0:1000:1", "0:1000:1"},
		{"1:100000:5", "0:1000:1", "0:1000:1 1:100000:5"},
		{"0:100000:5", "0:1000:1", "0:1000:1 1:100000:4"},
		{"0:100000:5", "2:1000:1", "2:1000:1 0:100000:2 3:100002:2"},
		{"0:100000:5", "4:1000:1", "4:1000:1 0:100000:4"},
		{"0:100000:5", "5:1000:1", "5:1000:1 0:100000:5"},
		{"0:998:5", "9:1000:1", "9:1000:1 0:998:2 2:1001:2"},
		{"0:998:5", "3:1000:1", "3:1000:1 0:998:2 2:1001:1 4:1002:1"},
		{"0:998:5", "1:1000:1", "1:1000:1 0:998:1 2:999:1 3:1001:2"},
		{"0:998:5", "2:1000:1", "2:1000:1 0:998:2 3:1001:2"},
		{"0:1000:1", "0:1000:1", "0:1000:1"},
		{"0:1000:1", "0:5:1", "0:5:1"},
		{"0:0:4294967295", "7:9:1", "7:9:1 0:0:7 8:7:2 10:10:4294967285"},
	} {
		m := parseMap(t, c.ranges).With(parseMap(t, c.single)[0])
		if got := m.words(); got != c.want {
			t.Errorf("%s with %s: %s, want %s", c.ranges, c.single, got, c.want)
		}
		if err := m.Check(); err != nil {
			t.Errorf("%s with %s: %v", c.ranges, c.single, err)
		}
	}
}

func FuzzWith(f *testing.F) {
	f.Add(uint32(0), uint32(100000), uint32(65536), uint32(0), uint32(1000))
	f.Fuzz(func(t *testing.T, inner, outer, count, i, o uint32) {
		r, single := Range{inner, outer, count}, Range{i, o, 1}
		if r.check() != nil || single.check() != nil {
			return
		}
		m := Map{r}.With(single)
		if err := m.Check(); err != nil {
			t.Errorf("%v with %v: %v: %v", r, single, m, err)
		}
		if got, ok := m.Inner(o); !ok || got != i {
			t.Errorf("%v with %v: %v: %d is %d inside", r, single, m, o, got)
		}
		left := uint64(0)
		for _, r := range m[1:] {
			left += uint64(r.Count)
		}
		if left+1 < uint64(count) || left > uint64(count) {
			t.Errorf("%v with %v: %v", r, single, m)
		}
	})
}

// Blocks are used up whole, whatever place a single id takes.
func TestBlocks(t *testing.T) {
	for _, c := range []struct {
		blocks []Block
		single string
		want   string
	}{
		{[]Block{{100000, 65536}}, "", "0:100000:65536"},
		{[]Block{{100000, 65536}}, "0:1000:1", "0:1000:1 1:100000:65536"},
		{[]Block{{100000, 65536}}, "1000:1000:1", "1000:1000:1 0:100000:1000 1001:101000:64536"},
		{[]Block{{100000, 10}, {200000, 10}}, "", "0:100000:10 10:200000:10"},
		{[]Block{{100000, 10}, {200000, 10}}, "0:1000:1", "0:1000:1 1:100000:10 11:200000:10"},
		{[]Block{{100000, 10}, {200000, 10}}, "10:1000:1", "10:1000:1 0:100000:10 11:200000:10"},
		{[]Block{{100000, 10}, {200000, 10}}, "15:1000:1", "15:1000:1 0:100000:10 10:200000:5 16:200005:5"},
		{[]Block{{1000, 1}}, "0:1000:1", "0:1000:1"},
	} {
		var single *Range
		if c.single != "" {
			single = &parseMap(t, c.single)[0]
		}
		m := Blocks(c.blocks, single)
		if got := m.words(); got != c.want {
			t.Errorf("%v with %s: %s, want %s", c.blocks, c.single, got, c.want)
		}
		if err := m.Check(); err != nil {
			t.Errorf("%v with %s: %v", c.blocks, c.single, err)
		}
	}
}

func TestCheck(t *testing.T) {
	for text, want := range map[string]string{
		"0:0:10 10:10:10": "",
		"0:0:10 9:100:1":  "the ranges 0:0:10 and 9:100:1 overlap",
		"0:0:10 100:9:1":  "the ranges 0:0:10 and 100:9:1 overlap",
	} {
		if err := parseMap(t, text).Check(); fmt.Sprint(err) != want && (err != nil || want != "") {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	var many Map
	for i := range uint32(341) {
		many = append(many, Range{i, i, 1})
	}
	if many.Check() == nil {
		t.Error("341 lines passed")
	}
	if err := many[:340].Check(); err != nil {
		t.Error(err)
	}
	for i := range many {
		many[i].Inner, many[i].Outer = 4000000000+uint32(i), 4000000000+uint32(i)
	}
	if many[:340].Check() == nil {
		t.Error("a text of more than a page passed")
	}
}

func TestSubIDs(t *testing.T) {
	file := t.TempDir() + "/subuid"
	text := "root:100000:65536\n# a comment\nme:200000:10\n\n1000:300000:20\nme:x:1\nme:5\nhim:400000:65536\n1000:7:0"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := SubIDs(file, "me", 1000)
	if want := "[{200000 10} {300000 20}]"; fmt.Sprint(got) != want || err != nil {
		t.Errorf("%v (%v), want %s", got, err, want)
	}
	for _, f := range []string{file, file + "-not-there"} {
		_, err = SubIDs(f, "her", 5)
		var none *NoSubIDsError
		if !errors.As(err, &none) || none.User != "her" || none.File != f {
			t.Errorf("%s: %v", f, err)
		} else if want := map[bool]uint32{true: 465536, false: 100000}[f == file]; none.Free != want {
			t.Errorf("%s: free from %d, want %d", f, none.Free, want)
		}
	}
	if _, err = SubIDs(file, "", 77); err == nil || !strings.Contains(err.Error(), "user 77") {
		t.Error(err)
	}
}

func TestBeyond(t *testing.T) {
	blocks := []Block{{100000, 10}, {100010, 10}, {200000, 5}}
	for text, want := range map[string]string{
		"0:100000:20":           "",
		"0:1000:1 1:100005:15":  "",
		"0:1000:2":              "1000 2",
		"0:99990:20":            "99990 10",
		"0:100015:10":           "100020 5",
		"0:300000:1":            "300000 1",
		"0:100000:1 5:200004:3": "200005 2",
	} {
		got := ""
		if b, missing := parseMap(t, text).Beyond(blocks, 1000); missing {
			got = fmt.Sprintf("%d %d", b.First, b.Count)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
