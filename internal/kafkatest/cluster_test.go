package kafkatest

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestMain(m *testing.M) { Main(m) }

// Both brokers keep what is written.
func TestBrokers(t *testing.T) {
	Each(t, func(t *testing.T, c *Cluster) {
		topic := c.Topic(t, 1)
		Produce(t, c.Client(t), &kgo.Record{Topic: topic, Value: []byte("hello")})
		fetches := c.Client(t, kgo.ConsumeTopics(topic)).PollRecords(t.Context(), 1)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		if got := fetches.Records(); len(got) != 1 || string(got[0].Value) != "hello" {
			t.Fatalf("read %d records", len(got))
		}
	})
}
