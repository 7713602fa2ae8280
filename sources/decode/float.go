package decode

import (
	"bytes"
	"math"
	"strconv"
	"unsafe"
)

// parseFloat parses text as a double (or a float). Strict allows no sign +, spaces or underscores.
func parseFloat(s []byte, bitSize int, strict bool) (float64, bool) {
	if !strict {
		s = trimSpace(s)
		if len(s) > 0 && s[0] == '+' {
			s = s[1:]
		}
		if bytes.IndexByte(s, '_') >= 0 {
			clean, ok := dropUnderscores(s)
			if !ok {
				return 0, false
			}
			s = clean
		}
	}
	if len(s) == 0 {
		return 0, false
	}
	digits := s
	if digits[0] == '-' {
		digits = digits[1:]
	}
	// Why: strconv also takes hexadecimal, a second sign and its own spellings of infinity.
	if len(digits) == 0 {
		return 0, false
	}
	if ch := digits[0]; ch != '.' && !isDigit(ch) {
		return special(digits, len(digits) < len(s))
	}
	if len(digits) > 1 && digits[1]|0x20 == 'x' || bytes.IndexByte(digits, '_') >= 0 {
		return 0, false
	}
	f, err := strconv.ParseFloat(unsafe.String(&s[0], len(s)), bitSize)
	if err != nil && !math.IsInf(f, 0) {
		return 0, false
	}
	return f, true
}

func special(s []byte, neg bool) (float64, bool) {
	sign := 1
	if neg {
		sign = -1
	}
	switch {
	case bytes.EqualFold(s, []byte("nan")):
		return math.NaN(), true
	case bytes.EqualFold(s, []byte("inf")), bytes.EqualFold(s, []byte("infinity")):
		return math.Inf(sign), true
	}
	return 0, false
}

// dropUnderscores removes digit separators, each of which must stand between two digits.
func dropUnderscores(s []byte) ([]byte, bool) {
	out := make([]byte, 0, len(s))
	for i, ch := range s {
		if ch == '_' {
			if i == 0 || i == len(s)-1 || !isDigit(s[i-1]) || !isDigit(s[i+1]) {
				return nil, false
			}
			continue
		}
		out = append(out, ch)
	}
	return out, true
}

// putBoolText converts text to BOOLEAN; strict is JSON's rule for strings.
func (c *column) putBoolText(row int, s []byte, strict bool) bool {
	is := func(words ...string) bool {
		for _, w := range words {
			if bytes.EqualFold(s, []byte(w)) {
				return true
			}
		}
		return false
	}
	switch {
	case is("true", "t", "yes"), !strict && is("y", "1"):
		c.put8(row, 1)
	case is("false", "f", "no"), !strict && is("n", "0"):
		c.put8(row, 0)
	default:
		return false
	}
	return true
}
