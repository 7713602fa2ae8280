package decode

import (
	"bytes"
	"math"

	"github.com/sluice-sql/sluice/internal/vector"
)

// isoValue decodes the text of a date, time or interval: as in any JSON file, and also what Debezium writes
// and DuckDB does not read, a time that ends in Z and an interval such as P1Y2M3DT4H5M6.7S.
func (d *JSON) isoValue(c *column, row, p int) int {
	s, next := d.text(p)
	if next < 0 {
		return -1
	}
	if why := c.putISO(row, s); why != "" {
		return d.fail("column %s: %s", c.name, why)
	}
	return next
}

// putISO converts the text of a date, time or interval and says why it cannot, or "".
func (c *column) putISO(row int, s []byte) (why string) {
	switch c.typ.Kind {
	case vector.Time, vector.TimeNS, vector.TimeTZ:
		s = bytes.TrimSuffix(s, []byte{'Z'})
	case vector.Interval:
		if iv, ok := isoInterval(s); ok {
			c.put128(row, uint64(uint32(iv.months))|uint64(uint32(iv.days))<<32, uint64(iv.micros))
			return ""
		}
	}
	return c.putText(row, s, true)
}

// isoUnits are the letters of an interval in the order in which they come.
var isoUnits = []struct {
	letter byte
	clock  bool // behind the T
	interval
}{
	{'Y', false, interval{months: 12}}, {'M', false, interval{months: 1}}, {'W', false, interval{days: 7}}, {'D', false, interval{days: 1}},
	{'H', true, interval{micros: 3600 * microsPerSecond}}, {'M', true, interval{micros: 60 * microsPerSecond}}, {'S', true, interval{micros: microsPerSecond}},
}

// isoInterval reads P[nY][nM][nW][nD][T[nH][nM][n[.n]S]], each number with a sign or without.
func isoInterval(s []byte) (iv interval, ok bool) {
	if len(s) == 0 || s[0] != 'P' {
		return iv, false
	}
	clock, expect, units := false, true, isoUnits
	for s = s[1:]; len(s) > 0; {
		if s[0] == 'T' && !clock {
			clock, expect, s = true, true, s[1:]
			continue
		}
		n, micros, used := isoNumber(s)
		if used == 0 || used == len(s) {
			return iv, false
		}
		for len(units) > 0 && (units[0].letter != s[used] || units[0].clock != clock) {
			units = units[1:]
		}
		if len(units) == 0 || micros != 0 && units[0].letter != 'S' {
			return iv, false
		}
		u := units[0]
		iv.months, iv.days, iv.micros = iv.months+n*u.months, iv.days+n*u.days, iv.micros+n*u.micros+micros
		expect, units, s = false, units[1:], s[used+1:]
	}
	inRange := func(n int64) bool { return n <= math.MaxInt32 && n >= math.MinInt32 }
	return iv, !expect && inRange(iv.months) && inRange(iv.days)
}

// isoNumber reads [-+]n[.n] at the start of s: whole units and what is behind the point in millionths. used
// is 0 when there is no number, or one that no interval has.
func isoNumber(s []byte) (n, micros int64, used int) {
	p := 0
	if p < len(s) && (s[p] == '-' || s[p] == '+') {
		p++
	}
	first := p
	for ; p < len(s) && isDigit(s[p]); p++ {
		if n = n*10 + int64(s[p]-'0'); n > math.MaxInt32 {
			return 0, 0, 0
		}
	}
	if p == first {
		return 0, 0, 0
	}
	if p < len(s) && s[p] == '.' {
		size := int64(microsPerSecond)
		for p++; p < len(s) && isDigit(s[p]); p++ {
			size /= 10
			micros += int64(s[p]-'0') * size
		}
	}
	if s[0] == '-' {
		n, micros = -n, -micros
	}
	return n, micros, p
}
