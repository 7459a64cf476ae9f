package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// pictures draws those of a directory from their texts, or finds those that are stale:
// chain.txt has a stage and what it does in each line, session.txt is what a terminal shows.
func pictures(dir string, check bool) error {
	var stale []error
	for name, draw := range map[string]func([]string) string{"chain": drawChain, "session": drawSession} {
		text, err := os.ReadFile(filepath.Join(dir, name+".txt"))
		if err != nil {
			return err
		}
		svg := []byte(draw(strings.Split(strings.TrimRight(string(text), "\n"), "\n")))
		file := filepath.Join(dir, name+".svg")
		old, err := os.ReadFile(file)
		switch {
		case err == nil && bytes.Equal(old, svg):
		case check:
			stale = append(stale, fmt.Errorf("%s is not what %s.txt says: make docs", file, name))
		default:
			if err := os.WriteFile(file, svg, 0o644); err != nil {
				return err
			}
		}
	}
	return errors.Join(stale...)
}

// text is a line of an SVG.
func text(x, y int, class, s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder does not fail
	return fmt.Sprintf("<text x=\"%d\" y=\"%d\" class=\"%s\" xml:space=\"preserve\">%s</text>\n", x, y, class, &b)
}

func svg(width, height int, title, style, body string) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%d" role="img" aria-label="%s">
<style>%s</style>
<rect width="100%%" height="100%%" rx="8" class="paper"/>
%s</svg>
`, width, height, title, style, body)
}

// drawChain draws each stage as a box around those after it, which it isolates.
func drawChain(lines []string) string {
	const (
		width, inset, head = 820, 14, 34
		says               = 330
	)
	var b strings.Builder
	for i, line := range lines {
		words, what, _ := strings.Cut(line, "  ")
		x, y := inset*(i+1), 14+head*i
		below := 14 + head*len(lines) + inset/2*(len(lines)-i)
		class := "stage"
		if i == len(lines)-1 {
			class = "payload"
		}
		fmt.Fprintf(&b, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\" class=\"%s\"/>\n", x, y, width-2*x, below-y, class)
		b.WriteString(text(x+12, y+22, "word", words))
		b.WriteString(text(says+inset, y+22, "what", strings.TrimSpace(what)))
	}
	return svg(width, 14+head*len(lines)+inset/2*len(lines)+14, "Each stage is a box around the stages after it", `
.paper{fill:#fff}
.stage{fill:#8b5a2b;fill-opacity:.09;stroke:#8b5a2b;stroke-width:1.2}
.payload{fill:#2b6a8b;fill-opacity:.15;stroke:#2b6a8b;stroke-width:1.2}
.word{font:600 14px ui-monospace,monospace;fill:#222}
.what{font:14px system-ui,sans-serif;fill:#333}
`, b.String())
}

// drawSession draws a terminal in which one command and its output appear after another. Who
// wants no motion sees all of it at once.
func drawSession(lines []string) string {
	const row, pause = 20, 1.5
	var b strings.Builder
	commands, longest := 0, 0
	for i, line := range lines {
		class := "out"
		if strings.HasPrefix(line, "# ") {
			class = "typed"
			commands++
		}
		longest = max(longest, len(line))
		fmt.Fprintf(&b, "<g style=\"animation-delay:%.1fs\">%s</g>\n", float64(commands-1)*pause, strings.TrimSpace(text(16, 30+row*i, class, line)))
	}
	return svg(32+longest*85/10, 30+row*len(lines), "A terminal session: a container by six stages", `
.paper{fill:#1e1e1e}
text{font:14px ui-monospace,monospace}
.typed{fill:#fff}
.out{fill:#a8c7a0}
@media (prefers-reduced-motion:no-preference){g{opacity:0;animation:show .2s forwards}}
@keyframes show{to{opacity:1}}
`, b.String())
}
