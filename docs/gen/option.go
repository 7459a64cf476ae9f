package main

import (
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// An option is one of a table, as manuals and completions want it.
type option struct {
	Long, Short string // without dashes; Short may be ""
	Arg         string // "none", "required", or "optional": then it follows a "="
	Value       string // what its value is called
	Usage       string
	Default     string // "" if there is none to speak of
	Implied     string // what an optional value is when it is left out
	Choices     []string
	Kind        string // what else the value can be: "file", "dir", "user", "signal", or ""
}

func newOption(f *pflag.Flag) option {
	name, usage := pflag.UnquoteUsage(f)
	name = strings.TrimPrefix(name, "=") // in --help: how an optional value is given
	o := option{Long: f.Name, Short: f.Shorthand, Arg: "required", Value: name, Usage: usage}
	switch {
	case strings.HasPrefix(f.Value.Type(), "bool") && name == "":
		o.Arg, o.Value = "none", ""
	case f.NoOptDefVal != "":
		o.Arg, o.Implied = "optional", strings.TrimPrefix(f.NoOptDefVal, "true")
	}
	if o.Arg != "none" && !slices.Contains([]string{"", "0", "-1", "[]"}, f.DefValue) {
		o.Default = strings.Trim(f.DefValue, "[]")
	}
	if strings.HasPrefix(name, "string") {
		o.Value = "VALUE" // the library's name for a type
	}
	o.Choices = choices(o)
	o.Kind = kind(name)
	return o
}

var words = regexp.MustCompile(`^[a-z0-9=_-]+(\|[a-zA-Z0-9=_-]+)+$`)

// choices are the words that the value can be, where the table says so, as in
// "auto|ro|none" or "PATH|none", or in the text: "NAME: docker|podman".
func choices(o option) []string {
	if o.Arg == "none" {
		return nil
	}
	var all []string
	for _, field := range append(strings.Fields(o.Usage), o.Value) {
		field = strings.Trim(field, ",;.:")
		if !words.MatchString(field) && field != o.Value {
			continue
		}
		for w := range strings.SplitSeq(field, "|") {
			if (field == o.Value || strings.Contains(field, "|")) && strings.ToLower(w) == w && !slices.Contains(all, w) && !strings.ContainsAny(w, "[]:,") {
				all = append(all, w)
			}
		}
	}
	return all
}

// kind is what a value of that name is.
func kind(name string) string {
	first := strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune("|:[", r) })
	for _, w := range first {
		switch w {
		case "DIR", "STATE":
			return "dir"
		case "FILE", "PATH", "LAYER", "SRC", "PROFILE":
			return "file"
		case "USER", "U":
			return "user"
		case "SIGNAL":
			return "signal"
		}
	}
	return ""
}

// options are all of a table, in the order of --help.
func options(table *pflag.FlagSet) []option {
	var all []option
	table.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			all = append(all, newOption(f))
		}
	})
	return all
}
