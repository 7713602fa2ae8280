package decode

import (
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// unescape appends the meaning of a JSON string's inside to dst. It returns what is wrong, or "".
func unescape(dst, s []byte) (out []byte, why string) {
	for i := 0; i < len(s); i++ {
		ch := s[i]
		if ch != '\\' {
			dst = append(dst, ch)
			continue
		}
		i++
		if i == len(s) {
			return dst, "a string ends in a backslash"
		}
		switch s[i] {
		case '"', '\\', '/':
			dst = append(dst, s[i])
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, n := hexRune(s[i+1:])
			if n == 0 {
				return dst, "a \\u escape is not four hexadecimal digits or half of a surrogate pair"
			}
			dst = utf8.AppendRune(dst, r)
			i += n
		default:
			return dst, "unknown escape '\\" + string(rune(s[i])) + "'"
		}
	}
	return dst, ""
}

// hexRune reads the four digits after \u, and the second half of a surrogate pair if the first calls for
// it. n is the number of bytes read, 0 if they are wrong.
func hexRune(s []byte) (r rune, n int) {
	four := func(s []byte) rune {
		if len(s) < 4 {
			return -1
		}
		v := rune(0)
		for _, ch := range s[:4] {
			h := hexValue(ch)
			if h > 15 {
				return -1
			}
			v = v<<4 | rune(h)
		}
		return v
	}
	r = four(s)
	if r < 0 {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 4
	}
	if len(s) < 10 || s[4] != '\\' || s[5] != 'u' {
		return 0, 0
	}
	if r = utf16.DecodeRune(r, four(s[6:])); r == utf8.RuneError {
		return 0, 0
	}
	return r, 10
}

// rawValue stores an object or list as its JSON text in a VARCHAR or BLOB column, in the compact form
// that DuckDB writes.
func (d *JSON) rawValue(c *column, row, p, depth int) int {
	if !c.typ.IsString() {
		end := d.skip(p, depth)
		if end < 0 {
			return -1
		}
		return d.mismatch(c, p, end)
	}
	// d.text uses scratch too, so the text is built apart.
	out, next := d.rewrite(nil, p, depth)
	if next < 0 {
		return -1
	}
	c.putCopied(row, d.b.copy(out))
	return next
}

// rewrite appends the compact form of the value at p to dst.
func (d *JSON) rewrite(dst []byte, p, depth int) (out []byte, next int) {
	switch ch := d.buf[p]; {
	case ch == '"':
		s, next := d.text(p)
		if next < 0 {
			return dst, -1
		}
		return appendString(dst, s), next
	case ch != '{' && ch != '[':
		if next := d.literal(p); next > 0 {
			return append(dst, d.buf[p:next]...), next
		}
		next, whole := d.number(p)
		if next < 0 {
			return dst, -1
		}
		return appendNumber(dst, d.buf[p:next], whole), next
	case depth >= maxDepth:
		return dst, d.fail("malformed JSON: nested more than %d deep", maxDepth)
	case ch == '[':
		dst = append(dst, '[')
		for opening := true; ; opening = false {
			q, done := d.item(p, opening)
			if q < 0 || done {
				return append(dst, ']'), q
			}
			if !opening {
				dst = append(dst, ',')
			}
			if dst, p = d.rewrite(dst, q, depth+1); p < 0 {
				return dst, -1
			}
		}
	}
	dst = append(dst, '{')
	for opening := true; ; opening = false {
		name, q := d.name(p, opening)
		if q < 0 || name == nil {
			return append(dst, '}'), q
		}
		if !opening {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, name), ':')
		if dst, p = d.rewrite(dst, q, depth+1); p < 0 {
			return dst, -1
		}
	}
}

// literal returns the byte after null, true or false, 0 if there is none at p.
func (d *JSON) literal(p int) int {
	switch {
	case d.match("null", p), d.match("true", p):
		return p + 4
	case d.match("false", p):
		return p + 5
	}
	return 0
}

func appendString(dst, s []byte) []byte {
	const hex = "0123456789ABCDEF"
	dst = append(dst, '"')
	for _, ch := range s {
		switch {
		case ch == '"' || ch == '\\':
			dst = append(dst, '\\', ch)
		case ch >= ' ':
			dst = append(dst, ch)
		case ch == '\b':
			dst = append(dst, `\b`...)
		case ch == '\f':
			dst = append(dst, `\f`...)
		case ch == '\n':
			dst = append(dst, `\n`...)
		case ch == '\r':
			dst = append(dst, `\r`...)
		case ch == '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[ch>>4], hex[ch&15])
		}
	}
	return append(dst, '"')
}

// numberText is a number as the text of a VARCHAR: whole numbers as written, others as DuckDB prints a
// double (the shortest digits; an exponent below 1e-4 and from 1e16).
func numberText(dst, text []byte, whole bool) []byte {
	if whole {
		return appendWhole(dst, text)
	}
	f, ok := parseFloat(text, 64, true)
	switch {
	case !ok || math.IsInf(f, 0) && isDigit(text[len(text)-1]):
		return append(dst, text...) // too large for a double: as written
	case math.IsNaN(f):
		return append(dst, "nan"...)
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	return appendFixed(dst, f)
}

// appendNumber writes a number inside JSON text as DuckDB's JSON library does: an exponent without a plus
// sign below 1e-6 and from 1e21.
func appendNumber(dst, text []byte, whole bool) []byte {
	if whole {
		return appendWhole(dst, text)
	}
	f, ok := parseFloat(text, 64, true)
	switch {
	case !ok || math.IsInf(f, 0) && isDigit(text[len(text)-1]):
		return append(dst, text...)
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		var tmp [32]byte
		for i, e := 0, strconv.AppendFloat(tmp[:0], f, 'e', -1, 64); i < len(e); i++ {
			if e[i] == '+' || e[i] == '0' && (e[i-1] == '-' || e[i-1] == '+') && i >= len(e)-2 {
				continue
			}
			dst = append(dst, e[i])
		}
		return dst
	}
	return appendFixed(dst, f)
}

func appendWhole(dst, text []byte) []byte {
	if string(text) == "-0" {
		return append(dst, '0')
	}
	return append(dst, text...)
}

// appendFixed writes a double without an exponent, with at least one decimal.
func appendFixed(dst []byte, f float64) []byte {
	n := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	for _, ch := range dst[n:] {
		if ch == '.' {
			return dst
		}
	}
	return append(dst, ".0"...)
}
