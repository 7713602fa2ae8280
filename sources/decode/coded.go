package decode

import (
	"encoding/base64"
	"fmt"
	"math"
	"math/big"
	"strconv"
)

// Bounds of decimals in events: Postgres' numeric has at most 16,383 digits after the point and 131,072
// before it.
const (
	maxDecimalScale = 16_383
	maxDecimalBytes = 64 << 10
)

// noScale is the scale of a schema that says none that makes sense.
const noScale = math.MinInt32

// scaleOf reads the parameter scale of a schema, which Connect writes as text.
func scaleOf(v any) int32 {
	n, err := strconv.ParseInt(fmt.Sprint(v), 10, 32)
	if err != nil {
		return noScale
	}
	return int32(n)
}

// coded decodes the value at p, which is written as the column's code says, or as in any JSON file.
func (d *JSON) coded(c *column, row, p, depth int) int {
	switch ch := d.buf[p]; c.code.kind {
	case asBytes:
		if ch == '"' {
			return d.bytesValue(c, row, p)
		}
	case asDecimal:
		if ch == '"' {
			raw, next := d.base64(c, p)
			if next < 0 {
				return -1
			}
			return d.unscaled(c, row, raw, int64(c.code.scale), next)
		}
		if ch == '{' {
			return d.variableDecimal(c, row, p, depth)
		}
	default:
		if ch == '"' {
			return d.isoValue(c, row, p)
		}
		if ch == '-' || isDigit(ch) {
			return d.ticks(c, row, p)
		}
	}
	return d.plain(c, row, p, depth)
}

// base64 decodes the string at p. The result is valid until the next call.
func (d *JSON) base64(c *column, p int) (raw []byte, next int) {
	s, next := d.text(p)
	if next < 0 {
		return nil, -1
	}
	if n := base64.StdEncoding.DecodedLen(len(s)); cap(d.decoded) < n {
		d.decoded = make([]byte, n)
	}
	n, err := base64.StdEncoding.Decode(d.decoded[:cap(d.decoded)], s)
	if err != nil {
		hint := ""
		if c.code.kind == asDecimal {
			hint = "; decimals as text are read with decimal_handling_mode = 'string'"
		}
		return nil, d.fail("column %s: %s is not base64, in which events have %s%s", c.name, quoted(s), c.typ, hint)
	}
	return d.decoded[:n], next
}

func (d *JSON) bytesValue(c *column, row, p int) int {
	raw, next := d.base64(c, p)
	if next >= 0 {
		c.putCopied(row, d.b.copy(raw))
	}
	return next
}

// variableDecimal decodes {"scale": n, "value": base64}.
func (d *JSON) variableDecimal(c *column, row, p, depth int) int {
	scale, raw, found := int64(noScale), []byte(nil), false
	for opening := true; ; opening = false {
		name, q := d.name(p, opening)
		if q < 0 {
			return -1
		}
		if p = q; name == nil {
			break
		}
		switch {
		case string(name) == "value" && d.buf[p] == '"':
			if raw, p = d.base64(c, p); p < 0 {
				return -1
			}
			// Why: nothing after it decodes base64, and what d.name unescapes is kept elsewhere.
			found = true
		case string(name) == "scale" && d.buf[p] != '"':
			end := d.skip(p, depth)
			if end < 0 {
				return -1
			}
			scale = int64(scaleOf(string(d.buf[p:end])))
			p = end
		default:
			if p = d.skip(p, depth); p < 0 {
				return -1
			}
		}
	}
	if !found {
		return d.fail("column %s: a decimal's object has no value", c.name)
	}
	return d.unscaled(c, row, raw, scale, p)
}

// unscaled stores a number given as its digits and how many of them are behind the point.
func (d *JSON) unscaled(c *column, row int, raw []byte, scale int64, next int) int {
	if why := d.b.putUnscaled(c, row, raw, scale); why != "" {
		return d.fail("column %s: %s", c.name, why)
	}
	return next
}

// negative reports the sign of a big-endian two's complement integer.
func negative(raw []byte) bool { return raw[0]&0x80 != 0 }

// absolute is the magnitude of a big-endian two's complement integer of at most 16 bytes.
func absolute(raw []byte) (v u128) {
	if negative(raw) {
		v = u128{^uint64(0), ^uint64(0)}
	}
	for _, x := range raw {
		v.hi = v.hi<<8 | v.lo>>56
		v.lo = v.lo<<8 | uint64(x)
	}
	if negative(raw) {
		v = v.neg()
	}
	return v
}

// decimalDigits writes a two's complement integer with a point before its last scale digits.
func decimalDigits(raw []byte, scale int) []byte {
	v := new(big.Int).SetBytes(raw)
	if negative(raw) {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(len(raw))*8))
	}
	var out []byte
	if v.Sign() < 0 {
		out = append(out, '-')
		v.Neg(v)
	}
	digits := v.Append(nil, 10)
	for scale < 0 && v.Sign() != 0 {
		digits = append(digits, '0')
		scale++
	}
	if scale <= 0 {
		return append(out, digits...)
	}
	for len(digits) <= scale {
		digits = append([]byte{'0'}, digits...)
	}
	point := len(digits) - scale
	return append(append(append(out, digits[:point]...), '.'), digits[point:]...)
}
