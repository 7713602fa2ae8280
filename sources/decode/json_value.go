package decode

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/sluice-sql/sluice/internal/vector"
)

var pow10u64 = [...]uint64{1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000}

// value decodes the value at p into a row of c and returns the byte after it, or -1. The common forms of
// the common types are handled here; everything else falls through to slow.
func (d *JSON) value(c *column, row, p int) int {
	b := d.buf
	switch c.class {
	case classBigint:
		q := p
		if b[q] == '-' {
			q++
		}
		n, v := digitRun(load64(b, q))
		if n == 8 {
			m, w := digitRun(load64(b, q+8))
			n, v = n+m, v*pow10u64[m]+w
		}
		if ch := b[q+n]; n > 0 && (ch == ',' || ch == '}') && (n == 1 || b[q] != '0') {
			if q > p {
				v = -v
			}
			c.put64(row, v)
			return q + n
		}
	case classText:
		if b[p] == '"' {
			e, ascii := plainString(b, p+1)
			if b[e] == '"' && (ascii || utf8.Valid(b[p+1:e])) {
				if !c.putStr(row, b, p+1, e) {
					d.b.usesBuf = true
				}
				return e + 1
			}
		}
	case classStamp:
		if b[p] == '"' {
			if v, n := d.clock.parse(b, p+1, c.typ.Kind == vector.TimestampTZ); n > 0 && b[p+1+n] == '"' {
				c.put64(row, uint64(v))
				return p + 2 + n
			}
		}
	case classDouble:
		if f, n := shortDouble(b, p); n > 0 && (b[p+n] == ',' || b[p+n] == '}') {
			c.putF64(row, f)
			return p + n
		}
	}
	return d.slow(c, row, p, 0)
}

// shortDouble parses a plain decimal of up to 16 digits before and 8 after the point, exactly: both the
// digits and the power of ten are doubles, so one division rounds once (Clinger's fast path). n is 0
// when the number is not of that form; the caller checks that it ends where n says.
func shortDouble(b []byte, p int) (f float64, n int) {
	q := p
	if b[q] == '-' {
		q++
	}
	first := q
	n, v := digitRun(load64(b, q))
	if n == 8 {
		m, w := digitRun(load64(b, q+8))
		n, v = n+m, v*pow10u64[m]+w
	}
	if n == 0 || n > 1 && b[first] == '0' {
		return 0, 0
	}
	q += n
	frac := 0
	if b[q] == '.' {
		m, w := digitRun(load64(b, q+1))
		if m == 0 {
			return 0, 0
		}
		v, frac = v*pow10u64[m]+w, m
		q += 1 + m
		if n+m > 19 {
			return 0, 0
		}
	}
	if v > 1<<53 {
		return 0, 0
	}
	f = float64(v)
	if frac > 0 {
		f /= float64(pow10u64[frac])
	}
	if first > p {
		f = -f
	}
	return f, q - p
}

// A stampCache parses YYYY-MM-DD[ T]HH:MM:SS[.ffffff][Z], remembering the last date: rows that follow
// each other mostly share it.
type stampCache struct {
	ym     uint64 // "YYYY-MM-"
	dd     uint16 // "DD"
	micros int64  // at the start of that day
}

// parse returns the microseconds and the length of the text at p, 0 when it is not of that form.
func (s *stampCache) parse(b []byte, p int, zoned bool) (micros int64, n int) {
	ym, dd := load64(b, p), binary.LittleEndian.Uint16(b[p+8:])
	if ym != s.ym || dd != s.dd {
		if !s.learn(b[p:p+10], ym, dd) {
			return 0, 0
		}
	}
	if sep := b[p+10]; sep != 'T' && sep != ' ' {
		return 0, 0
	}
	// "HH:MM:SS" becomes a digit or, at the colons, zero in each byte.
	x := load64(b, p+11) ^ 0x30303a30303a3030
	if (x+0x76*ones|x)&highs != 0 || x&0x0000FF0000FF0000 != 0 {
		return 0, 0
	}
	h := (x&0xff)*10 + x>>8&0xff
	m := (x>>24&0xff)*10 + x>>32&0xff
	sec := (x>>48&0xff)*10 + x>>56
	if h > 23 || m > 59 || sec > 59 {
		return 0, 0
	}
	micros = s.micros + int64((h*60+m)*60+sec)*microsPerSecond
	n = 19
	if b[p+n] == '.' {
		digits, v := digitRun(load64(b, p+n+1))
		if digits == 0 || digits > 6 {
			return 0, 0
		}
		micros += int64(v * pow10u64[6-digits])
		n += 1 + digits
	}
	if b[p+n] == 'Z' {
		n++
	}
	return micros, n
}

