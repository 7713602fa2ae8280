package kafka

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sinks/sinktest"
)

func TestConformance(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		sinktest.Run(t, sinktest.Config{InMemory: true, New: func(t testing.TB) *sinktest.Target { return topicOf(t, c) }})
	})
}

// topicOf is a target of one partition. Why one: Kafka shows what a transaction wrote a partition at a time.
func topicOf(t testing.TB, c *kafkatest.Cluster) *sinktest.Target {
	net := kafkatest.NewNetwork()
	o := options(t, c, Layout{})
	o.Partitions, o.Client.Dial = 1, net.Dial
	topic := o.Layout.Topic
	admin := c.Admin(t)
	// What is committed at this moment, and no more.
	read := func(ctx context.Context, topic string) ([]*kgo.Record, error) {
		ends, err := admin.ListCommittedOffsets(ctx, topic)
		if err == nil {
			err = ends.Error()
		}
		if err != nil {
			return nil, err
		}
		return recordsTo(ctx, c, topic, ends)
	}
	target := &sinktest.Target{
		Sink: func(t testing.TB) microbatch.Sink {
			s, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		Rows: func(ctx context.Context) (out []string, err error) {
			records, err := read(ctx, topic)
			for _, r := range records {
				var row struct {
					ID int64
					S  *string
				}
				if err := json.Unmarshal(r.Value, &row); err != nil {
					return nil, err
				}
				out = append(out, sinktest.Row(row.ID, row.S))
			}
			return out, err
		},
		Settle: func(ctx context.Context) error { return decidedIn(ctx, admin, topic, o.DeadLetterTopic) },
		DeadLetters: func(ctx context.Context) (out []microbatch.DeadLetter, err error) {
			records, err := read(ctx, o.DeadLetterTopic)
			for _, r := range records {
				var l letter
				if err := json.Unmarshal(r.Value, &l); err != nil {
					return nil, err
				}
				out = append(out, microbatch.DeadLetter{Source: l.Source, Partition: l.Partition, Offset: l.Offset, Reason: l.Reason, Raw: l.Raw})
			}
			return out, err
		},
		Faults: map[string]func(int, func()) func(){},
		Slow:   func() func() { return net.Set(kafkatest.Slow) },
	}
	for _, mode := range []string{kafkatest.Cut, kafkatest.Unanswered, kafkatest.Stalled} {
		target.Faults[mode] = func(n int, hit func()) func() { return net.Break(mode, n, hit) }
	}
	return target
}

// decidedIn waits until no transaction is open in topics: brokers answer a commit before they write its markers.
func decidedIn(ctx context.Context, admin *kadm.Client, topics ...string) error {
	for {
		committed, err := admin.ListCommittedOffsets(ctx, topics...)
		if err != nil {
			return err
		}
		ends, err := admin.ListEndOffsets(ctx, topics...)
		if err != nil {
			return err
		}
		open := false
		ends.Each(func(end kadm.ListedOffset) {
			at, _ := committed.Lookup(end.Topic, end.Partition)
			open = open || at.Offset < end.Offset
		})
		if !open {
			return nil
		}
	}
}
