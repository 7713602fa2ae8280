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

// kafkaToPostgresSQL goes from a topic to PostgreSQL.
const kafkaToPostgresSQL = `
SET max_batch_rows = 12;
SET trigger_interval = '1ms';
SET snapshot_log_bytes = '4KiB';
SET log_segment_bytes = '6KiB';
SET keep_snapshots = 2;
CREATE SOURCE event (id BIGINT, kind VARCHAR, part INTEGER METADATA FROM 'partition', position BIGINT METADATA FROM 'offset')
WITH (connector = 'kafka', brokers = '${KAFKA}', topic = 'events', group_id = 'watched');
CREATE MATERIALIZED VIEW counts AS SELECT kind, part, count(*) AS n, max(position) AS last FROM event GROUP BY kind, part;
CREATE VIEW sevenths AS SELECT id, kind FROM event WHERE id % 7 = 0;
CREATE SINK to_table FROM counts WITH (connector = 'postgres');
CREATE SINK to_rows FROM sevenths WITH (connector = 'postgres', table = 'sevenths');
`

// fromKafkaSQL goes from a topic to PostgreSQL and to another topic.
var fromKafkaSQL = strings.Replace(kafkaToPostgresSQL, "CREATE SINK to_rows FROM sevenths WITH (connector = 'postgres', table = 'sevenths')",
	"CREATE SINK to_topic FROM sevenths WITH (connector = 'kafka', brokers = '${KAFKA}', topic = 'sevenths', key = 'kind', partitions = 2)", 1)

// A writer fills a topic of three partitions in blocks of 60 records, of which a third are in transactions; every other
// of those is aborted.
type writer struct {
	plain, tx *kgo.Client
	written   int
}

const writerBlocks = 14

// write adds blocks, as long as there are some.
func (w *writer) write(t testing.TB, blocks int) {
	t.Helper()
	event := func(i int) *kgo.Record {
		return &kgo.Record{Topic: "events", Partition: int32(i % 3), Value: fmt.Appendf(nil, `{"id": %d, "kind": "k%d"}`, i, i*i%23)}
	}
	for ; blocks > 0 && w.written < writerBlocks; blocks-- {
		var outside, inside []*kgo.Record
		for j := range 60 {
			if i := w.written*60 + j; j < 40 {
				outside = append(outside, event(i))
			} else {
				inside = append(inside, event(i))
			}
		}
		if w.written == 4 {
			outside = append(outside, &kgo.Record{Topic: "events", Value: []byte("no row")})
		}
		kafkatest.Produce(t, w.plain, outside...)
		if err := w.tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		kafkatest.Produce(t, w.tx, inside...)
		if err := w.tx.EndTransaction(t.Context(), kgo.TransactionEndTry(w.written%2 == 0)); err != nil {
			t.Fatal(err)
		}
		w.written++
	}
}

// newFromKafka makes a pipeline over a topic with a cluster of its own.
func newFromKafka(t testing.TB, sql string) (*pipeline, *kafkatest.Cluster, *writer) {
	t.Helper()
	c := kafkatest.Fake(t)
	c.CreateTopic(t, "events", 3)
	w := &writer{plain: c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner())), tx: c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID("writer"))}
	p := newPipeline(t, pgtest.URL(t), sql, nil)
	p.env = []string{"KAFKA=" + strings.Join(c.Addrs, ",")}
	return p, c, w
}

// outcome is what the sinks hold.
func outcome(t testing.TB, p *pipeline, c *kafkatest.Cluster) map[string][]string {
	t.Helper()
	out := map[string][]string{
		"table": pgtest.Rows(t, p.url, "SELECT * FROM counts ORDER BY kind, part"),
		"dead":  pgtest.Rows(t, p.url, `SELECT partition, "offset", reason FROM sluice.dead_letter`),
	}
	if p.has(t, "to_topic") {
		out["rows"] = recordsOf(t, c, "sevenths")["sevenths"]
	} else {
		out["rows"] = pgtest.Rows(t, p.url, "SELECT * FROM sevenths ORDER BY id")
	}
	return out
}

// has says whether the pipeline's file has some text.
func (p *pipeline) has(t testing.TB, text string) bool {
	t.Helper()
	return strings.Contains(p.read(t), text)
}

// fromKafka is the matrix over a pipeline from a topic. What comes after a death must not get into the batch that is
// executed again.
func fromKafka(t *testing.T, sql string) matrix {
	t.Helper()
	p, c, w := newFromKafka(t, sql)
	w.write(t, writerBlocks)
	p.mustRun(t)
	p.verify(t)
	p.replay(t)
	want := outcome(t, p, c)
	if len(want["rows"]) != 100 || len(want["dead"]) != 1 || !strings.HasPrefix(want["dead"][0], "events-0|") {
		t.Fatalf("the pipeline is not what this test wants: %d rows, dead letters %v", len(want["rows"]), want["dead"])
	}
	return matrix{fresh: func(t testing.TB) *subject {
		p, c, w := newFromKafka(t, sql)
		w.write(t, 4)
		return &subject{pipeline: p,
			feed: func(t testing.TB, l life) bool {
				w.write(t, 1)
				return w.written < writerBlocks
			},
			finish: func(t *testing.T) {
				w.write(t, writerBlocks)
				p.mustRun(t)
				p.verify(t)
				if diff := cmp.Diff(want, outcome(t, p, c)); diff != "" {
					t.Errorf("(-undisturbed +got):\n%s", diff)
				}
			}}
	}}
}

// TestKafkaToPostgresCrashMatrix: the engine dies at every point that it passes on the way from a topic to PostgreSQL; what
// is committed is proven, and a resume gets to exactly what an undisturbed run gives.
func TestKafkaToPostgresCrashMatrix(t *testing.T) {
	t.Parallel()
	m := fromKafka(t, kafkaToPostgresSQL)
	m.points = pointsOf(t, ofEngine, ofPostgres)
	m.run(t)
}

// TestKafkaToPostgresAndKafka is the same to PostgreSQL and another topic, at a point of every phase.
func TestKafkaToPostgresAndKafka(t *testing.T) {
	t.Parallel()
	m := fromKafka(t, fromKafkaSQL)
	m.hits = []int{3}
	m.points = []string{"batch.after_plan", "batch.execute.after_run", "batch.after_stage", "batch.after_prepare", "batch.commit.between_sinks", "batch.after_commit", "batch.after_done",
		"log.prepare.after_write", "log.prepare.after_sync", "sink.stage.after_commit", "sink.commit.before_commit", "sink.commit.after_commit", "kafkasink.commit.before_end", "kafkasink.commit.after_end"}
	m.run(t)
}
