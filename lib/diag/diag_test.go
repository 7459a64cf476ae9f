package diag

import (
	"errors"
	"strings"
	"testing"
)

// What stands in a name reaches the terminal as one line of text, with nothing that acts.
func TestPrint(t *testing.T) {
	for in, want := range map[string]string{
		"open /tmp/ä b":            "open /tmp/ä b",
		"a\nroot: all is well":     "a?root: all is well",
		"\x1b[2J\x7f\r\t":          "?[2J???",
		"c1 \u009b2J":              "c1 ?2J",
		"right to left \u202etxt.": "right to left ?txt.",
		"\xff":                     "\ufffd",
	} {
		var b strings.Builder
		Print(&b, "tool", WithHint(errors.New(in), in, "", "two", "three"))
		if got := b.String(); got != "tool: "+want+"\ntool: hint: "+want+"\ntool: hint: two\n" {
			t.Errorf("%q became %q", in, got)
		}
	}
}
