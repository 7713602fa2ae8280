package microbatch

import (
	"strings"
	"unicode/utf8"
)

// printable makes raw input fit for a text column: NUL bytes and invalid UTF-8 are written \xNN, and so are the backslashes
// beside them, so that the bytes can be had again.
func printable(raw []byte) string {
	if utf8.Valid(raw) && !strings.ContainsRune(string(raw), 0) {
		return string(raw)
	}
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := 0; i < len(raw); {
		r, n := utf8.DecodeRune(raw[i:])
		if r == 0 || r == '\\' || r == utf8.RuneError && n == 1 {
			b.WriteString(`\x`)
			b.WriteByte(hex[raw[i]>>4])
			b.WriteByte(hex[raw[i]&15])
		} else {
			b.Write(raw[i : i+n])
		}
		i += n
	}
	return b.String()
}
