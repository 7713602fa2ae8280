package ingestlog

import (
	"errors"
	"fmt"
	"slices"
)

// Segments returns the position of the first row of every segment, in order: what Release may delete, piece by
// piece.
func (l *Log) Segments() []Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Position
	for _, s := range l.segments {
		out = append(out, s.first)
	}
	return out
}

// BytesAfter estimates how many bytes of the log come after a position, headers included: 0 at its end. It is off as
// far as rows differ in length: within 64 KiB, or within a segment that was sealed before the log was opened.
func (l *Log) BytesAfter(at Position) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at >= l.end {
		return 0, nil
	}
	var bytes int64
	for i := len(l.segments) - 1; i >= 0; i-- {
		s := &l.segments[i]
		size, end := l.active.size, l.end
		if i < len(l.segments)-1 {
			if err := l.measure(s); err != nil {
				return 0, err
			}
			size, end = s.size, l.segments[i+1].first
		}
		if s.first > at {
			bytes += size
			continue
		}
		return bytes + size - s.offset(at, end, size), nil
	}
	return bytes, nil
}

// offset estimates where a position of the segment is, which ends at end and size.
func (s *segment) offset(at, end Position, size int64) int64 {
	before, after := point{s.first, headerBytes}, point{end, size}
	n, found := slices.BinarySearchFunc(s.points, at, func(p point, at Position) int { return int(p.at - at) })
	if found {
		return s.points[n].off
	}
	if n > 0 {
		before = s.points[n-1]
	}
	if n < len(s.points) {
		after = s.points[n]
	}
	return before.off + int64(float64(after.off-before.off)*float64(at-before.at)/float64(after.at-before.at))
}

// measure finds out a sealed segment's size. mu is held.
func (l *Log) measure(s *segment) error {
	if s.size > 0 {
		return nil
	}
	f, err := l.fs.Open(segmentPath(l.dir, s.first))
	if err != nil {
		return fmt.Errorf("measure ingest log %s: %w", l.dir, err)
	}
	s.size, err = f.Size()
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("measure ingest log %s: %w", l.dir, err)
	}
	return nil
}

// Failed is why the log takes nothing more, nil if it does.
func (l *Log) Failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}
