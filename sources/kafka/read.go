package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/decode"
)

// Read implements microbatch.Source: the same requests as Poll's, one partition after the other.
func (s *Source) Read(ctx context.Context, from, to json.RawMessage) (*microbatch.Rows, error) {
	if s.closed {
		return nil, fmt.Errorf("source %s: %w", s.opt.Name, microbatch.ErrSourceClosed)
	}
	begin, err := decodePosition(from)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.opt.Name, err)
	}
	end, err := decodePosition(to)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.opt.Name, err)
	}
	rows := &microbatch.Rows{To: to, RemainingBytes: -1, RemainingRows: -1}
	if end == nil {
		return rows, nil
	}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	if err := s.check(end, s.topic); err != nil {
		return nil, err
	}
	s.remember(end)
	r := &reader{s: s, b: s.opt.Messages.Builder(), rows: rows, end: end, leaders: s.leaders}
	if begin != nil && len(begin.marks) > len(end.marks) {
		return nil, fmt.Errorf("source %s: the range has %d partitions at its start and %d at its end: the offsets do not belong together", s.opt.Name, len(begin.marks), len(end.marks))
	}
	for ordinal, m := range end.marks {
		at := mark{partition: m.partition, start: m.start, next: m.start, epoch: -1}
		if begin != nil && ordinal < len(begin.marks) {
			at = begin.marks[ordinal]
		}
		if at.partition != m.partition || at.start != m.start || at.next > m.next {
			return nil, fmt.Errorf("source %s: the range's start and end do not belong together: partition %d from offset %d to partition %d, offset %d", s.opt.Name, at.partition, at.next, m.partition, m.next)
		}
		if err := r.partition(ctx, ordinal, at, m); err != nil {
			return nil, err
		}
	}
	rows.Chunks, rows.Count = r.b.Finish(), r.b.Rows()
	return rows, nil
}

var errBehind = errors.New("the broker does not give what it gave before")

// A reader is one Read on its way.
type reader struct {
	s       *Source
	b       *decode.Builder
	rows    *microbatch.Rows
	end     *position
	leaders map[int32]leader // the source's: as of the last error, or of its connection
	failing time.Time        // since when there has been no answer
}

// partition reads [at, to) of one.
func (r *reader) partition(ctx context.Context, ordinal int, at, to mark) error {
	want, got, last := to.records-at.records, int64(0), at.epoch
	r.failing = time.Time{}
	for next, nothings := at.next, 0; next < to.next; {
		if nothings >= manyNothings && got == want {
			break // compaction removed all that follows, or it was no record
		}
		a, err := r.ask(ctx, to.partition, next)
		if err != nil {
			return err
		}
		if a == nil {
			continue
		}
		switch {
		case a.nothing:
			// Why it may be asked again for long: records that are elsewhere may not come in time.
			if nothings++; nothings >= endNothings {
				return r.s.missing(to.partition, at.next, to.next, want, got)
			}
			continue
		case a.next <= next:
			// A new leader that does not know yet how far the log is replicated.
			if err := r.wait(ctx, errBehind); err != nil {
				return err
			}
			continue
		}
		nothings, r.failing = 0, time.Time{}
		records := before(a.records, to.next)
		if _, err := r.s.add(r.b, ordinal, records, r.rows, r.end, onceMore); err != nil {
			return fmt.Errorf("source %s: %w", r.s.opt.Name, err)
		}
		got += int64(len(records))
		if len(records) > 0 {
			last = records[len(records)-1].LeaderEpoch
		}
		next = a.next
	}
	switch {
	case got != want:
		return r.s.missing(to.partition, at.next, to.next, want, got)
	case to.next > at.next && last > to.epoch:
		return r.s.cluster.cutOff(to.partition, at.next, to.next)
	}
	return nil
}

// before leaves out records at or after an offset.
func before(records []*kgo.Record, end int64) []*kgo.Record {
	n := len(records)
	for n > 0 && records[n-1].Offset >= end {
		n--
	}
	return records[:n]
}

// ask asks a partition's leader, whoever it is by now; nil means that it is to be asked again.
func (r *reader) ask(ctx context.Context, partition int32, next int64) (*answer, error) {
	l, ok := r.leaders[partition]
	if !ok {
		if err := r.look(ctx); err != nil {
			return nil, err
		}
		if l, ok = r.leaders[partition]; !ok || l.broker < 0 {
			delete(r.leaders, partition)
			return nil, r.wait(ctx, kerr.LeaderNotAvailable)
		}
	}
	answers, err := r.s.cluster.fetch(ctx, l.broker, r.s.topic.id, []ask{{partition, next, l.epoch, fetchBytes}}, longPoll)
	if err == nil {
		err = answers[0].err
	}
	switch {
	case err == nil:
		return &answers[0], nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case lost(err):
		delete(r.leaders, partition)
		if err := r.s.cluster.verify(ctx, []mark{{partition: partition, next: next, epoch: -1}}); err != nil {
			return nil, err
		}
		return nil, r.wait(ctx, err)
	case denied(err) || !movedOn(err):
		return nil, r.s.cluster.failed("read", err)
	}
	delete(r.leaders, partition)
	return nil, r.wait(ctx, err)
}

// look asks who leads what.
func (r *reader) look(ctx context.Context) error {
	t, err := r.s.cluster.topic(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if denied(err) {
			return r.s.cluster.failed("look at", err)
		}
		return r.wait(ctx, err)
	}
	if t.id != r.s.topic.id && t.id != (topicID{}) && r.s.topic.id != (topicID{}) {
		return r.s.recreated()
	}
	for _, l := range t.leaders {
		r.leaders[l.partition] = l
	}
	return nil
}

// wait waits before the next attempt, or gives up: whoever reads again has nothing else to do, but must not hang.
func (r *reader) wait(ctx context.Context, err error) error {
	if r.failing.IsZero() {
		r.failing = time.Now()
	}
	if time.Since(r.failing) > r.s.opt.Patience {
		return r.s.cluster.failed("read", err)
	}
	return pause(ctx, 100*time.Millisecond)
}

// missing says that a range has not the records that it had.
func (s *Source) missing(partition int32, from, to, want, got int64) error {
	return fmt.Errorf("source %s: offsets %d to %d of partition %d of topic %s held %d records and hold %d now: %w\n"+
		"Hint: compaction removes records that were replaced (cleanup.policy, min.compaction.lag.ms): what was read before cannot be read again. "+
		"A pipeline that only goes forward needs none of them; `sluice drop` it and run it again to read the topic as it is now",
		s.opt.Name, from, to-1, partition, s.opt.Topic, want, got, microbatch.ErrRangeChanged)
}
