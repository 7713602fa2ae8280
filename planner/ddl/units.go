package ddl

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// day is a civil day without leap seconds or time zones.
const day = 24 * time.Hour

// durationUnits are the units of ParseDuration. A month has no fixed length and is not among them.
var durationUnits = map[string]time.Duration{
	"ns": time.Nanosecond, "nanosecond": time.Nanosecond, "nanoseconds": time.Nanosecond,
	"us": time.Microsecond, "µs": time.Microsecond, "microsecond": time.Microsecond, "microseconds": time.Microsecond,
	"ms": time.Millisecond, "millisecond": time.Millisecond, "milliseconds": time.Millisecond,
	"s": time.Second, "sec": time.Second, "secs": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "mins": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": day, "day": day, "days": day, "w": 7 * day, "week": 7 * day, "weeks": 7 * day,
}

var (
	durationPart = regexp.MustCompile(`^\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-zµ]+)`)
	isoDuration  = regexp.MustCompile(`^p(?:([0-9.]+)d)?(?:t(?:([0-9.]+)h)?(?:([0-9.]+)m)?(?:([0-9.]+)s)?)?$`)
	sizeText     = regexp.MustCompile(`^([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-z]*)$`)
)

// ParseDuration reads '500ms', '1 second', '2 minutes 30 seconds', '1h30m', ISO 8601 'PT1M30S' and '0'.
// Months and years have no fixed length and are refused.
func ParseDuration(s string) (time.Duration, error) {
	rest := strings.ToLower(strings.TrimSpace(s))
	negative := strings.HasPrefix(rest, "-")
	rest = strings.TrimPrefix(rest, "-")
	if rest == "0" {
		return 0, nil
	}
	if m := isoDuration.FindStringSubmatch(rest); m != nil {
		rest = ""
		for i, unit := range []string{"d", "h", "m", "s"} {
			if m[i+1] != "" {
				rest += m[i+1] + unit
			}
		}
	}
	total := new(big.Rat)
	if rest == "" {
		return 0, fmt.Errorf("%q is not a duration", s)
	}
	for rest != "" {
		m := durationPart.FindStringSubmatch(rest)
		if m == nil {
			return 0, fmt.Errorf("%q is not a duration", s)
		}
		unit, ok := durationUnits[m[2]]
		n, valid := new(big.Rat).SetString(m[1])
		if !ok || !valid {
			return 0, fmt.Errorf("%q is not a duration", s)
		}
		total.Add(total, n.Mul(n, new(big.Rat).SetInt64(int64(unit))))
		rest = strings.TrimLeft(strings.TrimPrefix(rest, m[0]), " ,\t")
	}
	if negative {
		total.Neg(total)
	}
	n, err := wholeNumber(total)
	if err != nil {
		return 0, fmt.Errorf("duration %q: %w", s, err)
	}
	return time.Duration(n), nil
}

// sizeUnits are the units of ParseBytes. K, M and G alone are refused: they mean 1000 to some and 1024 to
// others.
var sizeUnits = map[string]int64{
	"": 1, "b": 1, "byte": 1, "bytes": 1,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}

// ParseBytes reads '64MiB', '1.5 GB' and a plain number of bytes.
func ParseBytes(s string) (int64, error) {
	m := sizeText.FindStringSubmatch(strings.ToLower(strings.TrimSpace(s)))
	if m == nil {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	unit, ok := sizeUnits[m[2]]
	n, valid := new(big.Rat).SetString(m[1])
	if !ok || !valid {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	size, err := wholeNumber(n.Mul(n, new(big.Rat).SetInt64(unit)))
	if err != nil {
		return 0, fmt.Errorf("size %q: %w", s, err)
	}
	return size, nil
}

// wholeNumber rounds toward zero, and refuses what does not fit.
func wholeNumber(r *big.Rat) (int64, error) {
	n := new(big.Int).Quo(r.Num(), r.Denom())
	if !n.IsInt64() {
		return 0, fmt.Errorf("more than %d", int64(math.MaxInt64))
	}
	return n.Int64(), nil
}

// FormatBytes writes a size as ParseBytes reads it, in the largest unit that divides it.
func FormatBytes(n int64) string {
	unit := 0
	for ; n != 0 && n%1024 == 0 && unit < 4; unit++ {
		n /= 1024
	}
	return strconv.FormatInt(n, 10) + [...]string{"B", "KiB", "MiB", "GiB", "TiB"}[unit]
}
