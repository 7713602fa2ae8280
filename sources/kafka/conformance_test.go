package kafka

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/sourcetest"
)

// The topic of the suite: three partitions of different lengths, one of them empty, with undecodable records,
// aborted and committed transactions, and compressed batches.
func conformanceTopic(t *testing.T, c *kafkatest.Cluster) (topic string, rows, bad int64) {
	topic = c.Topic(t, 3)
	fill(t, c, topic, 1, 700)
	cl := producer(t, c, kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	for i := range 400 {
		cl.Produce(t.Context(), event(topic, 1, i), nil)
		if i%50 == 0 {
			cl.Produce(t.Context(), &kgo.Record{Topic: topic, Partition: 1, Value: []byte(fmt.Sprintf(`{"id":"no number %d"}`, i))}, nil)
			bad++
		}
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	tx := producer(t, c, kgo.TransactionalID("tx-"+topic))
	rows = 1100
	for n, commit := range []bool{true, false, true, false, false} {
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			tx.Produce(t.Context(), event(topic, int32(i%2), 1000*(n+1)+i), nil)
		}
		if err := tx.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := tx.EndTransaction(t.Context(), kgo.TransactionEndTry(commit)); err != nil {
			t.Fatal(err)
		}
		if commit {
			rows += 20
		}
	}
	return topic, rows, bad
}

func TestConformance(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic, rows, bad := conformanceTopic(t, c)
		o := options(c, topic)
		o.Mode = "bounded"
		sourcetest.Run(t, sourcetest.Config{
			Open:    func(t testing.TB) microbatch.Source { return open(t, o) },
			Columns: columns, Rows: rows, Bad: bad, Partitioned: true, Bounded: true,
			Lost: map[string]func(testing.TB) sourcetest.Losable{"expired": func(t testing.TB) sourcetest.Losable {
				o := options(c, c.Topic(t, 1))
				o.Mode = "bounded"
				fill(t, c, o.Topic, 1, 20)
				return sourcetest.Losable{
					Open: func(t testing.TB) microbatch.Source { return open(t, o) },
					Lose: func(t testing.TB) { deleteBefore(t, c, o.Topic, 0, 20) },
				}
			}},
		})
	})
}
