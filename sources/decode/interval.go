package decode

import (
	"bytes"
	"math"
	"strings"
)

// intervalUnits maps DuckDB's names of date parts to their size. Month-based units count in months,
// day-based in days, the rest in microseconds.
type intervalUnit struct {
	months, days, micros int64
}

var intervalUnits = func() map[string]intervalUnit {
	m := map[string]intervalUnit{}
	add := func(u intervalUnit, names string) {
		for _, n := range strings.Fields(names) {
			m[n] = u
		}
	}
	add(intervalUnit{months: 12000}, "millennium millennia mil millenniums")
	add(intervalUnit{months: 1200}, "century centuries cent c")
	add(intervalUnit{months: 120}, "decade decades dec decs")
	add(intervalUnit{months: 12}, "year years yr y yrs")
	add(intervalUnit{months: 3}, "quarter quarters")
	add(intervalUnit{months: 1}, "month months mon mons")
	add(intervalUnit{days: 7}, "week weeks w")
	add(intervalUnit{days: 1}, "day days d dayofmonth")
	add(intervalUnit{micros: 3600 * microsPerSecond}, "hour hours hr h hrs")
	add(intervalUnit{micros: 60 * microsPerSecond}, "minute minutes min m mins")
	add(intervalUnit{micros: microsPerSecond}, "second seconds sec s secs")
	add(intervalUnit{micros: 1000}, "millisecond milliseconds ms msec msecs")
	add(intervalUnit{micros: 1}, "microsecond microseconds us usec usecs")
	return m
}()

type interval struct{ months, days, micros int64 }

// add adds number + fraction/1e6 units; a fraction of a month counts 30 days
// to the month, and what that leaves is dropped, as DuckDB does.
func (iv *interval) add(u intervalUnit, number, fraction int64) bool {
	ok := true
	acc := func(to *int64, n, size, limit int64) {
		if n != 0 && (n > math.MaxInt64/size || n < math.MinInt64/size) {
			ok = false
			return
		}
		x := n * size
		if sum := *to + x; x > 0 && sum < *to || x < 0 && sum > *to || sum > limit || sum < -limit-1 {
			ok = false
		} else {
			*to = sum
		}
	}
	switch {
	case u.months == 3: // a quarter's fraction goes down to days
		acc(&iv.months, number, 3, math.MaxInt32)
		acc(&iv.months, fraction*3/microsPerSecond, 1, math.MaxInt32)
		acc(&iv.days, fraction*3%microsPerSecond*30/microsPerSecond, 1, math.MaxInt32)
	case u.months > 1:
		acc(&iv.months, number, u.months, math.MaxInt32)
		acc(&iv.months, fraction*u.months/microsPerSecond, 1, math.MaxInt32)
	case u.months == 1:
		acc(&iv.months, number, 1, math.MaxInt32)
		acc(&iv.days, fraction*30/microsPerSecond, 1, math.MaxInt32)
	case u.days > 0:
		acc(&iv.days, number, u.days, math.MaxInt32)
		whole := fraction * u.days
		acc(&iv.days, whole/microsPerSecond, 1, math.MaxInt32)
		acc(&iv.micros, whole%microsPerSecond*(microsPerDay/microsPerSecond), 1, math.MaxInt64)
	case u.micros == 1:
		acc(&iv.micros, number, 1, math.MaxInt64)
		acc(&iv.micros, fraction/(microsPerSecond/2), 1, math.MaxInt64) // rounded
	default:
		acc(&iv.micros, number, u.micros, math.MaxInt64)
		acc(&iv.micros, fraction*u.micros/microsPerSecond, 1, math.MaxInt64)
	}
	return ok
}

// parseInterval reads DuckDB's interval text: "1 year 2 days 03:04:05.6", "5 minutes ago", "-1h".
func parseInterval(s []byte) (iv interval, ok bool) {
	p, found := 0, false
	if len(s) > 0 && s[0] == '@' {
		p++
	}
	blank := func() {
		for p < len(s) && (s[p] == ' ' || s[p] == '\t' || s[p] == '\n') {
			p++
		}
	}
	for blank(); p < len(s); blank() {
		if s[p]|0x20 == 'a' {
			if !found || !bytes.EqualFold(s[p:], []byte("ago")) {
				return iv, false
			}
			iv = interval{-iv.months, -iv.days, -iv.micros}
			return iv, true
		}
		neg := s[p] == '-'
		if neg {
			p++
		}
		start := p
		var number int64
		for ; p < len(s) && isDigit(s[p]); p++ {
			if number > (math.MaxInt64-9)/10 {
				return iv, false
			}
			number = number*10 + int64(s[p]-'0')
		}
		if p == start {
			return iv, false
		}
		if p < len(s) && s[p] == ':' {
			micros, _, _, ok := parseClock(s[start:])
			iv.micros += micros
			if neg {
				iv.micros = -iv.micros
			}
			return iv, ok
		}
		var fraction int64
		if p < len(s) && s[p] == '.' {
			scale := int64(100_000)
			for p++; p < len(s) && isDigit(s[p]); p++ {
				fraction += int64(s[p]-'0') * scale
				scale /= 10
			}
		}
		if neg {
			number, fraction = -number, -fraction
		}
		blank()
		start = p
		for p < len(s) && (s[p]|0x20) >= 'a' && (s[p]|0x20) <= 'z' {
			p++
		}
		if p == start {
			blank()
			ok := !found && p == len(s) && iv.add(intervalUnits["s"], number, fraction)
			return iv, ok
		}
		u, known := intervalUnits[strings.ToLower(string(s[start:p]))]
		if !known || !iv.add(u, number, fraction) {
			return iv, false
		}
		found = true
	}
	return iv, found
}

func (c *column) putInterval(row int, s []byte) bool {
	iv, ok := parseInterval(s)
	if ok {
		c.put128(row, uint64(uint32(iv.months))|uint64(uint32(iv.days))<<32, uint64(iv.micros))
	}
	return ok
}
