package decode

import (
	"math"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Debezium writes Postgres' infinite timestamps as these numbers of microseconds or milliseconds.
const (
	ticksInfinity      = 9223372036825200000
	ticksMinusInfinity = -9223372036832400000
	minMicros          = -9223372022400000000 // DuckDB's first timestamp, in 290309 BC
)

// ticks decodes a number that counts days, seconds or parts of them.
func (d *JSON) ticks(c *column, row, p int) int {
	next, whole := d.number(p)
	if next < 0 {
		return -1
	}
	n, ok := int64(0), false
	if whole {
		n, ok = int64Text(d.buf[p:next])
	}
	if !ok {
		return d.mismatch(c, p, next)
	}
	fault := timeFormat
	switch k := c.code.kind; k {
	case asDays, asMillis, asMicros, asNanos:
		fault = c.putInstant(row, k, n)
	case asISO:
	default:
		fault = c.putSpan(row, k, n)
	}
	switch fault {
	case timeOK:
		return next
	case timeRange:
		return d.fail("column %s: %s is out of range for %s", c.name, quoted(d.buf[p:next]), c.typ)
	}
	return d.mismatch(c, p, next)
}

// int64Text reads a JSON integer; false when it does not fit.
func int64Text(s []byte) (n int64, ok bool) {
	digits := s
	if s[0] == '-' {
		digits = s[1:]
	}
	var v uint64
	for _, ch := range digits {
		if v > 1<<63/10 {
			return 0, false
		}
		v = v*10 + uint64(ch-'0')
	}
	if s[0] == '-' {
		return -int64(v), v <= 1<<63
	}
	return int64(v), v <= math.MaxInt64
}

// putInstant stores a point in time as a date or a timestamp of any precision.
func (c *column) putInstant(row int, unit codeKind, n int64) timeFault {
	t := stamp{micros: n}
	switch {
	case unit != asDays && n == ticksInfinity:
		t = stamp{micros: infinity, infinite: true}
	case unit != asDays && n == ticksMinusInfinity:
		t = stamp{micros: -infinity, infinite: true}
	case unit == asNanos:
		t.micros = floorDiv(n, 1000)
		t.nanos = n - t.micros*1000
	case unit == asMillis:
		if n > math.MaxInt64/1000 || n < math.MinInt64/1000 {
			return timeRange
		}
		t.micros = n * 1000
	case unit == asDays:
		if n >= infinityDate || n <= -infinityDate {
			return timeRange
		}
		if c.typ.Kind == vector.Date {
			c.put32(row, uint64(n))
			return timeOK
		}
		var ok bool
		if t.micros, ok = dayMicros(n, 0); !ok {
			return timeRange
		}
	}
	return c.putInstantOf(row, t)
}

// putInstantOf stores a point in time.
func (c *column) putInstantOf(row int, t stamp) timeFault {
	if !t.infinite && (t.micros < minMicros || t.micros >= infinity) {
		return timeRange
	}
	switch c.typ.Kind {
	case vector.Date:
		days := floorDiv(t.micros, microsPerDay)
		if t.infinite {
			days = infinityDate
			if t.micros < 0 {
				days = -infinityDate
			}
		}
		c.put32(row, uint64(days))
		return timeOK
	case vector.Timestamp, vector.TimestampTZ, vector.TimestampS, vector.TimestampMS, vector.TimestampNS:
		return c.putStamp(row, t)
	}
	return timeFormat
}

// putSpan stores a time of day or a duration.
func (c *column) putSpan(row int, unit codeKind, n int64) timeFault {
	micros, nanos := n, int64(0)
	switch unit {
	case asTimeMillis:
		if n > math.MaxInt64/1000 || n < math.MinInt64/1000 {
			return timeRange
		}
		micros = n * 1000
	case asTimeNanos, asNanoDuration:
		micros = floorDiv(n, 1000)
		nanos = n - micros*1000
	}
	duration := unit == asMicroDuration || unit == asNanoDuration
	switch k := c.typ.Kind; {
	case k == vector.Interval:
		c.put128(row, 0, uint64(micros))
	case duration || k != vector.Time && k != vector.TimeNS:
		return timeFormat
	case micros < 0 || micros > microsPerDay || micros == microsPerDay && nanos > 0:
		return timeRange
	case k == vector.TimeNS:
		c.put64(row, uint64(micros*1000+nanos))
	default:
		c.put64(row, uint64(micros))
	}
	return timeOK
}
