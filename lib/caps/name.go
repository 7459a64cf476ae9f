package caps

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseName returns the number of the capability that text is the name of, as
// cap_from_name(3): cap_chown, CAP_CHOWN, or a number from 0 to 63, 0x for hexadecimal
// and 0 for octal. [Parse] knows more spellings.
func ParseName(text string) (int, error) {
	if n, _, ok := cutName(text); ok { // what follows the name counts for nothing there
		return n, nil
	}
	if like, err := Parse(text); err == nil && strings.Trim(text, "0123456789") != "" {
		return 0, fmt.Errorf("%q is no capability; did you mean %s?", text, TextName(like))
	}
	return 0, fmt.Errorf("%q is no capability: see capabilities(7)", text)
}

// TextName is the name of capability n in the C library's texts: a number where it has none.
func TextName(n int) string {
	if n < len(names) {
		return Name(n)
	}
	return strconv.Itoa(n)
}

// ParseHex reads a set in hexadecimal, as strtoull(3) does: up to what is no digit.
func ParseHex(text string) Set {
	text = strings.TrimLeft(text, space)
	bare := strings.TrimLeft(text, "+-")
	if len(text)-len(bare) > 1 {
		return 0
	}
	v, _ := cutNumber(bare, 16)
	if strings.HasPrefix(text, "-") && v != ^uint64(0) {
		v = -v
	}
	return Set(v)
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func digit(c byte) bool  { return '0' <= c && c <= '9' }

// nameByte tells whether a name or number can begin with c.
func nameByte(c byte) bool { return letter(c) || digit(c) || c == '_' }

// cutName cuts a capability's name or number from the front of text.
func cutName(text string) (n int, rest string, ok bool) {
	if text != "" && digit(text[0]) {
		v, rest := cutNumber(text, 0)
		return int(v), rest, v < 64
	}
	end := 0
	for end < len(text) && (letter(text[end]) || text[end] == '_') {
		end++
	}
	for n, name := range names {
		if end == 4+len(name) && strings.EqualFold(text[:4], "cap_") && strings.EqualFold(text[4:end], name) {
			return n, text[end:], true
		}
	}
	return 0, "", false
}

// cutWord cuts a word from the front of text, in any case.
func cutWord(text, word string) (rest string, ok bool) {
	n := len(word)
	if len(text) < n || !strings.EqualFold(text[:n], word) || len(text) > n && nameByte(text[n]) {
		return "", false
	}
	return text[n:], true
}

// cutNumber reads a number as strtoul(3) does, in the given base, where 0 stands for the
// one that the number's beginning tells; what it has no digits for is left, and too large
// a number is the largest.
func cutNumber(text string, base uint64) (v uint64, rest string) {
	hex := len(text) > 2 && text[0] == '0' && text[1]|0x20 == 'x' && digitValue(text[2]) < 16
	switch {
	case hex && (base == 0 || base == 16):
		base, text = 16, text[2:]
	case base == 0 && text != "" && text[0] == '0':
		base = 8
	case base == 0:
		base = 10
	}
	full := false
	for ; text != "" && digitValue(text[0]) < base; text = text[1:] {
		d := digitValue(text[0])
		full = full || v > (^uint64(0)-d)/base
		v = v*base + d
	}
	if full {
		v = ^uint64(0)
	}
	return v, text
}

func digitValue(c byte) uint64 {
	switch {
	case digit(c):
		return uint64(c - '0')
	case letter(c):
		return uint64(c|0x20-'a') + 10
	}
	return 99
}
