package faulttest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-sql/sluice/internal/pgtest"
)

// eventCount rows make sixteen batches.
const eventCount = 2250

// eventsSQL has a view of every kind that the sink treats in its own way: keyed upserts, an ungrouped row,
// append-only rows, rows without a key, and every kind of state; and two directories beside the database. The small sizes make snapshots and log
// segments come and go.
const eventsSQL = `
SET max_batch_rows = 150;
SET snapshot_log_bytes = '4KiB';
SET log_segment_bytes = '6KiB';
SET keep_snapshots = 2;

CREATE SOURCE event (
  id BIGINT, t TIMESTAMP, kind VARCHAR, amount BIGINT, price DECIMAL(12,2),
  WATERMARK FOR t AS t - INTERVAL '5 seconds'
) WITH (connector = 'file', path = 'events.ndjson');

CREATE MATERIALIZED VIEW per_window AS
SELECT window_start, kind, count(*) AS n, sum(amount) AS amount, max(price) AS top
FROM tumble(event, t, INTERVAL '10 seconds') GROUP BY window_start, kind;

CREATE MATERIALIZED VIEW sizes AS
SELECT n, count(*) AS kinds, min(kind) AS example
FROM (SELECT kind, count(*) AS n FROM event GROUP BY kind) GROUP BY n;

CREATE MATERIALIZED VIEW total AS
SELECT count(*) AS n, count(DISTINCT id) AS ids, sum(amount) AS amount, sum(price) AS price, min(t) AS first_at, max(t) AS last_at FROM event;

CREATE MATERIALIZED VIEW sevenths AS
SELECT id, upper(kind) AS kind, price * 2 AS double_price FROM event WHERE amount % 7 = 0;

CREATE SINK sevenths FROM sevenths WITH (connector = 'postgres');
CREATE SINK files FROM sevenths WITH (connector = 'file', path = 'files', partition_by = 'kind');

CREATE MATERIALIZED VIEW sums AS
SELECT kind, sum(amount) AS amount FROM event GROUP BY kind;
CREATE SINK changes FROM sums WITH (connector = 'file', path = 'changes', format = 'csv', mode = 'changelog');

CREATE MATERIALIZED VIEW keyless AS
SELECT amount // 100 AS hundreds FROM (SELECT kind, sum(amount) AS amount FROM event GROUP BY kind);

CREATE MATERIALIZED VIEW spread AS
SELECT kind, count(DISTINCT amount % 50) AS residues, median(amount) AS median FROM event GROUP BY kind;
`

// events is the input: times that go forward with some disorder, a few rows that are too late, and a few
// lines that are no rows.
var events = sync.OnceValue(func() []byte {
	r := rand.New(rand.NewPCG(1, 2))
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var b bytes.Buffer
	for i := range eventCount {
		if i%401 == 400 {
			fmt.Fprintf(&b, "{\"id\": %d, \"t\": \n", i)
		}
		at := start.Add(time.Duration(i*40)*time.Millisecond + time.Duration(r.IntN(4000))*time.Millisecond)
		if i%307 == 306 {
			at = at.Add(-time.Hour)
		}
		fmt.Fprintf(&b, `{"id": %d, "t": %q, "kind": "k%d", "amount": %d, "price": %d.%02d}`+"\n",
			i, at.Format("2006-01-02 15:04:05.000"), r.IntN(40), r.IntN(1000)-200, r.IntN(500), r.IntN(100))
	}
	return b.Bytes()
})

// newEvents makes a pipeline over the events, in a database of its own on the shared server.
func newEvents(t testing.TB) *pipeline {
	t.Helper()
	return newPipeline(t, pgtest.URL(t), eventsSQL, map[string][]byte{"events.ndjson": events()})
}

// smallBatchesSQL cuts the events into so many batches that an engine can die in them often.
var smallBatchesSQL = strings.Replace(eventsSQL, "max_batch_rows = 150", "max_batch_rows = 40", 1)

// undisturbed is what the tables hold after a run without faults, by the pipeline's text.
var undisturbed struct {
	sync.Mutex
	contents map[string]map[string][]string
}

func reference(t testing.TB) map[string][]string { return referenceOf(t, eventsSQL) }

func referenceOf(t testing.TB, sql string) map[string][]string {
	t.Helper()
	undisturbed.Lock()
	defer undisturbed.Unlock()
	if undisturbed.contents[sql] == nil {
		p := newPipeline(t, pgtest.URL(t), sql, map[string][]byte{"events.ndjson": events()})
		p.mustRun(t)
		p.verify(t)
		p.replay(t)
		if undisturbed.contents == nil {
			undisturbed.contents = map[string]map[string][]string{}
		}
		undisturbed.contents[sql] = p.contents(t)
	}
	return undisturbed.contents[sql]
}

// finish resumes a pipeline over the events to the end and checks all there is to check.
func (p *pipeline) finish(t testing.TB) {
	t.Helper()
	p.mustRun(t)
	p.verify(t)
	p.mustEqual(t, reference(t))
}

func TestUndisturbed(t *testing.T) {
	want := reference(t)
	total := strings.Split(strings.Trim(want["public.total"][0], "()"), ",")
	dead := len(want["dead_letter"])
	if bad, late := eventCount/401, eventCount/307; dead != bad+late || total[0] != fmt.Sprint(eventCount-late) {
		t.Errorf("%s rows counted and %d dead letters of %d rows, %d bad lines and %d late rows", total[0], dead, eventCount, bad, late)
	}
	if n := len(want["batches"]); n < 15 {
		t.Errorf("%d batches, too few for the faults to spread over", n)
	}
}
