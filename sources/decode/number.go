package decode

import (
	"bytes"
	"math"
	"math/big"
	"math/bits"
	"strconv"

	"github.com/sluice-sql/sluice/internal/vector"
)

// intRange is what an integer column holds: 0..max, and down to -min when negative.
type intRange struct{ max, min uint64 }

func rangeOf(k vector.Kind) intRange {
	switch k {
	case vector.Int8:
		return intRange{math.MaxInt8, 1 << 7}
	case vector.Int16:
		return intRange{math.MaxInt16, 1 << 15}
	case vector.Int32:
		return intRange{math.MaxInt32, 1 << 31}
	case vector.Int64:
		return intRange{math.MaxInt64, 1 << 63}
	case vector.UInt8:
		return intRange{math.MaxUint8, 0}
	case vector.UInt16:
		return intRange{math.MaxUint16, 0}
	case vector.UInt32:
		return intRange{math.MaxUint32, 0}
	}
	return intRange{math.MaxUint64, 0}
}

// u128 is an unsigned 128-bit magnitude.
type u128 struct{ lo, hi uint64 }

func (a u128) less(b u128) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

// muladd returns a*m + d, or false on overflow.
func (a u128) muladd(m, d uint64) (u128, bool) {
	h1, lo := bits.Mul64(a.lo, m)
	h2, mid := bits.Mul64(a.hi, m)
	if h2 != 0 {
		return u128{}, false
	}
	lo, c := bits.Add64(lo, d, 0)
	hi, c := bits.Add64(mid, h1, c)
	return u128{lo, hi}, c == 0
}

// neg returns the two's complement.
func (a u128) neg() u128 {
	lo, c := bits.Sub64(0, a.lo, 0)
	hi, _ := bits.Sub64(0, a.hi, c)
	return u128{lo, hi}
}

var pow10u128 = func() (p [39]u128) {
	p[0] = u128{1, 0}
	for i := 1; i < len(p); i++ {
		p[i], _ = p[i-1].muladd(10, 0)
	}
	return p
}()

// putInteger stores a magnitude with a sign in an integer or boolean column; false if out of range.
func (c *column) putInteger(row int, neg bool, v u128) bool {
	switch c.typ.Kind {
	case vector.Bool:
		x := uint64(0)
		if v.lo|v.hi != 0 {
			x = 1
		}
		c.put8(row, x)
		return true
	case vector.Int128, vector.UInt128:
		switch {
		case c.typ.Kind == vector.UInt128 && neg && v.lo|v.hi != 0,
			c.typ.Kind == vector.Int128 && !neg && v.hi>>63 != 0,
			c.typ.Kind == vector.Int128 && neg && (u128{0, 1 << 63}).less(v):
			return false
		}
		if neg {
			v = v.neg()
		}
		c.put128(row, v.lo, v.hi)
		return true
	}
	r := rangeOf(c.typ.Kind)
	if v.hi != 0 || !neg && v.lo > r.max || neg && v.lo > r.min {
		return false
	}
	if neg {
		v.lo = -v.lo
	}
	c.putInt(row, v.lo)
	return true
}

// putRounded stores a double in an integer or boolean column, rounding half to even as DuckDB does.
func (c *column) putRounded(row int, f float64) bool {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return false
	}
	if c.typ.Kind == vector.Bool {
		x := uint64(0)
		if f != 0 {
			x = 1
		}
		c.put8(row, x)
		return true
	}
	if c.unsigned() && f < 0 {
		return false
	}
	r := math.RoundToEven(f)
	v, ok := floatU128(math.Abs(r))
	return ok && c.putInteger(row, r < 0, v)
}

// floatU128 converts a whole, non-negative double.
func floatU128(f float64) (u128, bool) {
	if f >= math.Ldexp(1, 128) {
		return u128{}, false
	}
	if f < math.Ldexp(1, 63) {
		return u128{lo: uint64(f)}, true
	}
	b, _ := new(big.Float).SetFloat64(f).Int(nil)
	var buf [16]byte
	b.FillBytes(buf[:])
	return u128{lo: be64(buf[8:]), hi: be64(buf[:8])}, true
}

func be64(b []byte) (x uint64) {
	for _, c := range b[:8] {
		x = x<<8 | uint64(c)
	}
	return x
}

// putIntText converts text to an integer column. Strict is JSON's rule for strings; the other is that of
// a plain CAST, which also takes a sign, fractions, exponents, underscores and leading zeros.
func (c *column) putIntText(row int, s []byte, strict bool) bool {
	s = trimSpace(s)
	if len(s) == 0 {
		return false
	}
	neg := s[0] == '-'
	if neg {
		s = s[1:]
	} else if s[0] == '+' && !strict {
		s = s[1:]
	}
	if len(s) == 0 || s[0] == '-' || s[0] == '+' {
		return false
	}
	if neg && c.unsigned() && bytes.ContainsAny(s, ".eE") {
		return false // -0 is a UTINYINT, -0.4 is not
	}
	wide := c.typ.Kind == vector.Int128 || c.typ.Kind == vector.UInt128
	if s[0] == '0' && len(s) > 1 {
		switch s[1] | 0x20 {
		case 'x', 'b':
			if neg || wide {
				return false
			}
			v, ok := based(s[2:], s[1]|0x20)
			return ok && c.putInteger(row, false, v)
		}
		if strict {
			return false
		}
	}
	_, v, ok := decimalText(s, strict, 0)
	return ok && c.putInteger(row, neg, v)
}

