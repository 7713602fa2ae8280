package decode

import (
	"bytes"
	"math"
	"math/bits"
)

const (
	microsPerSecond = 1_000_000
	microsPerDay    = 86_400 * microsPerSecond
	// DuckDB's infinities. The minimum of int64 is no timestamp at all.
	infinity     = math.MaxInt64
	infinityDate = math.MaxInt32
)

// timeFault says why a date or time text was refused.
type timeFault uint8

const (
	timeOK timeFault = iota
	timeFormat
	timeRange
	timeZone
)

func (f timeFault) String() string {
	return [...]string{"", "is not in the form", "is out of range for", "has a time zone other than UTC or an offset, which needs a cast in the query, so it is not"}[f]
}

// daysFromCivil is the number of days from 1970-01-01 to a proleptic Gregorian date (after Howard
// Hinnant's public-domain algorithm).
func daysFromCivil(y, m, d int64) int64 {
	if m <= 2 {
		y--
	}
	era := floorDiv(y, 400)
	yoe := y - era*400
	mp := (m + 9) % 12
	doy := (153*mp+2)/5 + d - 1
	return era*146097 + yoe*365 + yoe/4 - yoe/100 + doy - 719468
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// roundDiv divides, rounding half away from zero.
func roundDiv(a, b int64) int64 {
	q, r := a/b, a%b
	if r >= b/2 {
		return q + 1
	}
	if r <= -b/2 {
		return q - 1
	}
	return q
}

func daysIn(y, m int64) int64 {
	switch m {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if y%4 == 0 && (y%100 != 0 || y%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// twoDigits reads one or two digits at s[p].
func twoDigits(s []byte, p int) (v int64, next int, ok bool) {
	if p >= len(s) || !isDigit(s[p]) {
		return 0, p, false
	}
	v = int64(s[p] - '0')
	if p+1 < len(s) && isDigit(s[p+1]) {
		return v*10 + int64(s[p+1]-'0'), p + 2, true
	}
	return v, p + 1, true
}

// parseDate reads a date at the start of s, in DuckDB's lenient mode: what follows it is not looked at,
// unless it is a digit. special says that the text was infinity or epoch and is used up.
func parseDate(s []byte) (days int64, next int, special bool, fault timeFault) {
	p := 0
	for p < len(s) && isSpace(s[p]) {
		p++
	}
	neg := p < len(s) && s[p] == '-'
	if neg {
		p++
	}
	if p >= len(s) {
		return 0, p, false, timeFormat
	}
	if !isDigit(s[p]) {
		return specialDate(s[p:], len(s), neg)
	}
	var y, m, d int64
	for ; p < len(s) && isDigit(s[p]); p++ {
		if y >= 100_000_000 {
			return 0, p, false, timeRange
		}
		y = y*10 + int64(s[p]-'0')
	}
	if neg {
		y = -y
	}
	if p >= len(s) {
		return 0, p, false, timeFormat
	}
	sep := s[p]
	ok := sep == '-' || sep == '/' || sep == '\\' || sep == ' '
	if ok {
		m, p, ok = twoDigits(s, p+1)
	}
	if !ok || p >= len(s) || s[p] != sep {
		return 0, p, false, timeFormat
	}
	if d, p, ok = twoDigits(s, p+1); !ok {
		return 0, p, false, timeFormat
	}
	if rest := s[p:]; len(rest) >= 5 && isSpace(rest[0]) && bytes.EqualFold(rest[1:5], []byte("(bc)")) {
		if neg || y == 0 {
			return 0, p, false, timeFormat
		}
		y = 1 - y
		p += 5
	}
	if p < len(s) && isDigit(s[p]) {
		return 0, p, false, timeFormat
	}
	if m < 1 || m > 12 || d < 1 || d > daysIn(y, m) {
		return 0, p, false, timeRange
	}
	days = daysFromCivil(y, m, d)
	// DuckDB's dates end one day short of its infinities on either side.
	if days >= infinityDate || days <= -infinityDate {
		return 0, p, false, timeRange
	}
	return days, p, false, timeOK
}

func specialDate(word []byte, all int, neg bool) (days int64, next int, special bool, fault timeFault) {
	for len(word) > 0 && isSpace(word[len(word)-1]) {
		word = word[:len(word)-1]
	}
	switch {
	case bytes.EqualFold(word, []byte("infinity")), bytes.EqualFold(word, []byte("inf")):
		if neg {
			return -infinityDate, all, true, timeOK
		}
		return infinityDate, all, true, timeOK
	case bytes.EqualFold(word, []byte("epoch")):
		return 0, all, true, timeOK
	}
	return 0, 0, false, timeFormat
}

// parseClock reads hours:minutes[:seconds[.fraction]] at the start of s, as nanoseconds in all. A colon
// after the minutes may be left without seconds.
func parseClock(s []byte) (micros, nanos int64, next int, ok bool) {
	p := 0
	for p < len(s) && isSpace(s[p]) {
		p++
	}
	start := p
	var h, m, sec int64
	for ; p < len(s) && isDigit(s[p]); p++ {
		if p-start == 9 {
			return 0, 0, p, false
		}
		h = h*10 + int64(s[p]-'0')
	}
	if p == start || p >= len(s) || s[p] != ':' {
		return 0, 0, p, false
	}
	if m, p, ok = twoDigits(s, p+1); !ok || m >= 60 {
		return 0, 0, p, false
	}
	if p < len(s) {
		if s[p] != ':' {
			return 0, 0, p, false
		}
		p++
	}
	if p < len(s) {
		if sec, p, ok = twoDigits(s, p); !ok || sec >= 60 {
			return 0, 0, p, false
		}
	}
	var frac int64
	if p < len(s) && s[p] == '.' {
		scale := int64(100_000_000)
		for p++; p < len(s) && isDigit(s[p]); p++ {
			frac += int64(s[p]-'0') * scale
			scale /= 10
		}
	}
	micros = ((h*60+m)*60+sec)*microsPerSecond + frac/1000
	return micros, frac % 1000, p, true
}

// parseOffset reads ±hh[[:]mm[[:]ss]] at the start of s, as seconds.
func parseOffset(s []byte) (seconds int64, next int, ok bool) {
	if len(s) < 3 || s[0] != '+' && s[0] != '-' || !isDigit(s[1]) || !isDigit(s[2]) {
		return 0, 0, false
	}
	unit := int64(3600)
	p := 1
	for range 3 {
		if p+1 >= len(s) || !isDigit(s[p]) || !isDigit(s[p+1]) {
			break
		}
		seconds += (int64(s[p]-'0')*10 + int64(s[p+1]-'0')) * unit
		unit /= 60
		p += 2
		if unit > 0 && p < len(s) && s[p] == ':' {
			p++
		}
	}
	if s[0] == '-' {
		seconds = -seconds
	}
	return seconds, p, true
}

// stamp is a parsed timestamp: local time and the offset it was written with.
type stamp struct {
	micros, nanos int64 // nanos is the part below a microsecond
	offset        int64 // seconds east
	infinite      bool
}

// parseStamp reads a whole timestamp text.
func parseStamp(s []byte) (t stamp, fault timeFault) {
	days, p, special, fault := parseDate(s)
	if fault != timeOK {
		return t, fault
	}
	if special && days == infinityDate {
		return stamp{micros: infinity, infinite: true}, timeOK
	}
	if special && days == -infinityDate {
		return stamp{micros: -infinity, infinite: true}, timeOK
	}
	var clock int64
	if p < len(s) {
		if s[p] == ' ' || s[p] == 'T' {
			p++
		}
		c, nanos, n, ok := parseClock(s[p:])
		if !ok {
			return t, timeFormat
		}
		clock, t.nanos = c, nanos
		p += n
		if clock > microsPerDay {
			return t, timeRange
		}
	}
	var ok bool
	if t.micros, ok = dayMicros(days, clock); !ok {
		return t, timeRange
	}
	if p == len(s) {
		return t, timeOK
	}
	if s[p] == 'Z' {
		p++
	} else if off, n, ok := parseOffset(s[p:]); ok {
		t.offset = off
		p += n
	} else if zone := s[p:]; zone[0] == ' ' {
		// A zone name; only UTC needs no time zone database.
		if zone = trimSpace(zone); len(zone) > 0 && !bytes.EqualFold(zone, []byte("utc")) {
			return t, timeZone
		}
		p = len(s)
	} else {
		return t, timeZone
	}
	if len(trimSpace(s[p:])) > 0 {
		return t, timeFormat
	}
	return t, timeOK
}

// dayMicros adds a day and a time of day; false when no timestamp can hold it.
func dayMicros(days, clock int64) (int64, bool) {
	neg := days < 0
	hi, lo := bits.Mul64(uint64(max(days, -days)), microsPerDay)
	if hi != 0 || lo > math.MaxInt64 {
		// The lowest timestamps need the time of day added before they fit.
		return 0, false
	}
	base := int64(lo)
	if neg {
		base = -base
	}
	sum := base + clock
	if clock > 0 && sum < base || sum == infinity || sum <= -infinity {
		return 0, false
	}
	return sum, true
}
