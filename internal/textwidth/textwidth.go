// Package textwidth measures text in terminal columns: two for East Asian wide characters and emoji, none
// for combining marks, one for the rest.
package textwidth

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// Ellipsis marks text that was cut.
const Ellipsis = "…"

// Rune is the number of columns of one character.
func Rune(r rune) int {
	switch {
	case r < ' ', r == 0x7f:
		return 0
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// String is the number of columns of s.
func String(s string) int {
	n := 0
	for _, r := range s {
		n += Rune(r)
	}
	return n
}

// Truncate cuts s to at most limit columns, the last of which is an ellipsis if anything was cut.
func Truncate(s string, limit int) string {
	if String(s) <= limit {
		return s
	}
	n := 0
	for i, r := range s {
		if n+Rune(r) > limit-1 {
			return s[:i] + Ellipsis
		}
		n += Rune(r)
	}
	return s
}

// Tail is the end of s, at most limit columns wide, the first of which is an ellipsis if anything was cut.
func Tail(s string, limit int) string {
	if String(s) <= limit {
		return s
	}
	n := 0
	for i := len(s); i > 0; {
		r, size := utf8.DecodeLastRuneInString(s[:i])
		if n+Rune(r) > limit-1 {
			return Ellipsis + s[i:]
		}
		n += Rune(r)
		i -= size
	}
	return s
}

// Pad appends spaces up to columns.
func Pad(s string, columns int) string {
	return s + strings.Repeat(" ", max(0, columns-String(s)))
}
