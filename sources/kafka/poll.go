package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/decode"
)

const (
	// maxBadRows bounds the undecodable records of one Poll: each keeps up to 64 KiB of itself.
	maxBadRows = 1000
	// awaitFor is how long a Poll waits for records that are known to be in the log and are on their way.
	awaitFor = time.Second
)

// Poll implements microbatch.Source.
func (s *Source) Poll(ctx context.Context, from json.RawMessage, lim microbatch.Limits) (*microbatch.Rows, error) {
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	if err := s.follow(ctx); err != nil {
		return nil, err
	}
	pos, err := s.position(ctx, from)
	if err != nil {
		return nil, err
	}
	if s.skipped != nil && string(s.skipped.from) == string(from) {
		pos.unknown = s.skipped.unknown
	}
	if err := s.seek(ctx, pos); err != nil {
		return nil, err
	}
	if err := s.await(ctx); err != nil {
		return nil, err
	}
	for {
		p := &poll{s: s, b: s.opt.Messages.Builder(), pos: pos.clone(), lim: lim}
		rows, err := p.run(ctx, from)
		if !errors.Is(err, errAgain) {
			return rows, err
		}
	}
}

// found lists the numbers of the partitions, in order.
func (s *Source) found() []int32 {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	numbers := make([]int32, len(s.b.parts))
	for i, p := range s.b.parts {
		numbers[i] = p.number
	}
	slices.Sort(numbers)
	return numbers
}

// seek positions the buffer. What is not where it was is checked against the log first, so that a range that
// cannot be read is told before anything is.
func (s *Source) seek(ctx context.Context, pos *position) error {
	var moved []mark
	s.b.mu.Lock()
	for _, m := range pos.marks {
		if p := s.b.find(m.partition); !p.positioned || !p.near(m) {
			moved = append(moved, m)
		}
	}
	s.b.mu.Unlock()
	if len(moved) > 0 {
		if _, err := s.patiently(ctx, func(ctx context.Context) (map[int32]bounds, error) { return nil, s.cluster.verify(ctx, moved) }); err != nil {
			return err
		}
	}
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	for _, m := range pos.marks {
		p := s.b.find(m.partition)
		if s.ends != nil {
			p.end = s.ends[m.partition]
		}
		p.seek(m)
	}
	if len(moved) > 0 {
		s.b.wake()
	}
	return nil
}

