package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/internal/kafkaclient"
	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/decode"
	"github.com/sluice-sql/sluice/sources/sourcetest"
)

func TestMain(m *testing.M) { kafkatest.Main(m) }

var columns = []vector.Field{
	{Name: "id", Type: vector.Of(vector.Int64)},
	{Name: "name", Type: vector.Of(vector.Varchar)},
	{Name: "at", Type: vector.Of(vector.Int64)},
	{Name: "part", Type: vector.Of(vector.Int32)},
	{Name: "key", Type: vector.Of(vector.Varchar)},
}

// options read a topic of the columns, two of which are METADATA.
func options(c *kafkatest.Cluster, topic string) Options {
	return Options{Name: "events", Client: kafkaclient.Options{Brokers: c.Addrs}, Topic: topic,
		Messages: decode.MessageOptions{Format: "json", Fields: columns, Metadata: []string{"", "", "offset", "partition", "key"}, MaxBytes: 1 << 20}}
}

func open(t testing.TB, o Options) *Source {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// producer returns a client whose records say their partitions.
func producer(t testing.TB, c *kafkatest.Cluster, opts ...kgo.Opt) *kgo.Client {
	return c.Client(t, append([]kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
}

// event is the id-th record of a partition.
func event(topic string, partition int32, id int) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: partition, Key: []byte(fmt.Sprintf("k%d", id)), Value: []byte(fmt.Sprintf(`{"id":%d,"name":"event %d of partition %d"}`, id, id, partition))}
}

// fill writes n events to each of the partitions.
func fill(t testing.TB, c *kafkatest.Cluster, topic string, partitions int32, n int) {
	t.Helper()
	cl := producer(t, c)
	for i := range n {
		for p := range partitions {
			cl.Produce(t.Context(), event(topic, p, i), func(_ *kgo.Record, err error) {
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// pollAll polls until n rows came, and returns them with the offsets after them.
func pollAll(t testing.TB, s *Source, from json.RawMessage, n int) (rows []string, to json.RawMessage) {
	t.Helper()
	for to = from; len(rows) < n; {
		r, err := s.Poll(t.Context(), to, microbatch.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		rows, to = append(rows, sourcetest.RenderAll(r.Chunks)...), r.To
	}
	return rows, to
}

// drain polls a bounded source to its end.
func drain(t testing.TB, s *Source, from json.RawMessage) (rows []string, to json.RawMessage) {
	t.Helper()
	for to = from; ; {
		r, err := s.Poll(t.Context(), to, microbatch.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		rows, to = append(rows, sourcetest.RenderAll(r.Chunks)...), r.To
		if r.Done {
			return rows, to
		}
	}
}

// failure polls until there is an error.
func failure(t testing.TB, s *Source, from json.RawMessage) error {
	t.Helper()
	for range 10_000_000 {
		r, err := s.Poll(t.Context(), from, microbatch.Limits{})
		if err != nil {
			return err
		}
		from = r.To
	}
	t.Fatal("every Poll went well")
	return nil
}

func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v\nwant %q in it", err, part)
		}
	}
}

func read(t testing.TB, s *Source, from, to json.RawMessage) []string {
	t.Helper()
	r, err := s.Read(context.Background(), from, to)
	if err != nil {
		t.Fatal(err)
	}
	return sourcetest.RenderAll(r.Chunks)
}
