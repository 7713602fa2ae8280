package term

import (
	"fmt"
	"strconv"
	"time"
)

// Count writes a number with separators: 1,234,567.
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	start := 0
	if n < 0 {
		start = 1
	}
	for i := len(s) - 3; i > start; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Rate writes a number per second in three digits: 950, 98.2k, 1.25M.
func Rate(perSecond float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		// 999.5 and more is written 1.00k, not 1000.
		if perSecond >= unit.size*0.9995 {
			n := perSecond / unit.size
			digits := 2
			if n >= 99.95 {
				digits = 0
			} else if n >= 9.995 {
				digits = 1
			}
			return strconv.FormatFloat(n, 'f', digits, 64) + unit.name
		}
	}
	return strconv.FormatFloat(perSecond, 'f', 0, 64)
}

// Bytes writes a size in three digits: 512 B, 1.50 MiB.
func Bytes(n int64) string {
	size, unit := float64(n), 0
	for ; size >= 999.5 && unit < 4; unit++ {
		size /= 1024
	}
	switch {
	case unit == 0:
		return fmt.Sprintf("%d B", n)
	case size < 9.995:
		return fmt.Sprintf("%.2f %ciB", size, " KMGT"[unit])
	case size < 99.95:
		return fmt.Sprintf("%.1f %ciB", size, " KMGT"[unit])
	}
	return fmt.Sprintf("%.0f %ciB", size, " KMGT"[unit])
}

// Duration writes a duration in two units at most: 850ms, 3.2s, 1m05s, 2h07m, 3d04h.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Duration(-d)
	case d < time.Millisecond:
		return fmt.Sprintf("%dµs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 59950*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	d = d.Round(time.Second)
	switch {
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}
