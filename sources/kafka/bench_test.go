package kafka

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/decode"
)

// BenchmarkPoll reads JSON records of a real broker, in batches. Run it with SLUICE_KAFKA_LIB=$(scripts/kafka.sh fetch).
func BenchmarkPoll(b *testing.B) {
	c := kafkatest.Shared(b, 1)
	const records = 1_000_000
	topic := c.Topic(b, 4)
	cl := c.Client(b, kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.ProducerBatchCompression(kgo.Lz4Compression()), kgo.MaxBufferedRecords(100_000))
	for range records {
		cl.Produce(b.Context(), &kgo.Record{Topic: topic, Value: []byte(`{"auction":1007,"bidder":2003,"price":98765,"channel":"channel-7","date_time":1700000000000}`)}, nil)
	}
	if err := cl.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	o := options(c, topic)
	o.Mode = "bounded"
	o.Messages = decode.MessageOptions{Format: "json", Fields: []vector.Field{{Name: "auction", Type: vector.Of(vector.Int64)}, {Name: "bidder", Type: vector.Of(vector.Int64)},
		{Name: "price", Type: vector.Of(vector.Int64)}, {Name: "channel", Type: vector.Of(vector.Varchar)}, {Name: "date_time", Type: vector.Of(vector.Int64)}}}
	b.ReportAllocs()
	b.ResetTimer()
	var rows int64
	for b.Loop() {
		s := open(b, o)
		r := &microbatch.Rows{}
		for !r.Done {
			var err error
			if r, err = s.Poll(b.Context(), r.To, microbatch.Limits{MaxRows: 100_000, MaxBytes: 64 << 20}); err != nil {
				b.Fatal(err)
			}
			rows += r.Count
		}
		_ = s.Close()
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}
