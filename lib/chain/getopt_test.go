package chain

import (
	"fmt"
	"strings"
	"testing"
)

func TestGetopt(t *testing.T) {
	opts := []Opt{
		{"dump", 'd', NoArg},
		{"groups", 0, NeedsArg},
		{"init-groups", 0, NoArg},
		{"inh-caps", 0, NeedsArg},
		{"", 'n', NeedsArg},
		{"mount", 'm', MayArg},
		{"mount-proc", 0, MayArg},
	}
	for _, tt := range []struct {
		words string
		mixed bool
		want  string
	}{
		{words: "a -d b", want: "| a -d b"},
		{words: "-dd a", want: "d,d| a"},
		{words: "--dump --groups 4 a", want: "d,--groups=4| a"},
		{words: "--groups=4,5 a", want: "--groups=4,5| a"},
		{words: "--groups=", want: "--groups=|"},
		{words: "--gr 4 --du", want: "--groups=4,d|"},
		{words: "--in", want: "error: option --in can be --init-groups or --inh-caps"},
		{words: "--i=x", want: "error: option --i can be --init-groups or --inh-caps"},
		{words: "--mount a", want: "m| a"},
		{words: "--mount=f", want: "m=f|"},
		{words: "--mount-", want: "--mount-proc|"},
		{words: "-dm a", want: "d,m| a"},
		{words: "-dmf a", want: "d,m=f| a"},
		{words: "-n4 -n 5", want: "n=4,n=5|"},
		{words: "-dn", want: "error: option -n needs a value"},
		{words: "--groups", want: "error: option --groups needs a value"},
		{words: "--dump=x", want: `error: option --dump takes no value, not "x"`},
		{words: "--nosuch", want: "error: unknown option --nosuch"},
		{words: "--=x", want: "error: option -- can be --dump, --groups, --init-groups, --inh-caps, --mount or --mount-proc"},
		{words: "-dx", want: "error: unknown option -x in -dx"},
		{words: "-d -x", want: "error: unknown option -x"},
		{words: "-d -- -d", want: "d| -d"},
		{words: "-", want: "| -"},
		{words: "a -d b -- -d", mixed: true, want: "d| a b -d"},
	} {
		given, rest, err := Getopt(strings.Fields(tt.words), opts, tt.mixed)
		var got []string
		for _, g := range given {
			s := g.Name()
			if g.Short != 0 {
				s = string(rune(g.Short))
			}
			if g.HasValue {
				s += "=" + g.Value
			}
			got = append(got, s)
		}
		s := strings.TrimSpace(strings.Join(got, ",") + "| " + strings.Join(rest, " "))
		if err != nil {
			s = fmt.Sprint("error: ", err)
		}
		if s != tt.want {
			t.Errorf("%s: %s, want %s", tt.words, s, tt.want)
		}
	}
}
