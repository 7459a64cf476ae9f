// Package diag turns errors into what a user reads: one line that names the tool,
// the step and the errno, then at most two lines of hint with the cause on this
// machine and the command that mends it.
//
// Hints stand in one table, keyed by the step and the errno (table.go). A step that
// knows more than the table can attach its own with [WithHint].
//
// When not to use this package: to make errors. Mechanism packages return plain
// wrapped errors, and keep the errno.
package diag

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

type hinted struct {
	error
	hints []string
}

func (h *hinted) Unwrap() error { return h.error }

// WithHint attaches hint lines to err; empty ones are left out.
func WithHint(err error, hints ...string) error {
	h := &hinted{error: err}
	for _, s := range hints {
		if s != "" {
			h.hints = append(h.hints, s)
		}
	}
	return h
}

// Hints returns the hint lines for err: those attached, else those of the table.
func Hints(err error) []string {
	var h *hinted
	if errors.As(err, &h) {
		return h.hints
	}
	return lookUp(err)
}

// Print writes err and its hints, as tool says them. Control characters in names are
// escaped, so that a hostile file name cannot forge a line.
func Print(w io.Writer, tool string, err error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", tool, oneLine(err.Error()))
	for i, h := range Hints(err) {
		if i < 2 {
			fmt.Fprintf(&b, "%s: hint: %s\n", tool, oneLine(h))
		}
	}
	_, _ = io.WriteString(w, b.String()) // there is nowhere to report that standard error is closed
}

// oneLine makes s one line of printable text: no control characters, of C1 neither, and
// no marks that turn the direction of writing.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
