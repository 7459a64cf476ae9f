package chain

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestPlanText(t *testing.T) {
	p := &plan{stages: [][]string{{"cgset", "--memory", "64M"}, {"nsrun", "--hostname", "a b", "it's", "\n", "", "\xff0"}}, tty: 34816}
	const want = "# staves plan 1 ok     00000074\n" +
		"# cgset --memory 64M\n# nsrun --hostname 'a b' $'it\\'s' $'\\n' '' $'\\3770'\n# stdin tty 34816\n"
	text := p.String()
	if want := strings.Replace(want, "00000074", text[planHeader-9:planHeader-1], 1); text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	n, ok := planSize(text[:planHeader])
	if !ok || n != len(text)-planHeader {
		t.Errorf("the header tells of %d bytes (%v), there are %d", n, ok, len(text)-planHeader)
	}
	got, err := parsePlan(text[planHeader:])
	if err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("read back: %+v, %v", got, err)
	}
}

func TestPlanHeader(t *testing.T) {
	good := (&plan{}).String()
	if _, ok := planSize(good); !ok {
		t.Fatalf("%q is no header", good)
	}
	for _, bad := range []string{
		"", good[1:], good[:len(good)-1], good + "\n", strings.ToUpper(good),
		"# staves plan 2 ok     00000000\n", "# staves plan 1 OK     00000000\n", "# staves plan 1 ok     0000000x\n",
		"# staves plan 1 ok     -0000001\n", "# staves plan 1 ok     00000000 ", "# staves plan 1 ok     99999999\n",
	} {
		if n, ok := planSize(bad); ok {
			t.Errorf("%q passes for a header of %d bytes", bad, n)
		}
	}
}

func TestPlanWords(t *testing.T) {
	for text, want := range map[string][]string{
		"": nil, "  ": nil, "''": {""}, `a\ b c`: {"a b", "c"}, `"a 'b' \"c\" \d"`: {`a 'b' "c" \d`},
		`x'y'"z"`: {"xyz"}, `$'\t\x'`: nil, `$'\t\101\\'`: {"\tA\\"}, "a#b": {"a#b"}, "--x=~/y": {"--x=~/y"},
		"'a": nil, `a\`: nil, `"a`: nil, `$'a`: nil, "$HOME": nil, "a$b": nil, "`a`": nil, "a;b": nil, "a>b": nil, `"$a"`: nil,
		"#a": nil, "~": nil, `$'\0'`: nil, `$'\777'`: nil,
	} {
		got, err := splitQuoted(text)
		bad := want == nil && strings.TrimSpace(text) != ""
		if (err != nil) != bad || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
}

// What is read as a plan is written as one that says the same, and what is a plan is read.
func FuzzPlan(f *testing.F) {
	f.Add("# cgset --memory 64M\n# nsrun '' $'\\n' \"x\"\n# stdin tty 34816\n")
	f.Add("# failed nsrun\n#\n")
	f.Add("# a\\ b $'\\001'\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePlan(text)
		if err != nil {
			return
		}
		written := p.String()
		if n, ok := planSize(written[:planHeader]); len(written) < maxPlan && (!ok || n != len(written)-planHeader) {
			t.Fatalf("the header of %q", written)
		}
		for line := range strings.Lines(written) {
			if line[0] != '#' {
				t.Fatalf("a shell would run %q", line)
			}
		}
		again, err := parsePlan(written[planHeader:])
		if err != nil || !reflect.DeepEqual(p, again) {
			t.Fatalf("%+v is written as %q and read as %+v, %v", p, written, again, err)
		}
	})
}

// Any words come through.
func FuzzPlanWord(f *testing.F) {
	f.Add("a", "b c")
	f.Add("'", "\\\n$'")
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.Contains(a+b, "\x00") {
			return // no argument holds one
		}
		p := &plan{stages: [][]string{{"nsrun", a, b}}}
		got, err := parsePlan(p.String()[planHeader:])
		if err != nil || !reflect.DeepEqual(got, p) {
			t.Fatalf("%q: %+v, %v", p.String(), got, err)
		}
	})
}
