package kafka

import (
	"context"
	"fmt"
)

// begin resolves the option startup: where a pipeline begins that has read nothing yet.
func (s *Source) begin(ctx context.Context, t *topic) (*position, error) {
	at, err := parseStartup(s.opt.Startup)
	if err != nil {
		return nil, err
	}
	has, err := s.cluster.bounds(ctx)
	if err != nil {
		return nil, err
	}
	var since map[int32]int64
	if !at.at.IsZero() {
		if since, err = s.cluster.listed(s.cluster.admin.ListOffsetsAfterMilli(ctx, ceilMilli(at), s.opt.Topic)); err != nil {
			return nil, err
		}
	}
	p := &position{topic: s.opt.Topic, id: t.id}
	for _, l := range t.leaders {
		b, ok := has[l.partition]
		if !ok {
			continue // made this instant: it will be discovered
		}
		m := mark{partition: l.partition, start: b.start, epoch: -1}
		switch {
		case at.latest:
			m.start = b.end
		case since != nil:
			m.start = min(max(since[l.partition], b.start), b.end)
		case at.offsets != nil:
			if m.start, err = s.startOffset(at, l.partition, b); err != nil {
				return nil, err
			}
		}
		m.next = m.start
		p.marks = append(p.marks, m)
	}
	for number := range at.offsets {
		if p.find(number) < 0 {
			return nil, fmt.Errorf("source %s: startup = '%s' names partition %d, and topic %s has %d partitions", s.opt.Name, s.opt.Startup, number, s.opt.Topic, len(p.marks))
		}
	}
	return p, nil
}

// ceilMilli is the first whole millisecond at or after the time: Kafka's clocks count those.
func ceilMilli(s startup) int64 {
	ms := s.at.UnixMilli()
	if s.at.Nanosecond()%1e6 != 0 {
		ms++
	}
	return ms
}

func (s *Source) startOffset(at startup, partition int32, b bounds) (int64, error) {
	o, named := at.offsets[partition]
	if !named {
		return b.start, nil
	}
	if o < b.start || o > b.end {
		return 0, fmt.Errorf("source %s: startup = '%s': partition %d of topic %s has offsets %d to %d\nHint: name one of these, or 'earliest'",
			s.opt.Name, s.opt.Startup, partition, s.opt.Topic, b.start, b.end)
	}
	return o, nil
}
