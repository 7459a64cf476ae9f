package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// svg plots the median start, with p99 as a thin line, over the number of containers
// alive: without the bridge, and with it.
func svg(all []level) string {
	const width, height, left, top, gap = 360, 260, 60, 40, 90
	most, last := 0.0, 1
	for _, l := range all {
		most, last = max(most, l.Start99, l.End), max(last, l.Alive)
	}
	most = math.Ceil(most/5) * 5
	var b strings.Builder
	for panel, bridged := range []bool{false, true} {
		x0 := float64(left + panel*(width+gap))
		x := func(alive int) float64 { return x0 + float64(width)*math.Log(float64(alive))/math.Log(float64(last)) }
		y := func(ms float64) float64 { return top + height*(1-ms/most) }
		title := "without a bridge"
		if bridged {
			title = "with the bridge"
		}
		fmt.Fprintf(&b, `<text x="%.0f" y="%d" font-weight="bold">%s</text>`+"\n", x0, top-16, title)
		for i := range 6 {
			v := most * float64(i) / 5
			fmt.Fprintf(&b, `<line x1="%.0f" x2="%.0f" y1="%.1f" y2="%.1f" stroke="#ddd"/><text x="%.0f" y="%.1f" text-anchor="end">%.0f ms</text>`+"\n", x0, x0+width, y(v), y(v), x0-6, y(v)+4, v)
		}
		seen := map[int]bool{}
		for _, l := range all {
			if l.Bridge == bridged && !seen[l.Alive] {
				seen[l.Alive] = true
				fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", x(l.Alive), top+height+18, l.Alive)
			}
		}
		fmt.Fprintf(&b, `<text x="%.0f" y="%d" text-anchor="middle">containers alive</text>`+"\n", x0+width/2, top+height+36)
		for i, c := range []struct {
			way, what, colour, dash string
			of                      func(level) float64
		}{
			{ours, "staves, start, p50", "#1f5f99", "", func(l level) float64 { return l.Start }},
			{ours, "staves, start, p99", "#1f5f99", "2 3", func(l level) float64 { return l.Start99 }},
			{inC, "the same in C, start, p50", "#7fae7f", "", func(l level) float64 { return l.Start }},
			{ours, "staves, end, p50", "#c07030", "", func(l level) float64 { return l.End }},
			{inC, "the same in C, end, p50", "#e0c090", "", func(l level) float64 { return l.End }},
		} {
			var points []string
			for _, l := range all {
				if l.Bridge == bridged && l.Way == c.way {
					points = append(points, fmt.Sprintf("%.1f,%.1f", x(l.Alive), y(c.of(l))))
				}
			}
			fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2" stroke-dasharray="%s"/>`+"\n", strings.Join(points, " "), c.colour, c.dash)
			if panel == 0 {
				ly := top + height + 60 + 16*i
				fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="%s" stroke-width="2" stroke-dasharray="%s"/><text x="%d" y="%d">%s</text>`+"\n", left, left+30, ly-4, ly-4, c.colour, c.dash, left+38, ly, html.EscapeString(c.what))
			}
		}
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n"+
		`<rect width="100%%" height="100%%" fill="white"/>`+"\n%s</svg>\n", left+2*width+gap+40, top+height+150, b.String())
}
