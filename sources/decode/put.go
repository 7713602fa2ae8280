package decode

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Values of binary formats into columns of any type that they become. Each function says why it cannot, or "".

// keepText returns text that a row may refer to: short text is in the row itself.
func (b *Builder) keepText(s []byte) []byte {
	if len(s) > 12 {
		return b.copy(s)
	}
	return s
}

// putInt64 stores a number; the column's type isNumeric, or VARCHAR.
func (b *Builder) putInt64(c *column, row int, v int64) (why string) {
	if v < 0 {
		return b.putWhole(c, row, true, uint64(-v))
	}
	return b.putWhole(c, row, false, uint64(v))
}

func (b *Builder) putWhole(c *column, row int, neg bool, abs uint64) (why string) {
	ok := true
	f := float64(abs)
	if neg {
		f = -f
	}
	switch c.typ.Kind {
	case vector.Float64:
		c.putF64(row, f)
	case vector.Float32:
		// Why not by way of the double: that would round twice.
		g := float32(abs)
		if neg {
			g = -g
		}
		c.putF32(row, g)
	case vector.Decimal:
		v, fits := pow10u128[c.typ.Scale].muladd(abs, 0)
		ok = fits && c.putDecimal(row, neg, v)
	case vector.Varchar:
		c.putCopied(row, b.keepText(wholeText(neg, abs)))
	default:
		ok = c.putInteger(row, neg, u128{lo: abs})
	}
	if !ok {
		return fmt.Sprintf("%s is out of range for %s", wholeText(neg, abs), c.typ)
	}
	return ""
}

func wholeText(neg bool, abs uint64) []byte {
	var s []byte
	if neg {
		s = append(s, '-')
	}
	return strconv.AppendUint(s, abs, 10)
}

func (b *Builder) putBool(c *column, row int, v bool) (why string) {
	n, text := uint64(0), "false"
	if v {
		n, text = 1, "true"
	}
	if c.typ.Kind == vector.Varchar {
		c.putCopied(row, []byte(text))
		return ""
	}
	return b.putWhole(c, row, false, n)
}

// putFloat stores a number of 32 or 64 bits; the column's type isNumeric, or VARCHAR.
func (b *Builder) putFloat(c *column, row int, f float64, bits int) (why string) {
	ok := true
	switch c.typ.Kind {
	case vector.Float64:
		c.putF64(row, f)
	case vector.Float32:
		g := float32(f)
		ok = !math.IsInf(float64(g), 0) || math.IsInf(f, 0)
		c.putF32(row, g)
	case vector.Decimal:
		ok = c.putDecimalFloat(row, f)
	case vector.Varchar:
		c.putCopied(row, b.keepText(floatText(nil, f, bits)))
	default:
		ok = c.putRounded(row, f)
	}
	if !ok {
		return fmt.Sprintf("%s is out of range for %s", floatText(nil, f, bits), c.typ)
	}
	return ""
}

// floatText is a number as the text of a VARCHAR, as DuckDB writes it.
func floatText(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "nan"...)
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	case f == 0:
		return append(dst, "0.0"...)
	}
	if a := math.Abs(f); a < 1e-4 || a >= 1e16 {
		return strconv.AppendFloat(dst, f, 'e', -1, bits)
	}
	n := len(dst)
	if dst = strconv.AppendFloat(dst, f, 'f', -1, bits); bytes.IndexByte(dst[n:], '.') < 0 {
		dst = append(dst, ".0"...)
	}
	return dst
}

// putString stores text in a column of any type that is not nested, converted as JSON's strings are.
func (b *Builder) putString(c *column, row int, s []byte) (why string) {
	switch c.typ.Kind {
	case vector.Blob:
		c.putCopied(row, b.keepText(s))
		return ""
	case vector.Varchar:
		if why = badText(s); why == "" {
			c.putCopied(row, b.keepText(s))
		}
		return why
	case vector.Time, vector.TimeNS, vector.TimeTZ, vector.Interval:
		return c.putISO(row, s)
	case vector.List, vector.Map, vector.Array, vector.Struct, vector.Union:
		return "a text cannot be read as " + article(c.typ)
	}
	if !utf8.Valid(s) {
		return "the text is not valid UTF-8"
	}
	return c.putText(row, s, true)
}

// putUnscaled stores a number given as a big-endian two's complement integer and how many of its digits are
// behind the point.
func (b *Builder) putUnscaled(c *column, row int, raw []byte, scale int64) (why string) {
	switch {
	case len(raw) == 0:
		return "a decimal has no digits"
	case scale < -maxDecimalScale || scale > maxDecimalScale:
		return "the event does not say how many digits a decimal has behind the point"
	case len(raw) > maxDecimalBytes:
		return fmt.Sprintf("a decimal of %d bytes is out of range for %s", len(raw), c.typ)
	}
	if up := int64(c.typ.Scale) - scale; c.typ.Kind == vector.Decimal && len(raw) <= 16 && up >= 0 && up < int64(len(pow10u128)) {
		v, ok := absolute(raw), true
		for range up {
			if v, ok = v.muladd(10, 0); !ok {
				break
			}
		}
		if ok && c.putDecimal(row, negative(raw), v) {
			return ""
		}
	}
	return c.putText(row, b.copy(decimalDigits(raw, int(scale))), true)
}