func (c *column) unsigned() bool {
	switch c.typ.Kind {
	case vector.UInt8, vector.UInt16, vector.UInt32, vector.UInt64, vector.UInt128:
		return true
	}
	return false
}

// based reads hexadecimal or binary digits.
func based(s []byte, kind byte) (v u128, ok bool) {
	base := uint64(16)
	if kind == 'b' {
		base = 2
	}
	for i, ch := range s {
		if ch == '_' && i > 0 && i < len(s)-1 && s[i-1] != '_' {
			continue
		}
		d := uint64(hexValue(ch))
		if d >= base {
			return v, false
		}
		if v, ok = v.muladd(base, d); !ok {
			return v, false
		}
	}
	return v, len(s) > 0
}

func hexValue(ch byte) byte {
	switch {
	case isDigit(ch):
		return ch - '0'
	case ch|0x20 >= 'a' && ch|0x20 <= 'f':
		return ch | 0x20 - 'a' + 10
	}
	return 255
}

// decimalText reads [-+]digits[.digits][e±n] as a magnitude scaled by 10^scale, rounded half away from
// zero. intOnly refuses a sign, a fraction, an exponent and underscores.
func decimalText(s []byte, intOnly bool, scale int) (neg bool, v u128, ok bool) {
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		neg = s[0] == '-'
		s = s[1:]
	}
	// digits collects the significant digits; point is where the decimal point stands among them.
	var buf [80]byte
	digits, point, any, i := buf[:0], 0, false, 0
	inFraction := false
	for ; i < len(s); i++ {
		ch := s[i]
		switch {
		case isDigit(ch):
			any = true
			if len(digits) > 0 || ch != '0' {
				digits = append(digits, ch-'0')
				if !inFraction {
					point++
				}
			} else if inFraction {
				point--
			}
			continue
		case ch == '_' && !intOnly && i > 0 && isDigit(s[i-1]) && i+1 < len(s) && isDigit(s[i+1]):
			continue
		case ch == '.' && !intOnly && !inFraction:
			inFraction = true
			continue
		}
		break
	}
	if !any || intOnly && i < len(s) {
		return neg, v, false
	}
	if i < len(s) {
		if s[i]|0x20 != 'e' {
			return neg, v, false
		}
		e, err := strconv.Atoi(string(s[i+1:]))
		if err != nil || e > 1<<16 || e < -1<<16 {
			return neg, v, false
		}
		point += e
	}
	return scaled(neg, digits, point+scale)
}

// scaled returns digits with the point after keep of them, rounded half away from zero.
func scaled(neg bool, digits []byte, keep int) (bool, u128, bool) {
	var v u128
	ok := true
	for i := 0; i < keep; i++ {
		d := byte(0)
		if i < len(digits) {
			d = digits[i]
		} else if v.lo|v.hi == 0 {
			break
		}
		if v, ok = v.muladd(10, uint64(d)); !ok {
			return neg, v, false
		}
	}
	if keep >= 0 && keep < len(digits) && digits[keep] >= 5 {
		v, ok = v.muladd(1, 1)
	}
	return neg, v, ok
}

// putDecimal stores a scaled magnitude in a DECIMAL column; false if it has too many digits.
func (c *column) putDecimal(row int, neg bool, v u128) bool {
	if !v.less(pow10u128[c.typ.Width]) {
		return false
	}
	if neg {
		v = v.neg()
	}
	switch c.width {
	case 2:
		c.put16(row, v.lo)
	case 4:
		c.put32(row, v.lo)
	case 8:
		c.put64(row, v.lo)
	default:
		c.put128(row, v.lo, v.hi)
	}
	return true
}

func (c *column) putDecimalText(row int, s []byte) bool {
	neg, v, ok := decimalText(trimSpace(s), false, int(c.typ.Scale))
	return ok && c.putDecimal(row, neg, v)
}

// putDecimalFloat converts as DuckDB does: through a double, so with a double's precision.
func (c *column) putDecimalFloat(row int, f float64) bool {
	r := math.Round(f * math.Pow10(int(c.typ.Scale)))
	if math.IsNaN(r) || math.Abs(r) >= math.Pow10(int(c.typ.Width)) {
		return false
	}
	v, ok := floatU128(math.Abs(r))
	return ok && c.putDecimal(row, r < 0, v)
}
