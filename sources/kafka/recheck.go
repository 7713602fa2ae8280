package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-sql/sluice/microbatch"
)

// recheck looks into partitions whose leader changed or that lack an offset. An error leaves them for next time.
func (f *fetcher) recheck(ctx context.Context) {
	var list []mark
	f.b.mu.Lock()
	for _, p := range f.b.parts {
		if p.recheck {
			list = append(list, mark{partition: p.number, next: p.fetched, epoch: p.epoch})
		}
	}
	f.b.mu.Unlock()
	if len(list) == 0 {
		return
	}
	has, err := f.c.bounds(ctx)
	var ends map[int32]int64
	if err == nil {
		ends, err = f.c.epochEnds(ctx, list)
	}
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	for _, m := range list {
		p := f.b.byNum[m.partition]
		if !p.recheck {
			continue // it was positioned anew
		}
		if p.fetched != m.next { // an answer was on its way: look again
			f.b.stale = true
			continue
		}
		if err != nil {
			p.trouble, f.b.stale = err.Error(), true
			continue
		}
		f.rechecked(p, m, has[m.partition], ends)
	}
	f.b.wake()
}

// rechecked draws the conclusions. The caller holds the buffer.
func (f *fetcher) rechecked(p *partition, m mark, has bounds, ends map[int32]int64) {
	end, known := ends[m.partition]
	p.recheck = false
	switch {
	case known && end < p.base.next:
		p.err = f.c.cutOff(m.partition, end, p.base.next)
	case known && end < m.next:
		p.reset(p.base) // what is buffered was cut off, and nobody has seen it
	case p.lost && m.next < has.start:
		p.err = f.c.expired(m.partition, m.next, has.start)
	case p.lost && m.next > has.end:
		p.err = f.c.beyond(m.partition, m.next, has.end)
	}
	p.lost = false
}

// epochEnds asks where the epochs of the marks end in the leaders' logs. Partitions whose leader does not know
// are not in the answer.
func (c *cluster) epochEnds(ctx context.Context, list []mark) (map[int32]int64, error) {
	var req kadm.OffsetForLeaderEpochRequest
	for _, m := range list {
		if m.epoch >= 0 {
			req.Add(c.opt.Topic, m.partition, m.epoch)
		}
	}
	if len(req) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	got, err := c.admin.OffsetForLeaderEpoch(ctx, req)
	if err != nil {
		return nil, c.failed("ask where the leaders' epochs end in", err)
	}
	out := map[int32]int64{}
	for number, e := range got[c.opt.Topic] {
		if e.Err != nil {
			return nil, c.failed("ask where the leaders' epochs end in", e.Err)
		}
		if e.LeaderEpoch >= 0 && e.EndOffset >= 0 {
			out[number] = e.EndOffset
		}
	}
	return out, nil
}

// verify checks positions against the log before anything is read from them.
func (c *cluster) verify(ctx context.Context, list []mark) error {
	has, err := c.bounds(ctx)
	if err != nil {
		return err
	}
	ends, err := c.epochEnds(ctx, list)
	if err != nil {
		return err
	}
	for _, m := range list {
		b, ok := has[m.partition]
		if !ok {
			return fmt.Errorf("source %s: topic %s has no partition %d any more: %w", c.opt.Name, c.opt.Topic, m.partition, microbatch.ErrRangeChanged)
		}
		end, known := ends[m.partition]
		switch {
		case m.next < b.start:
			return c.expired(m.partition, m.next, b.start)
		case m.next > b.end:
			return c.beyond(m.partition, m.next, b.end)
		case known && end < m.next:
			return c.cutOff(m.partition, end, m.next)
		}
	}
	return nil
}

// expired says that records went before they were read.
func (c *cluster) expired(partition int32, next, start int64) error {
	return fmt.Errorf("source %s: partition %d of topic %s begins at offset %d now, and offsets %d to %d, which are to be read, are gone: %w\n"+
		"Hint: they expired (retention.ms, retention.bytes) or were deleted; give the topic a longer retention. To go on without them, `sluice drop` the pipeline and run it again",
		c.opt.Name, partition, c.opt.Topic, start, next, start-1, microbatch.ErrRangeChanged)
}

// beyond says that records went that were read.
func (c *cluster) beyond(partition int32, next, end int64) error {
	return fmt.Errorf("source %s: partition %d of topic %s ends at offset %d, and was read to %d before: %w\n"+
		"Hint: the cluster lost records or was put back to an older state, or brokers names another one; find the lost ones, or `sluice drop` the pipeline and run it again",
		c.opt.Name, partition, c.opt.Topic, end, next, microbatch.ErrRangeChanged)
}

// cutOff says that a new leader replaced records that were read.
func (c *cluster) cutOff(partition int32, end, next int64) error {
	return fmt.Errorf("source %s: offsets %d to %d of partition %d of topic %s were read, and a new leader cut them off: %w\n"+
		"Hint: an unclean leader election lost them; set unclean.leader.election.enable = false. `sluice drop` the pipeline and run it again",
		c.opt.Name, end, next-1, partition, c.opt.Topic, microbatch.ErrRangeChanged)
}
