package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/pflag"
)

// The marks between which a page's options stand. What follows the first .Pp of an entry
// is kept: it is written by hand.
const (
	beginMark = `.\" Options: written by 'make docs'. By hand: what follows .Pp in an entry.`
	endMark   = `.\" End of options.`
)

// withOptions returns a manual page with the table's options between the marks, in the
// order of --help.
func withOptions(page string, table *pflag.FlagSet) (string, error) {
	before, rest, ok := strings.Cut(page, beginMark+"\n")
	old, after, ok2 := strings.Cut(rest, endMark+"\n")
	if !ok || !ok2 {
		return "", errors.New("no marks for the options")
	}
	kept := byHand(old)
	var b strings.Builder
	b.WriteString(before + beginMark + "\n.Bl -tag -width Ds\n")
	table.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		b.WriteString(entry(f) + kept[f.Name])
		delete(kept, f.Name)
	})
	b.WriteString(".El\n" + endMark + "\n" + after)
	for name := range kept {
		return "", fmt.Errorf("there is text about --%s, which is no option now", name)
	}
	return b.String(), nil
}

var itemName = regexp.MustCompile(`^\.It .*?Fl -([a-z0-9-]+)`)

// byHand returns the text that was written by hand for options, by their names.
func byHand(list string) map[string]string {
	kept := map[string]string{}
	name, inside := "", false
	for line := range strings.Lines(strings.TrimSuffix(list, ".El\n")) {
		switch m := itemName.FindStringSubmatch(line); {
		case m != nil:
			name, inside = m[1], false
		case strings.TrimSpace(line) == ".Pp":
			inside = true
		}
		if inside {
			kept[name] += line
		}
	}
	return kept
}

// entry is an option in mdoc(7).
func entry(f *pflag.Flag) string {
	o := newOption(f)
	item := ".It "
	if o.Short != "" {
		item += "Fl " + o.Short + " , "
	}
	item += "Fl -" + o.Long
	switch o.Arg {
	case "required":
		item += " Ar " + escape(o.Value)
	case "optional":
		item += " Ns Op Ns = Ns Ar " + escape(o.Value)
	}
	text := o.Usage
	if strings.ContainsAny(o.Value, "|:") { // it stands above, and is no word of a sentence
		text = strings.Replace(text, ": "+o.Value, "", 1)
		text = strings.Replace(text, ", "+o.Value, "", 1)
	}
	if first, _, _ := strings.Cut(text, " "); !strings.Contains(first, "|") {
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	text += "."
	if o.Default != "" {
		text += " The default is " + o.Default + "."
	}
	if o.Implied != "" {
		text += " Without a value: " + o.Implied + "."
	}
	return item + "\n" + fill(escape(text))
}

var (
	quoted = regexp.MustCompile(`(^|[ (])'([^']*)'`)
	dashes = regexp.MustCompile(`(^|[ (/|q])(--?)([a-zA-Z ])`)
)

// escape writes text so that roff(7) shows it as it is.
func escape(s string) string {
	s = strings.ReplaceAll(s, `\`, `\e`)
	s = quoted.ReplaceAllString(s, `$1\(aq$2\(aq`)
	return dashes.ReplaceAllStringFunc(s, func(m string) string { return strings.ReplaceAll(m, "-", `\-`) })
}

// fill breaks text into lines of at most 78 characters, none of which is taken for a request.
func fill(s string) string {
	var b strings.Builder
	line := ""
	flush := func() {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			line = `\&` + line
		}
		b.WriteString(line + "\n")
		line = ""
	}
	words := strings.Fields(s)
	for i, w := range words {
		if line != "" && len(line)+1+len(w) > 78 {
			flush()
		}
		if line != "" {
			line += " "
		}
		line += w
		// A sentence ends with its line: roff(7) sets the space between two.
		if strings.HasSuffix(w, ".") && i < len(words)-1 {
			flush()
		}
	}
	flush()
	return b.String()
}
