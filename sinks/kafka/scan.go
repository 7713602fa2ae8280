package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetchWait is how long a broker waits for more.
const fetchWait = 500 * time.Millisecond

// ErrGone marks (errors.Is) records that the topic no longer has.
var ErrGone = errors.New("the topic no longer has its first records")

// scan gives the committed records of a partition from an offset up to another, exclusive.
//
// Why requests of its own and not a consumer: a consumer says which records there are, but not that there are no
// more up to an offset, because transactions' markers and compacted records have offsets, too.
func (s *Sink) scan(ctx context.Context, t topic, partition int32, from, to int64, fn func(*kgo.Record) error) error {
	fail := func(err error) error {
		return s.o.Client.Explain(fmt.Errorf("read partition %d of topic %s at offset %d: %w", partition, t.name, from, err))
	}
	for from < to {
		if int(partition) >= len(t.leaders) {
			return fail(kerr.UnknownTopicOrPartition)
		}
		rp, err := s.fetch(ctx, t, partition, from)
		if err == nil {
			err = kerr.ErrorForCode(rp.ErrorCode)
		}
		switch {
		case ctx.Err() != nil:
			return fail(context.Cause(ctx))
		case errors.Is(err, kerr.OffsetOutOfRange):
			return fail(fmt.Errorf("%w: they begin at %d now", ErrGone, rp.LogStartOffset))
		case err != nil && kerr.IsRetriable(err) || err != nil && !errors.Is(err, kgo.ErrClientClosed) && !errors.As(err, new(*kerr.Error)):
			// The leader moved, or its broker restarts: the deadline decides how long that may take.
			if err := pause(ctx, fetchWait/5); err != nil {
				return fail(err)
			}
			if now, err := s.describe(ctx, t.name); err == nil {
				t = now
			}
			continue
		case err != nil:
			return fail(err)
		}
		stable := rp.LastStableOffset
		opts := kgo.ProcessFetchPartitionOpts{Offset: from, IsolationLevel: kgo.ReadCommitted(), Topic: t.name, Partition: partition}
		got, next := kgo.ProcessFetchPartition(opts, rp, kgo.DefaultDecompressor(), nil)
		if got.Err != nil {
			return fail(got.Err)
		}
		for _, r := range got.Records {
			if r.Offset >= to {
				return nil
			}
			if err := fn(r); err != nil {
				return err
			}
		}
		if next == from && stable >= to {
			return nil // the rest was compacted away
		}
		from = next
	}
	return nil
}

// fetch asks a partition's leader once.
func (s *Sink) fetch(ctx context.Context, t topic, partition int32, from int64) (*kmsg.FetchResponseTopicPartition, error) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.IsolationLevel = int32(fetchWait.Milliseconds()), 1, 16<<20, 1
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, from, 16<<20
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID, rt.Partitions = t.name, t.id, append(rt.Partitions, p)
	req.Topics = append(req.Topics, rt)
	resp, err := s.cl.Broker(int(t.leaders[partition])).RetriableRequest(ctx, req)
	if err != nil {
		return nil, err
	}
	got := resp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
		return nil, err
	}
	for i := range got.Topics {
		for j := range got.Topics[i].Partitions {
			return &got.Topics[i].Partitions[j], nil
		}
	}
	return nil, kerr.UnknownTopicOrPartition
}