// await waits until there is something, or until it is known that there is nothing.
func (s *Source) await(ctx context.Context) error {
	t := time.NewTimer(awaitFor)
	defer t.Stop()
	for {
		ready, changed, err := s.ready()
		if ready || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-t.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ready says that Poll need not wait, and notes how the source is.
func (s *Source) ready() (ready bool, changed chan struct{}, err error) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	all := true
	for _, p := range s.b.parts {
		if p.err != nil && p.waiting() == 0 {
			return true, nil, p.err
		}
		ready = ready || p.waiting() > 0
		all = all && (p.current() || !p.positioned)
	}
	s.noteTroubles()
	return ready || all, s.b.changed, s.b.err
}

// noteTroubles makes what the buffer knows of troubles the source's state. The caller holds the buffer.
func (s *Source) noteTroubles() {
	if state := s.b.troubles(); state != "" || s.failing.IsZero() {
		s.setState(state)
	}
}

// A poll is one Poll on its way.
type poll struct {
	s   *Source
	b   *decode.Builder
	pos *position
	lim microbatch.Limits

	rows microbatch.Rows
}

// A portion is what a poll takes of one partition.
type portion struct {
	p       *partition
	ordinal int
	records []*kgo.Record
	seeks   int
	used    int // records decoded
}

// run takes and decodes records until there is a row, or nothing is left.
func (p *poll) run(ctx context.Context, from json.RawMessage) (*microbatch.Rows, error) {
	s := p.s
	p.b.MaxBad = maxBadRows
	for {
		portions := p.share()
		err := p.decode(ctx, portions)
		got := p.b.Rows() > 0 || len(p.rows.Bad) > 0
		used, settled := p.settle(portions, got)
		switch {
		case settled != nil:
			return nil, settled
		case err != nil && !got:
			if err := s.decodeFailed(ctx, err); err != nil {
				return nil, err
			}
		case err == nil && !s.failing.IsZero():
			s.failing = time.Time{}
			s.setState("")
		}
		if !got && used > 0 && err == nil {
			continue // records that say nothing: go on to the first that does
		}
		return p.finish(from, got), nil
	}
}

// share divides the limits over the partitions that have records, evenly, and what one leaves the others may take.
// Invariant: the portions are in the order of ordinals, and so are the rows, so that they depend on the range alone.
func (p *poll) share() []portion {
	b := p.s.b
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn++
	portions := make([]portion, len(p.pos.marks))
	var active []int
	for i := range portions {
		part := b.byNum[p.pos.marks[i].partition]
		portions[i] = portion{p: part, ordinal: i, seeks: part.seeks}
	}
	for i := range portions {
		// Why in turns: limits smaller than the number of partitions must not always serve the same ones.
		if j := (i + b.turn) % len(portions); portions[j].p.waiting() > 0 {
			active = append(active, j)
		}
	}
	counts := divide(active, p.lim, func(i, n int) (int64, bool) {
		q := portions[i].p
		if n >= q.waiting() {
			return 0, false
		}
		return recordBytes(q.queue[q.head+n]), true
	})
	for i, n := range counts {
		q := portions[i].p
		portions[i].records = slices.Clone(q.queue[q.head : q.head+n])
	}
	return portions
}

// divide gives each of the active ones records until the limits are used up; size is the bytes of the n-th record of one,
// if there is one.
func divide(active []int, lim microbatch.Limits, size func(i, n int) (int64, bool)) map[int]int {
	counts := map[int]int{}
	rows, bytes := lim.MaxRows, lim.MaxBytes
	for len(active) > 0 {
		n := int64(len(active))
		maxRows, maxBytes := max(1, rows/n), max(1, bytes/n)
		left := active[:0:0]
		for _, i := range active {
			var took, tookBytes int64
			for (lim.MaxRows == 0 || took < maxRows) && (lim.MaxBytes == 0 || tookBytes < maxBytes) {
				b, ok := size(i, counts[i])
				if !ok {
					break
				}
				counts[i]++
				took++
				tookBytes += max(1, b)
			}
			rows, bytes = rows-took, bytes-tookBytes
			if lim.MaxRows > 0 && rows <= 0 || lim.MaxBytes > 0 && bytes <= 0 {
				return counts
			}
			if _, ok := size(i, counts[i]); ok {
				left = append(left, i)
			}
		}
		active = left
	}
	return counts
}

// decode adds the portions' rows to the builder. An error says why it stopped before their end.
func (p *poll) decode(ctx context.Context, portions []portion) error {
	for i := range portions {
		q := &portions[i]
		if len(q.records) == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if p.lim.MaxRows > 0 {
			p.b.MaxRows = p.b.Rows() + int64(len(p.b.Bad)) + int64(len(q.records))
		}
		var err error
		if q.used, err = p.s.add(p.b, q.ordinal, q.records, &p.rows, p.pos, firstTime); err != nil {
			return err
		}
	}
	return nil
}

// settle takes what was decoded out of the buffer. Without a row the position stays.
func (p *poll) settle(portions []portion, got bool) (used int, err error) {
	b := p.s.b
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, q := range portions {
		if q.seeks != q.p.seeks {
			return 0, errAgain // what was taken was cut off meanwhile
		}
	}
	for _, q := range portions {
		used += q.used
		switch {
		case !got:
			q.p.skip(q.used)
		case q.used > 0 || q.p.waiting() == 0:
			p.rows.Bytes += q.p.skippedBytes
			p.pos.marks[q.ordinal] = q.p.taken(q.used)
		}
		// Else its position stays, and what was skipped is still ahead of it.
	}
	if !got {
		p.rows.Bytes = 0
	}
	if used > 0 {
		b.wake() // there is room again
	}
	return used, nil
}

// finish makes the result.
func (p *poll) finish(from json.RawMessage, got bool) *microbatch.Rows {
	r := &p.rows
	r.To, r.Chunks, r.Count = from, p.b.Finish(), p.b.Rows()
	if p.s.skipped = nil; !got {
		p.s.skipped = &skipped{from, p.pos.unknown}
	}
	if got || len(from) == 0 || string(from) == "null" {
		// Why also for nothing: where the first batch begins is resolved once, and is logged with it.
		r.To = p.pos.encode()
	}
	r.RemainingBytes = -1
	b := p.s.b
	b.mu.Lock()
	defer b.mu.Unlock()
	waiting, done := false, p.s.ends != nil
	for _, m := range p.pos.marks {
		q := b.byNum[m.partition]
		waiting = waiting || q.waiting() > 0 || !q.current() && q.trouble == ""
		done = done && q.done() && q.waiting() == 0
		end := q.high
		if q.end >= 0 {
			end = q.end
		}
		switch {
		case q.nothings >= manyNothings && q.waiting() == 0: // what is before the end is no record
		case end < 0 || r.RemainingRows < 0:
			r.RemainingRows = -1
		default:
			r.RemainingRows += max(0, end-m.next)
		}
	}
	if r.Done = done; done {
		r.RemainingRows = 0
	}
	r.More = waiting && !done && got
	// Why again: what came since ready looked ended a trouble, and the rows are not to be given with it.
	p.s.noteTroubles()
	return r
}
