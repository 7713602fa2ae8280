package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/internal/registrytest"
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
// - for none, and a value or - for none. A value "avro SUBJECT JSON" is written by the subject's newest schema, behind its
// id, "hex DIGITS" as bytes.
func produce(c *kafkatest.Cluster, reg *registrytest.Server, t *testing.T) func(*testscript.TestScript, bool, []string) {
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
				r.Value, err = messageValue(reg, fields[2])
				ts.Check(err)
			}
			kafkatest.Produce(t, cl, r)
		}
	}
}

func messageValue(reg *registrytest.Server, text string) ([]byte, error) {
	if digits, ok := strings.CutPrefix(text, "hex "); ok {
		return hex.DecodeString(digits)
	}
	rest, ok := strings.CutPrefix(text, "avro ")
	if !ok {
		return []byte(text), nil
	}
	subject, object, _ := strings.Cut(rest, " ")
	latest, ok := reg.Latest(subject)
	if !ok {
		return nil, fmt.Errorf("subject %s has no schema", subject)
	}
	schema, err := avro.Parse(latest.Schema.Schema)
	if err != nil {
		return nil, err
	}
	var value any
	if err := schema.DecodeJSON([]byte(object), &value); err != nil {
		return nil, err
	}
	return schema.AppendEncode(binary.BigEndian.AppendUint32([]byte{0}, uint32(latest.ID)), value)
}

// register SUBJECT FILE makes an Avro schema the newest version of a subject, whatever becomes of requests.
func register(reg *registrytest.Server) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: register SUBJECT FILE")
		}
		reg.Register(args[0], "AVRO", ts.ReadFile(args[1]))
	}
}

// registry up|failing|cut|notfound says what becomes of requests to the schema registry from now on.
func registry(reg *registrytest.Server) func(*testscript.TestScript, bool, []string) {
	faults := map[string]registrytest.Fault{"up": registrytest.None, "failing": registrytest.Fail, "cut": registrytest.Cut, "notfound": registrytest.NotFound}
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: registry up|failing|cut|notfound")
		}
		fault, known := faults[args[0]]
		if !known {
			ts.Fatalf("usage: registry up|failing|cut|notfound")
		}
		reg.Break(fault)
	}
}
