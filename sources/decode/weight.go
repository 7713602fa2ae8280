package decode

import "fmt"

// WeightField is the key, or the name of the column, under which a changelog says how often a row was
// inserted (greater than 0) or deleted (less).
const WeightField = "_weight"

// MaxWeight is the largest weight either way.
//
// Why: sums and products of weights are kept in 64 bits.
const MaxWeight = 1<<31 - 1

const wantWeight = "an integer other than 0, at most 2147483647 either way"

// putWeight stores the weight written as s and returns why it is none, or "".
func (c *column) putWeight(row int, s []byte) (reason string) {
	digits := s
	neg := len(s) > 0 && s[0] == '-'
	if neg {
		digits = s[1:]
	}
	n, v := 0, int64(0)
	for ; n < len(digits) && isDigit(digits[n]) && v <= MaxWeight; n++ {
		v = v*10 + int64(digits[n]-'0')
	}
	if n == 0 || n < len(digits) || v == 0 || v > MaxWeight {
		return fmt.Sprintf("%s is %s, not %s", WeightField, quoted(s), wantWeight)
	}
	if neg {
		v = -v
	}
	c.put64(row, uint64(v))
	return ""
}

// weightValue decodes the weight at p.
func (d *JSON) weightValue(c *column, row, p int) (next int) {
	if d.match("null", p) {
		c.setNull(row)
		return p + 4
	}
	if next = d.skip(p, 0); next < 0 {
		return -1
	}
	if why := c.putWeight(row, d.buf[p:next]); why != "" {
		return d.fail("%s", why)
	}
	return next
}
