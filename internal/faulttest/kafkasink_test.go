package faulttest

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/internal/kafkatest"
)

// ofKafkaSinks says that only a sink in Kafka passes a point; TestKafkaToKafkaCrashMatrix reaches it.
func ofKafkaSinks(point string) bool { return strings.HasPrefix(point, "kafkasink.") }

// kafkaSQL goes from Kafka to Kafka, with a sink of every mode, and batches small enough for seventy of them.
// Why such a timeout: a start that waits for what the engine before it left open in Kafka would be seen.
const kafkaSQL = `
SET max_batch_rows = 8;
SET trigger_interval = '1ms';
SET snapshot_log_bytes = '4KiB';
SET log_segment_bytes = '6KiB';
SET keep_snapshots = 2;
CREATE SOURCE event (id BIGINT, kind VARCHAR, amount BIGINT) WITH (connector = 'kafka', brokers = '${KAFKA}', topic = 'events');
CREATE VIEW sevenths AS SELECT id, kind FROM event WHERE amount % 7 = 0;
CREATE MATERIALIZED VIEW sums AS SELECT kind, sum(amount) AS amount FROM event GROUP BY kind HAVING sum(amount) > 0;
CREATE MATERIALIZED VIEW counts AS SELECT kind, count(*) AS n FROM event GROUP BY kind;
CREATE SINK a FROM sevenths WITH (connector = 'kafka', brokers = '${KAFKA}', transaction_timeout = '10m', topic = 'sevenths', key = 'kind', partitions = 3);
CREATE SINK b FROM sums WITH (connector = 'kafka', brokers = '${KAFKA}', transaction_timeout = '10m', mode = 'upsert', partitions = 2);
CREATE SINK c FROM counts WITH (connector = 'kafka', brokers = '${KAFKA}', transaction_timeout = '10m', mode = 'debezium');
`

var kafkaTopics = []string{"sevenths", "sums", "counts", "sluice.dead_letter"}

// newKafka makes the pipeline over 600 events, with a cluster of its own.
func newKafka(t testing.TB) (*pipeline, *kafkatest.Cluster) {
	t.Helper()
	c := kafkatest.Fake(t)
	c.CreateTopic(t, "events", 3)
	cl := c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	var events []*kgo.Record
	for i := range 600 {
		value := fmt.Sprintf(`{"id": %d, "kind": "k%d", "amount": %d}`, i, i*i%23, i*37%101-40)
		if i == 250 {
			value = "no row"
		}
		events = append(events, &kgo.Record{Topic: "events", Partition: int32(i % 3), Value: []byte(value)})
	}
	kafkatest.Produce(t, cl, events...)
	p := newPipeline(t, "", kafkaSQL, nil)
	p.env = []string{"KAFKA=" + strings.Join(c.Addrs, ",")}
	return p, c
}

// records are what a consumer makes of the topics that reads only what is committed, to their ends: every row, the last
// row of each key, the row after the last event. How the input was cut into batches does not show in them.
func records(t testing.TB, c *kafkatest.Cluster) map[string][]string {
	t.Helper()
	return recordsOf(t, c, kafkaTopics...)
}

// recordsOf are those of some topics, in order of their text.
func recordsOf(t testing.TB, c *kafkatest.Cluster, topics ...string) map[string][]string {
	t.Helper()
	ends, err := c.Admin(t).ListEndOffsets(t.Context(), topics...)
	if err != nil {
		t.Fatal(err)
	}
	type place struct {
		topic     string
		partition int32
	}
	from, left := map[string]map[int32]kgo.Offset{}, map[place]int64{}
	for topic, partitions := range ends {
		from[topic] = map[int32]kgo.Offset{}
		for p, o := range partitions {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
			from[topic][p] = kgo.NewOffset().AtStart()
			if o.Offset > 0 {
				left[place{topic, p}] = o.Offset
			}
		}
	}
	byTopic := map[string][]*kgo.Record{}
	cl := c.Client(t, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumePartitions(from), kgo.KeepControlRecords())
	for len(left) > 0 {
		f := cl.PollFetches(t.Context())
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				byTopic[r.Topic] = append(byTopic[r.Topic], r)
			}
			if at := (place{r.Topic, r.Partition}); r.Offset+1 >= left[at] {
				delete(left, at)
			}
		})
	}
	out := map[string][]string{}
	for topic, list := range byTopic {
		out[topic] = fold(t, topic, list)
		slices.Sort(out[topic])
	}
	return out
}

