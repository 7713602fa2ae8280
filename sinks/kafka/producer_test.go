package kafka

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/internal/kafkatest"
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