// learn parses a date of the form YYYY-MM-DD into the cache.
func (s *stampCache) learn(text []byte, ym uint64, dd uint16) bool {
	for i, ch := range text {
		if i == 4 || i == 7 {
			if ch != '-' {
				return false
			}
		} else if !isDigit(ch) {
			return false
		}
	}
	days, _, _, fault := parseDate(text)
	if fault != timeOK {
		return false
	}
	s.ym, s.dd, s.micros = ym, dd, days*microsPerDay
	return true
}

// slow decodes any value into a column of any type.
func (d *JSON) slow(c *column, row, p, depth int) int {
	switch {
	case c.class == classWeight:
		return d.weightValue(c, row, p)
	case c.code.kind != asJSON:
		return d.coded(c, row, p, depth)
	}
	return d.plain(c, row, p, depth)
}

// plain decodes a value that stands for itself.
func (d *JSON) plain(c *column, row, p, depth int) int {
	switch ch := d.buf[p]; {
	case ch == '"':
		return d.stringValue(c, row, p)
	case ch == 'n' && d.match("null", p):
		c.setNull(row)
		return p + 4
	case ch == 't' && d.match("true", p):
		return d.boolValue(c, row, p, p+4, 1)
	case ch == 'f' && d.match("false", p):
		return d.boolValue(c, row, p, p+5, 0)
	case ch == '{' || ch == '[':
		if depth >= maxDepth {
			return d.fail("malformed JSON: nested more than %d deep", maxDepth)
		}
		if c.class == classNested {
			return d.nested(c, row, p, depth+1)
		}
		return d.rawValue(c, row, p, depth)
	default:
		return d.numberValue(c, row, p)
	}
}

// mismatch says that the value b[p:end] has the wrong JSON type for the column.
func (d *JSON) mismatch(c *column, p, end int) int {
	return d.fail("column %s: %s is not %s", c.name, quoted(d.buf[p:end]), article(c.typ))
}

func (d *JSON) stringValue(c *column, row, p int) int {
	s, next := d.text(p)
	if next < 0 {
		return -1
	}
	if c.class == classNested {
		return d.mismatch(c, p, next)
	}
	if c.typ.IsString() && len(s) > 12 {
		if unescaped := &s[0] != &d.buf[p+1]; unescaped {
			s = d.b.copy(s)
		} else {
			d.b.usesBuf = true
		}
	}
	if why := c.putText(row, s, true); why != "" {
		return d.fail("column %s: %s", c.name, why)
	}
	return next
}

func (d *JSON) boolValue(c *column, row, p, next int, v uint64) int {
	ok := true
	switch c.typ.Kind {
	case vector.Varchar, vector.Blob:
		c.putStr(row, d.buf, p, next)
	case vector.Float64:
		c.putF64(row, float64(v))
	case vector.Float32:
		c.putF32(row, float32(v))
	case vector.Decimal:
		x, fits := pow10u128[c.typ.Scale].muladd(v, 0)
		ok = fits && c.putDecimal(row, false, x)
	default:
		ok = (c.class == classInteger || c.class == classBigint) && c.putInteger(row, false, u128{lo: v})
	}
	if !ok {
		return d.mismatch(c, p, next)
	}
	return next
}

