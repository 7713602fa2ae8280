package main

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/internal/kafkatest"
)

// brokerOf starts a broker for the scripts that have kafka in their name. Those of pipelines from Kafka to PostgreSQL
// take a real one where there is one.
func brokerOf(t *testing.T, script string) *kafkatest.Cluster {
	switch {
	case !strings.Contains(script, "kafka"):
		return nil
	case strings.HasPrefix(script, "pg_kafka") && os.Getenv("SLUICE_KAFKA_LIB") != "":
		return kafkatest.Shared(t, 1)
	}
	return kafkatest.Fake(t)
}

// produce TOPIC PARTITIONS FILE makes a topic, if it is not there, and writes the lines of a file: a partition, a key or
// - for none, and a value or - for none.
func produce(c *kafkatest.Cluster, t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 3 {
			ts.Fatalf("usage: produce TOPIC PARTITIONS FILE")
		}
		topic := args[0]
		admin := c.Admin(t)
		if known, err := admin.ListTopics(t.Context()); err != nil {
			ts.Fatalf("%v", err)
		} else if !known.Has(topic) {
			n, err := strconv.Atoi(args[1])
			ts.Check(err)
			c.CreateTopic(t, topic, int32(n))
		}
		cl := c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
		for line := range strings.Lines(ts.ReadFile(args[2])) {
			fields := strings.SplitN(strings.TrimSpace(line), " ", 3)
			p, err := strconv.Atoi(fields[0])
			ts.Check(err)
			r := &kgo.Record{Topic: topic, Partition: int32(p)}
			if fields[1] != "-" {
				r.Key = []byte(fields[1])
			}
			if fields[2] != "-" {
				r.Value = []byte(fields[2])
			}
			kafkatest.Produce(t, cl, r)
		}
	}
}