var inBatch = regexp.MustCompile(`"batch":\d+`)

// fold follows a topic's records. Change events must continue each other: one that was lost or repeated would not.
func fold(t testing.TB, topic string, list []*kgo.Record) (out []string) {
	last := map[string]string{}
	for _, r := range list {
		key, value := string(r.Key), inBatch.ReplaceAllString(string(r.Value), "")
		switch topic {
		case "sums":
			last[key] = value
		case "counts":
			if r.Value == nil {
				continue
			}
			var e struct{ Before, After json.RawMessage }
			if err := json.Unmarshal(r.Value, &e); err != nil {
				t.Fatal(err)
			}
			was, found := last[key]
			if !found {
				was = "null"
			}
			if string(e.Before) != was {
				t.Errorf("an event of key %s changes %s, and the one before it left %s", key, e.Before, was)
			}
			last[key] = string(e.After)
		default:
			out = append(out, fmt.Sprintf("%q %q", key, value))
		}
	}
	for key, value := range last {
		out = append(out, fmt.Sprintf("%q %q", key, value))
	}
	return out
}

// kafkaReference runs without faults, and checks that replay agrees.
func kafkaReference(t *testing.T) map[string][]string {
	t.Helper()
	p, c := newKafka(t)
	p.mustRun(t)
	p.verify(t)
	p.replay(t)
	want := records(t, c)
	if len(want["sluice.dead_letter"]) != 1 || len(want["sevenths"]) == 0 || len(want["sums"]) < 10 {
		t.Fatalf("the pipeline is not what this test wants: %d records", len(want["sums"]))
	}
	return want
}

// TestKafkaToKafkaCrashMatrix: wherever the engine dies or fails on the way from topic to topic, a resume gets to exactly what
// an undisturbed run writes, each change once.
func TestKafkaToKafkaCrashMatrix(t *testing.T) {
	t.Parallel()
	want := kafkaReference(t)
	matrix{
		points: pointsOf(t, ofKafkaSinks, ofEngine),
		fails:  ofKafkaSinks,
		fresh: func(t testing.TB) *subject {
			p, c := newKafka(t)
			return &subject{pipeline: p,
				live: func(t testing.TB, l life) ([]string, result) {
					if atEnd(l.point) != "" { // with another number of batches, or each ends where a segment does
						return p.faultyWith(t, l.String(), "--max-batch-rows", "90")
					}
					return p.faulty(t, l.String())
				},
				prove: func(t *testing.T, _ life) { p.verifyIfBegun(t) },
				finish: func(t *testing.T) {
					p.mustRun(t)
					p.verify(t)
					if diff := cmp.Diff(want, records(t, c)); diff != "" {
						t.Errorf("records differ from those of an undisturbed run (-want +got):\n%s", diff)
					}
				}}
		},
	}.run(t)
}

// TestOlderKafkaEngineIsFenced: an engine is paused in its commit, with records in an open transaction; another one
// with a copy of its log takes over. The paused one, going on, ends without having changed anything.
func TestOlderKafkaEngineIsFenced(t *testing.T) {
	want := kafkaReference(t)
	for _, point := range []string{"kafkasink.stage.after_encode", "kafkasink.commit.before_produce", "kafkasink.commit.before_end"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			p, c := newKafka(t)
			old := p.start(t, point+"=sleep(5s):5", "run", p.file(), "--until-end")
			old.waitFired(t)
			old.signal(t, syscall.SIGSTOP)
			successor := *p
			successor.state = t.TempDir()
			if err := os.CopyFS(successor.state, os.DirFS(p.state)); err != nil {
				t.Fatal(err)
			}
			successor.mustRun(t)
			old.signal(t, syscall.SIGCONT)
			old.wait(t).mustFail(t, 5, "fenced by a newer engine")
			successor.verify(t)
			if diff := cmp.Diff(want, records(t, c)); diff != "" {
				t.Errorf("records differ from those of an undisturbed run (-want +got):\n%s", diff)
			}
		})
	}
}