// numberValue decodes a number, or one of the spellings of infinity and NaN that DuckDB's reader takes.
func (d *JSON) numberValue(c *column, row, p int) int {
	next, whole := d.number(p)
	if next < 0 {
		return -1
	}
	text := d.buf[p:next]
	ok := false
	switch {
	case c.typ.Kind == vector.Varchar || c.typ.Kind == vector.Blob:
		c.putCopied(row, d.b.copy(numberText(d.scratch[:0], text, whole)))
		ok = true
	case c.typ.Kind == vector.Decimal:
		if whole {
			ok = c.putDecimalText(row, text)
		} else {
			f, _ := parseFloat(text, 64, true)
			ok = c.putDecimalFloat(row, f)
		}
	case c.typ.Kind == vector.Float64:
		f, _ := parseFloat(text, 64, true)
		c.putF64(row, f)
		ok = true
	case c.typ.Kind == vector.Float32:
		ok = c.putFloatNumber(row, text, whole)
	case c.class == classInteger || c.class == classBigint:
		if whole {
			neg, v, fits := decimalText(text, true, 0)
			ok = fits && c.putInteger(row, neg, v)
		} else {
			f, _ := parseFloat(text, 64, true)
			ok = c.putRounded(row, f)
		}
	default:
		return d.mismatch(c, p, next)
	}
	if !ok {
		return d.fail("column %s: %s is out of range for %s", c.name, quoted(text), c.typ)
	}
	return next
}

// putFloatNumber stores a JSON number as FLOAT. A fraction goes through a double, as in DuckDB.
func (c *column) putFloatNumber(row int, text []byte, whole bool) bool {
	if whole {
		f, _ := parseFloat(text, 32, true)
		c.putF32(row, float32(f))
		return true
	}
	f, _ := parseFloat(text, 64, true)
	g := float32(f)
	if math.IsInf(float64(g), 0) && !math.IsInf(f, 0) {
		return false
	}
	c.putF32(row, g)
	return true
}

// number checks a number's syntax and returns the byte after it, and whether it has neither fraction nor
// exponent.
func (d *JSON) number(p int) (next int, whole bool) {
	b, start := d.buf, p
	if b[p] == '-' {
		p++
	}
	digits := func() bool {
		from := p
		for isDigit(b[p]) {
			p++
		}
		return p > from
	}
	first := p
	if !digits() {
		if n := d.infinite(p); n > 0 {
			return p + n, false
		}
		return d.unexpected(start, "a value"), false
	}
	if b[first] == '0' && p > first+1 {
		return d.fail("malformed JSON: %s has a leading zero", quoted(b[start:p])), false
	}
	whole = true
	if b[p] == '.' {
		whole = false
		p++
		if !digits() {
			return d.fail("malformed JSON: %s has no digit after the point", quoted(b[start:p])), false
		}
	}
	if b[p]|0x20 == 'e' {
		whole = false
		if p++; b[p] == '+' || b[p] == '-' {
			p++
		}
		if !digits() {
			return d.fail("malformed JSON: %s has no digit in the exponent", quoted(b[start:p])), false
		}
	}
	return p, whole
}

// infinite returns the length of nan, inf or infinity at p, in any case.
func (d *JSON) infinite(p int) int {
	for _, w := range [...]string{"infinity", "inf", "nan"} {
		n := 0
		for n < len(w) && d.buf[p+n]|0x20 == w[n] {
			n++
		}
		if n == len(w) {
			return n
		}
	}
	return 0
}

// text returns the string that begins with the quote at p, unescaped, and the byte after it. Without
// escapes the result points into the block, otherwise it is valid until the next call.
func (d *JSON) text(p int) (s []byte, next int) {
	e, wrong := stringEnd(d.buf, p+1)
	if e < 0 {
		return nil, d.badString(wrong)
	}
	s = d.buf[p+1 : e]
	for i := range s {
		if s[i] == '\\' {
			out, why := unescape(d.scratch[:0], s)
			d.scratch = out
			if why != "" {
				return nil, d.fail("malformed JSON: %s", why)
			}
			return out, e + 1
		}
	}
	return s, e + 1
}

func (d *JSON) badString(p int) int {
	switch ch := d.buf[p]; {
	case ch == '\n':
		return d.fail("malformed JSON: the %s ends inside a string", d.unit)
	case ch < ' ':
		return d.fail("malformed JSON: control character %#02x in a string", ch)
	case ch >= utf8.RuneSelf || d.buf[p-1] != '\\':
		return d.fail("malformed JSON: a string is not valid UTF-8")
	}
	return d.fail("malformed JSON: a backslash is followed by %s", quoted(d.upTo(p, 1)))
}
