package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/vfs"
)

// A point is a moment in a pipeline's life: right after the commit of a batch.
type point struct {
	batch      int64
	at         time.Time // of the commit; zero if unknown
	offsets    json.RawMessage
	watermarks map[string]int64
	// plan is that of the version that made the batch.
	plan string
}

// history lists the points that the log still knows, in order, up to now. The last is now, whatever the log says.
func history(dir string, now point) ([]point, error) {
	var out []point
	plans := map[int64]*checkpointlog.Planned{}
	for e, err := range checkpointlog.Read(dir, vfs.OS{}) {
		var torn *checkpointlog.TornTail
		if errors.As(err, &torn) {
			break // beside a running engine, the record that it writes just now
		}
		if err != nil {
			return nil, err
		}
		now.plan = e.Plan
		switch {
		case e.Planned != nil:
			plans[e.Planned.Batch] = e.Planned
		case e.Prepared != nil && e.Prepared.Batch < now.batch && plans[e.Prepared.Batch] != nil:
			p := point{batch: e.Prepared.Batch, watermarks: e.Prepared.Watermarks, plan: e.Plan}
			offsets := map[string]json.RawMessage{}
			for _, r := range plans[p.batch].Ranges {
				if !isNull(r.To) {
					offsets[r.Source] = r.To
				}
			}
			if p.offsets, err = json.Marshal(offsets); err != nil {
				return nil, err
			}
			out = append(out, p)
			delete(plans, p.batch)
		case e.Committed != nil:
			if n := len(out); n > 0 && out[n-1].batch == e.Committed.Batch {
				out[n-1].at = e.Committed.At
			}
		}
	}
	return append(out, now), nil
}

// until finds the point that --until names: a batch, or the last one that was committed by a time.
//
// The answer is the present file's in any case; changed says that another version made the batch.
func until(arg, dir string, now point) (at point, changed bool, err error) {
	if arg == "" {
		return now, false, nil
	}
	points, err := history(dir, now)
	if err == nil {
		at, err = pick(arg, points)
	}
	return at, err == nil && at.plan != points[len(points)-1].plan, err
}

func pick(arg string, points []point) (point, error) {
	first, last := points[0], points[len(points)-1]
	if n, err := strconv.ParseInt(arg, 10, 64); err == nil {
		for _, p := range points {
			if p.batch == n {
				return p, nil
			}
		}
		if n > last.batch {
			return point{}, fmt.Errorf("batch %d is not committed: the last one is %d", n, last.batch)
		}
		return point{}, notReachable(fmt.Sprintf("batch %d", n), first, last)
	}
	at, err := parseInstant(arg)
	if err != nil {
		return point{}, err
	}
	var found *point
	for i := range points {
		if p := &points[i]; !p.at.IsZero() && !p.at.After(at) {
			found = p
		}
	}
	switch {
	case found != nil:
		return *found, nil
	case first.batch == 1:
		return point{}, fmt.Errorf("nothing was committed yet at %s: batch 1 was at %s UTC", arg, exactInstant(first.at))
	}
	return point{}, notReachable(arg, first, last)
}

// notReachable says from where on the past can be had. Why that is so: offsets and watermarks of a batch stand
// in the log, and retention deletes what two snapshots make unnecessary.
func notReachable(what string, first, last point) error {
	from := fmt.Sprintf("batch %d", first.batch)
	if !first.at.IsZero() {
		from += fmt.Sprintf(" (%s UTC)", exactInstant(first.at))
	}
	return fmt.Errorf("%s cannot be had any more: the log reaches from %s to batch %d\nhint: SET keep_snapshots keeps more of the log", what, from, last.batch)
}

func exactInstant(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") }

func parseInstant(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.Parse(layout, s); err == nil {
			return at, nil
		}
	}
	return time.Time{}, usagef("sluice replay", "--until is %q, neither a batch nor a time: write it as 120, '2026-01-02 15:04:05' (UTC) or 2026-01-02T15:04:05+01:00", s)
}
