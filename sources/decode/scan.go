package decode

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// The scanners below look at eight bytes at a time ("SIMD within a register"). Each mask has the high
// bit of a byte set where the byte matches. A borrow can set bits above a true match, so only the
// lowest match of a mask is exact, and only that is ever used.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

func load64(b []byte, p int) uint64 { return binary.LittleEndian.Uint64(b[p:]) }

// stringStops finds a quote, a backslash or a control character.
func stringStops(w uint64) uint64 {
	q := w ^ 0x22*ones
	s := w ^ 0x5c*ones
	return ((q-ones)&^q | (s-ones)&^s | (w-0x20*ones)&^w) & highs
}

// plainString scans from the byte after an opening quote to the closing quote. It returns the index of
// the byte that stopped it: a quote, a backslash or a control character (a line end at the latest), and
// whether all bytes before it are ASCII.
func plainString(b []byte, p int) (end int, ascii bool) {
	var high uint64
	for {
		w := load64(b, p)
		if m := stringStops(w); m != 0 {
			n := bits.TrailingZeros64(m) >> 3
			return p + n, (high|w&lowBytes(n))&highs == 0
		}
		high |= w
		p += 8
	}
}

// stringEnd scans a string that may have escapes, without checking them.
// It returns the index of the closing quote, or -1 with the index of what is wrong.
func stringEnd(b []byte, p int) (end, wrong int) {
	start := p
	ascii := true
	for {
		q, a := plainString(b, p)
		ascii = ascii && a
		switch b[q] {
		case '"':
			if !ascii && !utf8.Valid(b[start:q]) {
				return -1, start
			}
			return q, 0
		case '\\':
			if b[q+1] < ' ' {
				return -1, q + 1
			}
			if b[q+1] >= utf8.RuneSelf {
				return -1, q + 1
			}
			p = q + 2
		default:
			return -1, q
		}
	}
}

// digitRun returns how many of the eight bytes at the low end of w are digits, and their value.
func digitRun(w uint64) (n int, v uint64) {
	x := w ^ 0x30*ones
	stop := (x + 0x76*ones | x) & highs
	if stop == 0 {
		return 8, eightDigits(x)
	}
	n = bits.TrailingZeros64(stop) >> 3
	return n, eightDigits(x << (64 - uint(n)*8))
}

// eightDigits turns eight bytes of 0..9, the first in the lowest byte, into a number.
func eightDigits(x uint64) uint64 {
	x = x*10 + x>>8
	return ((x&0x000000FF000000FF)*0x000F424000000064 + (x>>16&0x000000FF000000FF)*0x0000271000000001) >> 32
}

func isDigit(c byte) bool { return c-'0' <= 9 }

// isSpace is DuckDB's StringUtil::CharacterIsSpace.
func isSpace(c byte) bool { return c == ' ' || c-'\t' <= '\r'-'\t' }

func trimSpace(s []byte) []byte {
	for len(s) > 0 && isSpace(s[0]) {
		s = s[1:]
	}
	for len(s) > 0 && isSpace(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}
