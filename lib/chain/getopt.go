package chain

import (
	"fmt"
	"strings"
)

// An Opt is an option as getopt_long(3) knows it, for guises: most of the programs that
// they stand in for read their words with it.
type Opt struct {
	Long  string // "" for none
	Short byte   // 0 for none
	Arg   Arg
}

// An Arg says whether an option has an argument.
type Arg int

// An argument that may be left out must stand in the same word: -mFILE, --mount=FILE.
const (
	NoArg Arg = iota
	NeedsArg
	MayArg
)

// A Given is an option that was found among the words.
type Given struct {
	*Opt
	Value string
	// HasValue tells that there is an argument, if perhaps an empty one.
	HasValue bool
}

// Name is the option as it is written.
func (o *Opt) Name() string {
	if o.Long != "" {
		return "--" + o.Long
	}
	return "-" + string(rune(o.Short))
}

// Getopt reads options as getopt_long(3) does: a long one may be shortened as long as no
// other begins so, short ones may stand together, and "--" ends them. So does the first
// word that is none, unless they are mixed; then the other words are what is left.
func Getopt(words []string, opts []Opt, mixed bool) (given []Given, rest []string, err error) {
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		switch {
		case word == "--":
			return given, append(rest, words...), nil
		case strings.HasPrefix(word, "--"):
			var g Given
			if g, err = long(word, opts); err != nil {
				return nil, nil, err
			}
			if g, words, err = g.argument(words); err != nil {
				return nil, nil, err
			}
			given = append(given, g)
		case len(word) > 1 && word[0] == '-':
			for letters := word[1:]; letters != ""; {
				var g Given
				if g, letters, err = short(letters, opts); err != nil {
					if len(word) > 2 {
						err = fmt.Errorf("%w in %s", err, word)
					}
					return nil, nil, err
				}
				if g, words, err = g.argument(words); err != nil {
					return nil, nil, err
				}
				given = append(given, g)
			}
		case mixed:
			rest = append(rest, word)
		default:
			return given, append([]string{word}, words...), nil
		}
	}
	return given, rest, nil
}

// argument takes g's argument from words, if it has one that is not in its own word.
func (g Given) argument(words []string) (Given, []string, error) {
	switch {
	case g.Arg == NoArg && g.HasValue:
		return g, nil, fmt.Errorf("option %s takes no value, not %q", g.Name(), g.Value)
	case g.Arg != NeedsArg || g.HasValue:
		return g, words, nil
	case len(words) == 0:
		return g, nil, fmt.Errorf("option %s needs a value", g.Name())
	}
	g.Value, g.HasValue = words[0], true
	return g, words[1:], nil
}

// long finds the option of a word like --name=value.
func long(word string, opts []Opt) (Given, error) {
	name, value, has := strings.Cut(word[2:], "=")
	var found []*Opt
	for i := range opts {
		o := &opts[i]
		if o.Long == name && name != "" {
			return Given{o, value, has}, nil
		}
		if !strings.HasPrefix(o.Long, name) || o.Long == "" {
			continue
		}
		found = append(found, o)
	}
	switch len(found) {
	case 0:
		return Given{}, fmt.Errorf("unknown option --%s", name)
	case 1:
		return Given{found[0], value, has}, nil
	}
	var all strings.Builder
	for i, o := range found {
		switch i {
		case 0:
		case len(found) - 1:
			all.WriteString(" or ")
		default:
			all.WriteString(", ")
		}
		all.WriteString(o.Name())
	}
	return Given{}, fmt.Errorf("option --%s can be %s", name, all.String())
}

// short finds the option of the first of letters, and returns the letters after it that
// are options too.
func short(letters string, opts []Opt) (Given, string, error) {
	for i := range opts {
		o := &opts[i]
		if o.Short != letters[0] {
			continue
		}
		if o.Arg == NoArg || len(letters) == 1 {
			return Given{Opt: o}, letters[1:], nil
		}
		return Given{o, letters[1:], true}, "", nil
	}
	return Given{}, "", fmt.Errorf("unknown option -%c", letters[0])
}
