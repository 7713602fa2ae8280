package valuetext

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Infinite dates and timestamps, as DuckDB stores them.
const (
	InfinityDate         = math.MaxInt32
	NegInfinityDate      = -math.MaxInt32
	InfinityTimestamp    = math.MaxInt64
	NegInfinityTimestamp = -math.MaxInt64
)

// civil returns the proleptic Gregorian date of a day since 1970-01-01 (Howard Hinnant,
// "chrono-Compatible Low-Level Date Algorithms").
func civil(day int64) (year int64, month, dom int) {
	z := day + 719468
	era := floorDiv(z, 146097)
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	dom = int(doy - (153*mp+2)/5 + 1)
	month = int(mp + 3)
	if month > 12 {
		month -= 12
	}
	year = yoe + era*400
	if month <= 2 {
		year++
	}
	return year, month, dom
}

// dayOf is the inverse of civil.
func dayOf(year int64, month, dom int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	era := floorDiv(year, 400)
	yoe := year - era*400
	doy := int64((153*(month-3)+2)/5 + dom - 1)
	return era*146097 + yoe*365 + yoe/4 - yoe/100 + doy - 719468
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func appendPadded(dst []byte, x int64, width int) []byte {
	var b [20]byte
	s := strconv.AppendInt(b[:0], x, 10)
	for n := len(s); n < width; n++ {
		dst = append(dst, '0')
	}
	return append(dst, s...)
}

func appendDay(dst []byte, day int64) (out []byte, bc bool) {
	y, m, d := civil(day)
	if bc = y <= 0; bc {
		y = 1 - y
	}
	dst = append(appendPadded(dst, y, 4), '-')
	dst = append(appendPadded(dst, int64(m), 2), '-')
	return appendPadded(dst, int64(d), 2), bc
}

func appendDate(dst []byte, day int32) []byte {
	switch day {
	case InfinityDate:
		return append(dst, "infinity"...)
	case NegInfinityDate:
		return append(dst, "-infinity"...)
	}
	dst, bc := appendDay(dst, int64(day))
	if bc {
		dst = append(dst, " (BC)"...)
	}
	return dst
}

// appendClock writes h:mm:ss and, if not zero, the fraction of unit parts a second without trailing zeros.
func appendClock(dst []byte, t, unit int64) []byte {
	sec := t / unit
	dst = append(appendPadded(dst, sec/3600, 2), ':')
	dst = append(appendPadded(dst, sec/60%60, 2), ':')
	dst = appendPadded(dst, sec%60, 2)
	if frac := t % unit; frac != 0 {
		dst = appendPadded(append(dst, '.'), frac, len(strconv.FormatInt(unit, 10))-1)
		dst = bytes.TrimRight(dst, "0")
	}
	return dst
}

// appendTimestamp writes an instant given in units of 1/unit seconds.
func appendTimestamp(dst []byte, t, unit int64, zone string) []byte {
	switch t {
	case InfinityTimestamp:
		return append(dst, "infinity"...)
	case NegInfinityTimestamp:
		return append(dst, "-infinity"...)
	}
	day := floorDiv(t, 86400*unit)
	dst, bc := appendDay(dst, day)
	if bc {
		dst = append(dst, " (BC)"...)
	}
	dst = appendClock(append(dst, ' '), t-day*86400*unit, unit)
	return append(dst, zone...)
}

func appendInterval(dst []byte, months, days int32, micros int64) []byte {
	start := len(dst)
	part := func(n int32, unit string) {
		if n == 0 {
			return
		}
		if len(dst) > start {
			dst = append(dst, ' ')
		}
		dst = append(strconv.AppendInt(dst, int64(n), 10), unit...)
		if n != 1 && n != -1 {
			dst = append(dst, 's')
		}
	}
	part(months/12, " year")
	part(months%12, " month")
	part(days, " day")
	if micros == 0 && len(dst) > start {
		return dst
	}
	if len(dst) > start {
		dst = append(dst, ' ')
	}
	if micros < 0 {
		dst = append(dst, '-')
	}
	if micros == math.MinInt64 {
		return append(dst, "2562047788:00:54.775808"...)
	}
	return appendClock(dst, max(micros, -micros), 1_000_000)
}

func appendOffset(dst []byte, seconds int32) []byte {
	sign := byte('+')
	if seconds < 0 {
		sign, seconds = '-', -seconds
	}
	dst = appendPadded(append(dst, sign), int64(seconds/3600), 2)
	if seconds%3600 != 0 {
		dst = appendPadded(append(dst, ':'), int64(seconds/60%60), 2)
	}
	if seconds%60 != 0 {
		dst = appendPadded(append(dst, ':'), int64(seconds%60), 2)
	}
	return dst
}

var errSyntax = errors.New("not written as expected")

func parseDate(s string) (int32, error) {
	switch s {
	case "infinity":
		return InfinityDate, nil
	case "-infinity":
		return NegInfinityDate, nil
	}
	day, rest, err := parseDay(s)
	if err == nil && rest != "" {
		err = errSyntax
	}
	return int32(day), err
}

// parseDay reads a day at the front of s, with its (BC). At the end of s it counts, too: tables have texts of
// timestamps that were written so.
func parseDay(s string) (day int64, rest string, err error) {
	var y int64
	var m, d int
	if _, err := fmt.Sscanf(s, "%d-%d-%d", &y, &m, &d); err != nil {
		return 0, "", errSyntax
	}
	n := 0
	for dashes := 0; n < len(s) && (s[n] >= '0' && s[n] <= '9' || s[n] == '-' && dashes < 2); n++ {
		if s[n] == '-' {
			dashes++
		}
	}
	rest, bc := strings.CutPrefix(s[n:], " (BC)")
	if bc || strings.HasSuffix(rest, " (BC)") {
		y = 1 - y
	}
	return dayOf(y, m, d), rest, nil
}

// parseClock reads [h]h:mm:ss[.fraction] at the front of s in units of 1/unit seconds.
func parseClock(s string, unit int64) (t int64, rest string, err error) {
	num := func() int64 {
		n, start := int64(0), len(s)
		for s != "" && s[0] >= '0' && s[0] <= '9' {
			n, s = n*10+int64(s[0]-'0'), s[1:]
		}
		if start == len(s) {
			err = errSyntax
		}
		return n
	}
	colon := func() {
		if s == "" || s[0] != ':' {
			err = errSyntax
			return
		}
		s = s[1:]
	}
	h := num()
	colon()
	m := num()
	colon()
	t = (h*3600 + m*60 + num()) * unit
	if err == nil && s != "" && s[0] == '.' {
		s = s[1:]
		for scale := unit / 10; s != "" && s[0] >= '0' && s[0] <= '9'; scale /= 10 {
			t, s = t+int64(s[0]-'0')*scale, s[1:]
		}
	}
	return t, s, err
}

func parseTimestamp(s string, unit int64) (int64, error) {
	switch s {
	case "infinity":
		return InfinityTimestamp, nil
	case "-infinity":
		return NegInfinityTimestamp, nil
	}
	day, rest, err := parseDay(s)
	if err != nil || rest == "" {
		return 0, errSyntax
	}
	t, _, err := parseClock(rest[1:], unit)
	return day*86400*unit + t, err
}

func parseOffset(s string) (int32, error) {
	if len(s) < 3 || s[0] != '+' && s[0] != '-' {
		return 0, errSyntax
	}
	full := s[1:] + ":00:00"[min(len(s)-3, 6):]
	t, _, err := parseClock(full, 1)
	if s[0] == '-' {
		t = -t
	}
	return int32(t), err
}

func parseInterval(s string) (months, days int32, micros int64, err error) {
	for s != "" {
		word := s
		if i := bytes.IndexByte([]byte(s), ' '); i >= 0 {
			word, s = s[:i], s[i+1:]
		} else {
			s = ""
		}
		if bytes.IndexByte([]byte(word), ':') >= 0 {
			neg := word[0] == '-'
			if neg {
				word = word[1:]
			}
			if micros, _, err = parseClock(word, 1_000_000); err != nil {
				return 0, 0, 0, err
			}
			if neg {
				micros = -micros
			}
			continue
		}
		n, perr := strconv.ParseInt(word, 10, 32)
		if perr != nil || s == "" {
			return 0, 0, 0, errSyntax
		}
		unit := s
		if i := bytes.IndexByte([]byte(s), ' '); i >= 0 {
			unit, s = s[:i], s[i+1:]
		} else {
			s = ""
		}
		switch unit {
		case "year", "years":
			months += int32(n) * 12
		case "mon", "mons", "month", "months":
			months += int32(n)
		case "day", "days":
			days += int32(n)
		default:
			return 0, 0, 0, errSyntax
		}
	}
	return months, days, micros, nil
}
