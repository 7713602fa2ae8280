package kafka

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/microbatch"
)

// A transaction does not end before the client knows the partitions in it: else it aborts it, and says nothing.
func TestTransactionOfUnknownTopics(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := c.Topic(t, 1)
	p := &producer{cl: c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))}
	records := []kgo.Record{{Topic: topic}}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.awaitKnown(ctx, records); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a client that has never written to the topic knows it: %v", err)
	}
	kafkatest.Produce(t, p.cl, &records[0])
	if err := p.awaitKnown(t.Context(), records); err != nil {
		t.Error(err)
	}
}

// What an engine left open in one sink's commit is in the way of another sink with the same ledger topic, until the first
// one is fenced.
func TestFenceEndsWhatIsInAnothersWay(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		o := options(t, c, Layout{Mode: ModeAppend})
		dead, _ := open(t, o, appended)
		if err := dead.producer.cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		r, err := dead.record(dead.ledger)
		if err != nil {
			t.Fatal(err)
		}
		if err := dead.produce(t.Context(), []kgo.Record{*r}, nil); err != nil {
			t.Fatal(err)
		}
		other := o
		other.Name, other.Layout.Topic = o.Name+"-2", o.Layout.Topic+"-2"
		s := newSink(t, other)
		ctx, cancel := context.WithTimeout(t.Context(), 2*fetchWait)
		defer cancel()
		if _, err := s.Open(ctx, "p", []microbatch.Target{{Output: appended}}); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("nothing is in the way: %v", err)
		}
		if err := newSink(t, o).Fence(t.Context(), "p"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Open(t.Context(), "p", []microbatch.Target{{Output: appended}}); err != nil {
			t.Error(err)
		}
	})
}
