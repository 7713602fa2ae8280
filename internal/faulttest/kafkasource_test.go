package faulttest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/internal/pgtest"
)

// fromKafkaSQL goes from a topic to PostgreSQL and to another topic.
const fromKafkaSQL = `
SET max_batch_rows = 60;
SET trigger_interval = '10ms';
SET snapshot_log_bytes = '4KiB';
CREATE SOURCE event (id BIGINT, kind VARCHAR, part INTEGER METADATA FROM 'partition', position BIGINT METADATA FROM 'offset')
WITH (connector = 'kafka', brokers = '${KAFKA}', topic = 'events', group_id = 'watched');
CREATE MATERIALIZED VIEW counts AS SELECT kind, part, count(*) AS n, max(position) AS last FROM event GROUP BY kind, part;
CREATE VIEW sevenths AS SELECT id, kind FROM event WHERE id % 7 = 0;
CREATE SINK to_topic FROM sevenths WITH (connector = 'kafka', brokers = '${KAFKA}', topic = 'sevenths', key = 'kind', partitions = 2);
CREATE SINK to_table FROM counts WITH (connector = 'postgres');
`

// newFromKafka makes the pipeline over 600 events in three partitions, a third of them in transactions of which every
// other is aborted.
func newFromKafka(t testing.TB) (*pipeline, *kafkatest.Cluster) {
	t.Helper()
	c := kafkatest.Fake(t)
	c.CreateTopic(t, "events", 3)
	plain, tx := c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner())), c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID("writer"))
	event := func(i int) *kgo.Record {
		return &kgo.Record{Topic: "events", Partition: int32(i % 3), Value: fmt.Appendf(nil, `{"id": %d, "kind": "k%d"}`, i, i*i%23)}
	}
	for i := 0; i < 600; i += 60 {
		var outside, inside []*kgo.Record
		for j := range 60 {
			if j < 40 {
				outside = append(outside, event(i+j))
			} else {
				inside = append(inside, event(i+j))
			}
		}
		if i == 240 {
			outside = append(outside, &kgo.Record{Topic: "events", Value: []byte("no row")})
		}
		kafkatest.Produce(t, plain, outside...)
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		kafkatest.Produce(t, tx, inside...)
		if err := tx.EndTransaction(t.Context(), kgo.TransactionEndTry(i%120 == 0)); err != nil {
			t.Fatal(err)
		}
	}
	p := newPipeline(t, pgtest.URL(t), fromKafkaSQL, nil)
	p.env = []string{"KAFKA=" + strings.Join(c.Addrs, ",")}
	return p, c
}

// outcome is what both sinks hold. How far a partition is in the tables when is of no matter: only the end is.
func outcome(t *testing.T, p *pipeline, c *kafkatest.Cluster) map[string][]string {
	t.Helper()
	return map[string][]string{
		"table": pgtest.Rows(t, p.url, "SELECT * FROM counts ORDER BY kind, part"),
		"topic": recordsOf(t, c, "sevenths")["sevenths"],
		"dead":  pgtest.Rows(t, p.url, `SELECT partition, "offset", reason FROM sluice.dead_letter`),
	}
}

// TestKafkaToPostgresAndKafka: the engine dies at a point of every phase, on the way from a topic to PostgreSQL and to
// another topic; what is committed is proven, and a resume gets to exactly what an undisturbed run gives.
func TestKafkaToPostgresAndKafka(t *testing.T) {
	p, c := newFromKafka(t)
	p.mustRun(t)
	p.verify(t)
	p.replay(t)
	want := outcome(t, p, c)
	if len(want["topic"]) != 71 || len(want["dead"]) != 1 || !strings.HasPrefix(want["dead"][0], "events-0|") {
		t.Fatalf("the pipeline is not what this test wants: %d records, dead letters %v", len(want["topic"]), want["dead"])
	}
	for _, point := range []string{"batch.after_plan", "batch.execute.after_run", "batch.after_stage", "batch.after_prepare", "batch.commit.between_sinks", "batch.after_commit", "batch.after_done",
		"log.prepare.after_write", "log.prepare.after_sync", "sink.stage.after_commit", "sink.commit.before_commit", "sink.commit.after_commit", "kafkasink.commit.before_end", "kafkasink.commit.after_end"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			p, c := newFromKafka(t)
			names, r := p.faulty(t, point+"=exit:3")
			if len(names) == 0 {
				t.Fatalf("the point was not passed three times:\n%v", r)
			}
			p.checkDeath(t, point, "exit", r)
			p.verifyPrefix(t)
			// What comes after the kill must not get into the batch that is executed again.
			kafkatest.Produce(t, c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner())), &kgo.Record{Topic: "events", Partition: 2, Value: []byte(`{"id": 601, "kind": "late"}`)})
			p.faulty(t, point+"=exit") // the start that recovers dies as well, where it passes
			p.mustRun(t)
			p.verify(t)
			got := outcome(t, p, c)
			got["table"] = without(got["table"], "late|")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-undisturbed +got):\n%s", diff)
			}
		})
	}
}

// without leaves out the rows that begin with a prefix.
func without(rows []string, prefix string) (out []string) {
	for _, r := range rows {
		if !strings.HasPrefix(r, prefix) {
			out = append(out, r)
		}
	}
	return out
}
