package main

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"staves/lib/stages"
)

//go:embed *.tmpl
var templates embed.FS

// A tool is one of the seven, as the templates want it.
type tool struct {
	Name    string
	Operand string // "" for a tool without
	Options []option
}

// shells says, of each template, where a shell looks for what it makes. A shell that finds
// completions by the command's name gets a link for each command.
var shells = []struct {
	template, file string
	link           string // "%s" is the command
}{
	{"bash.tmpl", "bash-completion/completions/staves", "bash-completion/completions/%s"},
	{"zsh.tmpl", "zsh/site-functions/_staves", ""}, // zsh reads the #compdef line
	{"fish.tmpl", "fish/vendor_completions.d/staves.fish", "fish/vendor_completions.d/%s.fish"},
}

func tools() []tool {
	var all []tool
	for _, t := range stages.All {
		all = append(all, tool{t.Name, t.Operand, options(t.Options())})
	}
	return all
}

// completions writes the completions below dir.
func completions(dir string) error {
	parsed, err := template.New("").Funcs(template.FuncMap{
		"join":   strings.Join,
		"quote":  quote,
		"simple": func(s string) string { return strings.ReplaceAll(s, ":", `\:`) },
	}).ParseFS(templates, "*.tmpl")
	if err != nil {
		return err
	}
	for _, s := range shells {
		var b bytes.Buffer
		if err := parsed.ExecuteTemplate(&b, s.template, tools()); err != nil {
			return err
		}
		file := filepath.Join(dir, s.file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			return err
		}
		for _, t := range tools() {
			if s.link == "" {
				break
			}
			link := filepath.Join(dir, fmt.Sprintf(s.link, t.Name))
			if err := os.Remove(link); err != nil && !os.IsNotExist(err) {
				return err
			}
			if err := os.Symlink(filepath.Base(s.file), link); err != nil {
				return err
			}
		}
	}
	return nil
}

// quote writes a word so that any of the three shells takes it for one.
func quote(s string) string {
	s = strings.ReplaceAll(s, `\`, "") // to fish it is special in single quotes
	return "'" + strings.ReplaceAll(s, "'", "’") + "'"
}
