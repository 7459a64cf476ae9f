package main

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"os"
	"slices"
	"strings"
)

// A result is what a row came to.
type result struct {
	Job  string        `json:"job"`
	User bool          `json:"user,omitempty"`
	Ways []measurement `json:"ways"` // the first is ours
}

// A measurement is of one way: milliseconds, from fork to the end.
type measurement struct {
	Name    string  `json:"name"`
	Key     string  `json:"key,omitempty"`
	Median  float64 `json:"median,omitempty"`
	Least   float64 `json:"least,omitempty"`
	P90     float64 `json:"p90,omitempty"`
	Ratio   float64 `json:"ratio,omitempty"`   // our median to this one
	Missing string  `json:"missing,omitempty"` // why it was not measured
}

func (r result) title() string {
	if r.User {
		return r.Job + ", as an ordinary user"
	}
	return r.Job
}

func (r result) print(w io.Writer) {
	fmt.Fprintln(w, r.title())
	for i, m := range r.Ways {
		if m.Missing != "" {
			fmt.Fprintf(w, "  %-45s not measured: %s\n", m.Name, m.Missing)
			continue
		}
		fmt.Fprintf(w, "  %-45s median %7.2f ms   least %7.2f   p90 %7.2f", m.Name, m.Median, m.Least, m.P90)
		if i > 0 {
			fmt.Fprintf(w, "   ours takes %.2f of it", m.Ratio)
		}
		fmt.Fprintln(w)
	}
}

// ratios are those to be kept, by row and rival.
func ratios(results []result) map[string]float64 {
	all := map[string]float64{}
	for _, r := range results {
		for _, m := range r.Ways {
			if m.Key != "" && m.Missing == "" {
				all[r.title()+" / "+m.Key] = float64(int(100*m.Ratio+0.5)) / 100
			}
		}
	}
	return all
}

// compare holds ratios against those kept in a file. One that is not in the file, or of
// which this machine has no rival, is not compared.
func compare(file string, now map[string]float64, margin float64) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var kept map[string]float64
	if err := json.Unmarshal(b, &kept); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	var worse []string
	compared := 0
	for name, was := range kept {
		is, ok := now[name]
		if !ok {
			continue
		}
		compared++
		if is > was*(1+margin) {
			worse = append(worse, fmt.Sprintf("%s: %.2f, was %.2f", name, is, was))
		}
	}
	if compared == 0 {
		return fmt.Errorf("%s: none of its ratios was measured", file)
	}
	fmt.Printf("%d ratios compared with %s\n", compared, file)
	if len(worse) > 0 {
		slices.Sort(worse)
		return fmt.Errorf("worse by more than %.0f %%:\n  %s", 100*margin, strings.Join(worse, "\n  "))
	}
	return nil
}

// svg draws for each row a bar of every way's median, ours dark.
func svg(results []result) string {
	const left, width, bar, gap = 330, 420, 13, 16
	var b strings.Builder
	y := 20
	for _, r := range results {
		fmt.Fprintf(&b, `<text x="8" y="%d" font-weight="bold">%s</text>`+"\n", y, html.EscapeString(r.title()))
		y += 8
		longest := 0.0
		for _, m := range r.Ways {
			longest = max(longest, m.Median)
		}
		for i, m := range r.Ways {
			if m.Missing != "" {
				continue
			}
			fill := "#b8c4d0"
			if i == 0 {
				fill = "#1f5f99"
			} else if m.Key == "C" {
				fill = "#7fae7f"
			}
			label := fmt.Sprintf("%.2f ms", m.Median)
			if i > 0 {
				label += fmt.Sprintf(", ours %.2f of it", m.Ratio)
			}
			w := m.Median / longest * width
			fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/><text x="%.1f" y="%d">%s</text>`+"\n",
				left-6, y+bar-2, html.EscapeString(m.Name), left, y, w, bar, fill, left+w+5, y+bar-2, label)
			y += gap
		}
		y += gap
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n"+
		`<rect width="100%%" height="100%%" fill="white"/>`+"\n%s</svg>\n", left+width+190, y, b.String())
}
