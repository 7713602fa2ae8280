package postgres

import (
	"bytes"
	"unicode/utf8"
)

// Postgres text cannot hold a NUL byte, and one such value must not stop a pipeline. A NUL is stored as
// ␀␀ (U+2400 twice) and, so that no two texts become one and reading can undo it, a ␀ as ␀␁.
const (
	nulSymbol    = "␀" // U+2400
	nulEscaped   = "␀␀"
	symbolEscape = "␀␁"
)

func appendText(dst, s []byte) []byte {
	if bytes.IndexByte(s, 0) < 0 && (bytes.IndexByte(s, nulSymbol[0]) < 0 || !bytes.Contains(s, []byte(nulSymbol))) {
		return append(dst, s...)
	}
	for len(s) > 0 {
		switch {
		case s[0] == 0:
			dst, s = append(dst, nulEscaped...), s[1:]
		case bytes.HasPrefix(s, []byte(nulSymbol)):
			dst, s = append(dst, symbolEscape...), s[len(nulSymbol):]
		default:
			dst, s = append(dst, s[0]), s[1:]
		}
	}
	return dst
}

// plainText undoes appendText. Text that appendText never writes is left as it is.
func plainText(s []byte) []byte {
	if !bytes.Contains(s, []byte(nulSymbol)) {
		return s
	}
	out := make([]byte, 0, len(s))
	for len(s) > 0 {
		switch {
		case bytes.HasPrefix(s, []byte(nulEscaped)):
			out, s = append(out, 0), s[len(nulEscaped):]
		case bytes.HasPrefix(s, []byte(symbolEscape)):
			out, s = append(out, nulSymbol...), s[len(symbolEscape):]
		default:
			_, n := utf8.DecodeRune(s)
			out, s = append(out, s[:n]...), s[n:]
		}
	}
	return out
}
