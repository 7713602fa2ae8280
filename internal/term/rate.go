package term

import "time"

// rate measures speed over the last rateWindow, from samples of counters that only grow.
type rate struct {
	samples []sample
}

type sample struct {
	at         time.Time
	rows, done int64
}

// sampleInterval bounds how many samples a window holds.
const sampleInterval = 100 * time.Millisecond

// add notes the counters. Between sample times only the newest values are kept.
func (r *rate) add(at time.Time, rows, done int64) {
	s := sample{at, rows, done}
	n := len(r.samples)
	if n > 0 && (rows < r.samples[n-1].rows || done < r.samples[n-1].done) {
		r.samples, n = nil, 0 // The counters began anew.
	}
	if n > 1 && at.Sub(r.samples[n-2].at) < sampleInterval {
		r.samples[n-1] = s
		return
	}
	r.samples = append(r.samples, s)
	// The sample just outside the window stays: the speed is measured from there.
	drop := 0
	for drop+1 < len(r.samples) && at.Sub(r.samples[drop+1].at) >= rateWindow {
		drop++
	}
	r.samples = append(r.samples[:0], r.samples[drop:]...)
}

// perSecond is the speed of both counters at a time: it falls while no samples come.
func (r *rate) perSecond(now time.Time) (rows, done float64) {
	if len(r.samples) < 2 {
		return 0, 0
	}
	first, last := r.samples[0], r.samples[len(r.samples)-1]
	for i := 1; i < len(r.samples)-1 && now.Sub(r.samples[i].at) >= rateWindow; i++ {
		first = r.samples[i]
	}
	// A batch that is due within its usual time does not slow the display down.
	seconds := last.at.Sub(first.at).Seconds()
	if quiet := now.Sub(last.at); quiet > 2*refreshInterval {
		seconds += (quiet - 2*refreshInterval).Seconds()
	}
	if seconds <= 0 {
		return 0, 0
	}
	return float64(last.rows-first.rows) / seconds, float64(last.done-first.done) / seconds
}
