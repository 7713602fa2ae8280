package decode

import (
	"math"

	"github.com/sluice-sql/sluice/internal/vector"
)

// putTemporal converts text to a DATE, TIME or TIMESTAMP column of any precision.
func (c *column) putTemporal(row int, s []byte) timeFault {
	switch c.typ.Kind {
	case vector.Date:
		days, _, _, fault := parseDate(s)
		c.put32(row, uint64(days))
		return fault
	case vector.Time, vector.TimeNS:
		return c.putTime(row, s)
	case vector.TimeTZ:
		return c.putTimeTZ(row, s)
	}
	t, fault := parseStamp(s)
	if fault != timeOK {
		return fault
	}
	return c.putStamp(row, t)
}

func (c *column) putStamp(row int, t stamp) timeFault {
	v := t.micros
	switch c.typ.Kind {
	case vector.TimestampTZ, vector.TimestampNS:
		// Why: DuckDB drops an offset in a TIMESTAMP, and in TIMESTAMP_S and _MS, but applies it here.
		if !t.infinite {
			v -= t.offset * microsPerSecond
			if t.offset > 0 && v > t.micros || t.offset < 0 && v < t.micros {
				return timeRange
			}
		}
	}
	if !t.infinite {
		switch c.typ.Kind {
		case vector.TimestampNS:
			if v > math.MaxInt64/1000 || v < math.MinInt64/1000 {
				return timeRange
			}
			if v *= 1000; v > math.MaxInt64-t.nanos {
				return timeRange
			}
			if v += t.nanos; v >= infinity || v <= -infinity {
				return timeRange
			}
		case vector.TimestampMS:
			v = roundDiv(v, 1000)
		case vector.TimestampS:
			v = roundDiv(v, microsPerSecond)
		}
	}
	c.put64(row, uint64(v))
	return timeOK
}

func (c *column) putTime(row int, s []byte) timeFault {
	micros, nanos, _, ok := parseClock(s)
	if !ok {
		// As DuckDB: the time of day of a whole timestamp.
		t, fault := parseStamp(s)
		if fault != timeOK || t.infinite {
			return timeFormat
		}
		micros, nanos = t.micros-floorDiv(t.micros, microsPerDay)*microsPerDay, t.nanos
	}
	if micros > microsPerDay || micros == microsPerDay && nanos > 0 {
		return timeRange
	}
	if c.typ.Kind == vector.TimeNS {
		micros = micros*1000 + nanos
	}
	c.put64(row, uint64(micros))
	return timeOK
}

// putTimeTZ packs 40 bits of microseconds above 24 bits of (MaxOffset - offset), DuckDB's dtime_tz_t.
func (c *column) putTimeTZ(row int, s []byte) timeFault {
	const maxOffset = 16*60*60 - 1
	micros, _, p, ok := parseClock(s)
	offset := int64(0)
	if !ok {
		t, fault := parseStamp(s)
		if fault != timeOK || t.infinite {
			return timeFormat
		}
		utc := t.micros - t.offset*microsPerSecond
		micros = utc - floorDiv(utc, microsPerDay)*microsPerDay
	} else {
		for p < len(s) && isSpace(s[p]) {
			p++
		}
		if off, n, ok := parseOffset(s[p:]); ok {
			offset = off
			p += n
		}
		if len(trimSpace(s[p:])) > 0 {
			return timeFormat
		}
	}
	if micros > microsPerDay || offset > maxOffset || offset < -maxOffset {
		return timeRange
	}
	c.put64(row, uint64(micros)<<24|uint64(maxOffset-offset))
	return timeOK
}
