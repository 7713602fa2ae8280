package vector

import (
	"fmt"
	"math"
	"strings"
	"time"
)

func timeText(v *Vector, i int) string {
	const sec = 1_000_000
	switch v.Type.Kind {
	case Date:
		switch d := v.I32(i); d {
		case math.MaxInt32:
			return "infinity"
		case -math.MaxInt32:
			return "-infinity"
		default:
			return dateText(int64(d))
		}
	case Time:
		return clockText(v.I64(i), 6)
	case TimeNS:
		return clockText(v.I64(i), 9)
	case TimeTZ:
		// DuckDB packs 40 bits of microseconds above 24 bits of (16:00:00 − 1 s − offset).
		x := v.U64(i)
		return clockText(int64(x>>24), 6) + offsetText(57599-int64(x&(1<<24-1)))
	case TimestampS:
		return stampText(v.I64(i), 1, 0)
	case TimestampMS:
		return stampText(v.I64(i), 1000, 3)
	case Timestamp:
		return stampText(v.I64(i), sec, 6)
	case TimestampNS:
		return stampText(v.I64(i), 1000*sec, 9)
	case TimestampTZ:
		s := stampText(v.I64(i), sec, 6)
		if strings.HasSuffix(s, "infinity") {
			return s
		}
		return s + "+00"
	}
	panic(fmt.Sprintf("vector: no text for %s", v.Type))
}

// stampText prints an instant of perSecond units a second, with up to digits decimals.
func stampText(x, perSecond int64, digits int) string {
	switch x {
	case math.MaxInt64:
		return "infinity"
	case -math.MaxInt64:
		return "-infinity"
	}
	day := 86400 * perSecond
	days, rest := x/day, x%day
	if rest < 0 {
		days, rest = days-1, rest+day
	}
	return dateText(days) + " " + clockText(rest, digits)
}

func dateText(days int64) string {
	t := time.Unix(0, 0).UTC().AddDate(0, 0, int(days))
	if y := t.Year(); y <= 0 {
		return fmt.Sprintf("%04d-%02d-%02d (BC)", 1-y, t.Month(), t.Day())
	}
	return fmt.Sprintf("%04d-%02d-%02d", t.Year(), t.Month(), t.Day())
}

// clockText prints units of 10^-digits seconds since midnight, without trailing zeros.
func clockText(x int64, digits int) string {
	unit := int64(math.Pow10(digits))
	s := x / unit
	out := fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
	if f := x % unit; f != 0 {
		out += "." + strings.TrimRight(fmt.Sprintf("%0*d", digits, f), "0")
	}
	return out
}

func offsetText(seconds int64) string {
	sign := "+"
	if seconds < 0 {
		sign, seconds = "-", -seconds
	}
	out := fmt.Sprintf("%s%02d", sign, seconds/3600)
	// Why: DuckDB leaves out minutes of zero even before seconds, so +05:00:01 prints as +05:01.
	if seconds/60%60 != 0 {
		out += fmt.Sprintf(":%02d", seconds/60%60)
	}
	if seconds%60 != 0 {
		out += fmt.Sprintf(":%02d", seconds%60)
	}
	return out
}

func intervalText(months, days int32, micros int64) string {
	var parts []string
	add := func(n int64, unit string) {
		if n != 0 {
			if n != 1 && n != -1 {
				unit += "s"
			}
			parts = append(parts, fmt.Sprintf("%d %s", n, unit))
		}
	}
	add(int64(months/12), "year")
	add(int64(months%12), "month")
	add(int64(days), "day")
	if micros != 0 || len(parts) == 0 {
		sign, abs := "", uint64(micros)
		if micros < 0 {
			sign, abs = "-", -abs
		}
		// Why: the smallest int64 has no positive twin; hours of the magnitude fit either way.
		parts = append(parts, sign+clockText(int64(abs/1_000_000), 0)+fractionText(abs%1_000_000))
	}
	return strings.Join(parts, " ")
}

func fractionText(micros uint64) string {
	if micros == 0 {
		return ""
	}
	return "." + strings.TrimRight(fmt.Sprintf("%06d", micros), "0")
}
