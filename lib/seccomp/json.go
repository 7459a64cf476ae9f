package seccomp

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A reader reads JSON (RFC 8259) whose members are known before, and remembers the first
// thing that is wrong; after that, everything is empty. What is null is left out.
//
// It is here because encoding/json, by being linked, made every start of the tool take a
// tenth longer, whether there was a profile to read or not.
type reader struct {
	text []byte
	pos  int
	err  error
}

var errCutShort = errors.New("it is cut short: the JSON ends before it is complete")

// fail records an error, with the line it is about.
func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		line := 1 + bytes.Count(r.text[:r.pos], []byte("\n"))
		r.err = fmt.Errorf("line %d: %w", line, fmt.Errorf(format, args...))
	}
}

// peek skips white space and returns the next byte, 0 after an error or at the end.
func (r *reader) peek() byte {
	for r.err == nil && r.pos < len(r.text) {
		switch c := r.text[r.pos]; c {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return c
		}
	}
	return 0
}

// next wants c to come next, and skips it.
func (r *reader) next(c byte, what string) bool {
	switch is := r.peek(); {
	case r.err != nil:
	case r.pos == len(r.text):
		r.err = errCutShort
	case is != c:
		r.fail("%s expected, not %q", what, is)
	default:
		r.pos++
		return true
	}
	return false
}

// null skips a null.
func (r *reader) null() bool {
	if r.peek() != 'n' || !bytes.HasPrefix(r.text[r.pos:], []byte("null")) {
		return false
	}
	r.pos += len("null")
	return true
}

// sequence reads what stands between two brackets, with commas between.
func (r *reader) sequence(begin, end byte, what string, element func()) {
	if r.null() || !r.next(begin, what) {
		return
	}
	if r.peek() == end {
		r.pos++
		return
	}
	for {
		element()
		if r.peek() != ',' {
			break
		}
		r.pos++
	}
	r.next(end, fmt.Sprintf("a comma or %q", end))
}

// object reads an object; member reads the value of each of its members.
func (r *reader) object(member func(name string)) {
	var seen []string
	r.sequence('{', '}', "an object", func() {
		name := r.string()
		if slices.Contains(seen, name) {
			r.fail("a second member %q", name)
		}
		seen = append(seen, name)
		if r.next(':', "a colon") {
			member(name)
		}
	})
}

// array reads an array.
func (r *reader) array(element func()) { r.sequence('[', ']', "an array", element) }

// strings reads an array of strings.
func (r *reader) strings() (list []string) {
	r.array(func() { list = append(list, r.string()) })
	return list
}

// number reads an unsigned integer.
func (r *reader) number() uint64 {
	if r.null() {
		return 0
	}
	c := r.peek()
	start := r.pos
	for r.pos < len(r.text) && strings.IndexByte("+-.0123456789Ee", r.text[r.pos]) >= 0 {
		r.pos++
	}
	word := string(r.text[start:r.pos])
	n, err := strconv.ParseUint(word, 10, 64)
	switch {
	case r.err != nil:
	case start == len(r.text):
		r.err = errCutShort
	case word == "":
		r.fail("a number expected, not %q", c)
	case err != nil || len(word) > 1 && word[0] == '0':
		r.fail("%s: no unsigned integer of 64 bits", word)
	}
	return n
}

// optional is number for one that may be left out.
func (r *reader) optional() *uint64 {
	if r.null() {
		return nil
	}
	n := r.number()
	return &n
}

// string reads a string.
func (r *reader) string() string {
	if r.null() || !r.next('"', "a string") {
		return ""
	}
	var b []byte
	for ; r.pos < len(r.text); r.pos++ {
		switch c := r.text[r.pos]; {
		case c == '"':
			r.pos++
			return string(b)
		case c < ' ':
			r.fail("a control character in a string")
			return ""
		case c == '\\':
			b = r.escape(b)
		default:
			b = append(b, c)
		}
	}
	if r.err == nil {
		r.err = errCutShort
	}
	return ""
}

// escape reads what a backslash begins, and stops at its last byte.
func (r *reader) escape(b []byte) []byte {
	if r.pos++; r.pos == len(r.text) {
		return b
	}
	c := r.text[r.pos]
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		return append(b, "\"\\/\b\f\n\r\t"[i])
	}
	u := r.unit()
	if u < 0 {
		r.fail("\\%c: no escape of JSON", c)
		return b
	}
	if utf16.IsSurrogate(u) {
		low := rune(-1)
		if bytes.HasPrefix(r.text[r.pos+1:], []byte(`\u`)) {
			r.pos += 2
			low = r.unit()
		}
		u = utf16.DecodeRune(u, low)
	}
	return utf8.AppendRune(b, u)
}

// unit reads uXXXX, and stops at its last byte; -1 for anything else.
func (r *reader) unit() rune {
	if r.text[r.pos] != 'u' || len(r.text) < r.pos+5 {
		return -1
	}
	n, err := strconv.ParseUint(string(r.text[r.pos+1:r.pos+5]), 16, 16)
	if err != nil {
		return -1
	}
	r.pos += 4
	return rune(n)
}
