package planner

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Instants of an event-time column are kept in the column's own unit, as vector holds them: days, seconds,
// milli-, micro- or nanoseconds. These functions go between them, wall-clock times and SQL.

// unitOf is how long one unit of an event-time column is.
func unitOf(t vector.Type) time.Duration {
	switch t.Kind {
	case vector.Date:
		return 24 * time.Hour
	case vector.TimestampS:
		return time.Second
	case vector.TimestampMS:
		return time.Millisecond
	case vector.TimestampNS:
		return time.Nanosecond
	}
	return time.Microsecond
}

// Behind is an instant less a duration, rounded down to the column's unit.
func Behind(t vector.Type, at int64, d time.Duration) int64 {
	unit := unitOf(t)
	n := int64((d + unit - 1) / unit)
	if at < math.MinInt64+n {
		return math.MinInt64
	}
	return at - n
}

// InstantOf is a time in the column's unit, rounded down. What the unit cannot reach becomes its last instant.
func InstantOf(t vector.Type, at time.Time) int64 {
	seconds, nanos := at.Unix(), int64(at.Nanosecond())
	switch unit := unitOf(t); unit {
	case 24 * time.Hour:
		return floorDiv(seconds, 86400)
	case time.Second:
		return seconds
	default:
		scale := int64(time.Second / unit)
		if seconds >= math.MaxInt64/scale {
			return math.MaxInt64 - 1 // the greatest value is infinity
		}
		return seconds*scale + nanos/int64(unit)
	}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// TimeOf is an instant as a time.
func TimeOf(t vector.Type, at int64) time.Time {
	switch unitOf(t) {
	case 24 * time.Hour:
		return time.Unix(at*86400, 0).UTC()
	case time.Second:
		return time.Unix(at, 0).UTC()
	case time.Millisecond:
		return time.UnixMilli(at).UTC()
	case time.Nanosecond:
		return time.Unix(0, at).UTC()
	}
	return time.UnixMicro(at).UTC()
}

// InstantSQL is an instant as SQL of the column's type.
func InstantSQL(t vector.Type, at int64) string {
	n := fmt.Sprintf("(%d)::BIGINT", at)
	switch t.Kind {
	case vector.Date:
		return fmt.Sprintf("(DATE '1970-01-01' + (%d)::INTEGER)", at)
	case vector.TimestampS:
		return "make_timestamp(" + n + " * 1000000)::TIMESTAMP_S"
	case vector.TimestampMS:
		return "make_timestamp(" + n + " * 1000)::TIMESTAMP_MS"
	case vector.TimestampNS:
		return "make_timestamp_ns(" + n + ")"
	case vector.TimestampTZ:
		return "(make_timestamp(" + n + ") AT TIME ZONE 'UTC')"
	}
	return "make_timestamp(" + n + ")"
}

// Times are what the placeholders in a program's SQL stand for in one batch. A source without a watermark
// yet is absent from Before and After.
type Times struct {
	At            time.Time // the batch's time
	Before, After map[string]int64
}

// Placeholders replaces the placeholders of a program's SQL by literals:
//
//	{{watermark SOURCE}}      the watermark after the batch less the allowed lateness: decides, from the next
//	                          batch on, what is late, and at the end of this one, what is evicted
//	{{closed SOURCE}}         the watermark after the batch: decides which windows are closed
//	{{closed before SOURCE}}  the watermark before the batch
//	{{latest SOURCE}}         the batch's time plus max_future
//	{{batch time}}            the batch's time, a TIMESTAMP in UTC
//
// A watermark that is not there yet is NULL.
func Placeholders(sources []SourceInput, times Times) *strings.Replacer {
	micros := vector.Of(vector.Timestamp)
	pairs := []string{batchTimePlaceholder, InstantSQL(micros, InstantOf(micros, times.At))}
	for _, s := range sources {
		if s.EventTime < 0 {
			continue
		}
		t := s.Columns[s.EventTime].Type
		literal := func(watermarks map[string]int64, behind time.Duration) string {
			if w, ok := watermarks[s.Name]; ok {
				return InstantSQL(t, Behind(t, w, behind))
			}
			return "NULL::" + t.String()
		}
		pairs = append(pairs,
			watermarkPlaceholder(s.Name), literal(times.After, s.Lateness),
			closedPlaceholder(s.Name), literal(times.After, 0),
			closedBeforePlaceholder(s.Name), literal(times.Before, 0),
			latestPlaceholder(s.Name), InstantSQL(t, InstantOf(t, times.At.Add(s.MaxFuture))))
	}
	return strings.NewReplacer(pairs...)
}

// HasPlaceholder says that a statement is another one in every batch.
func HasPlaceholder(sql string) bool { return strings.Contains(sql, "{{") }

func watermarkPlaceholder(source string) string    { return "{{watermark " + source + "}}" }
func closedPlaceholder(source string) string       { return "{{closed " + source + "}}" }
func closedBeforePlaceholder(source string) string { return "{{closed before " + source + "}}" }
func latestPlaceholder(source string) string       { return "{{latest " + source + "}}" }
