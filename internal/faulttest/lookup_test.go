package faulttest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/pgtest"
)

// lookupSQL joins events with a keyed table and with a query's rows, which are a multiset, in the pipeline's own
// database. Batches are so small that the tables' first versions take several.
const lookupSQL = `
SET max_batch_rows = 40;
SET trigger_interval = '20ms';
SET snapshot_log_bytes = '4KiB';
SET log_segment_bytes = '6KiB';
SET keep_snapshots = 2;

CREATE SOURCE event (id BIGINT, kind VARCHAR, amount BIGINT) WITH (connector = 'file', path = 'events.ndjson');

CREATE TABLE kinds (kind VARCHAR, name VARCHAR, factor BIGINT, PRIMARY KEY (kind) NOT ENFORCED)
WITH (connector = 'postgres_lookup', table = 'lookups.kinds', refresh = '100ms');

CREATE TABLE tags (tag VARCHAR, kind VARCHAR)
WITH (connector = 'postgres_lookup', query = 'SELECT tag, kind FROM lookups.tags', refresh = '150ms');

CREATE MATERIALIZED VIEW kinds_now AS SELECT * FROM kinds;
CREATE MATERIALIZED VIEW tags_now AS SELECT tag, kind, count(*) AS n FROM tags GROUP BY ALL;
CREATE MATERIALIZED VIEW named AS
SELECT k.name, count(*) AS n, sum(e.amount * k.factor) AS total FROM event e LEFT JOIN kinds k ON e.kind = k.kind GROUP BY k.name;
CREATE MATERIALIZED VIEW tagged AS SELECT e.id, g.tag FROM event e JOIN tags g ON e.kind = g.kind WHERE e.amount < 0;
`

// newLookup makes the pipeline, its tables and its first events.
func newLookup(t testing.TB) *pipeline {
	t.Helper()
	p := newPipeline(t, pgtest.URL(t), lookupSQL, map[string][]byte{"events.ndjson": nil})
	pgtest.Exec(t, p.url, "CREATE SCHEMA lookups", "CREATE TABLE lookups.kinds (kind text PRIMARY KEY, name text, factor int)",
		"CREATE TABLE lookups.tags (tag text, kind text)",
		"INSERT INTO lookups.kinds SELECT 'k' || i, 'name ' || i % 9, i FROM generate_series(1, 60) i",
		"INSERT INTO lookups.tags SELECT 'tag ' || i % 7, 'k' || i % 30 FROM generate_series(1, 50) i")
	p.addEvents(t, 200)
	return p
}

func (p *pipeline) addEvents(t testing.TB, n int) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(p.dir, "events.ndjson"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range n {
		fmt.Fprintf(f, `{"id": %d, "kind": "k%d", "amount": %d}`+"\n", i, rand.IntN(70), rand.IntN(100)-30)
	}
}

// changeTables inserts, updates, deletes, and moves keys, in several transactions.
func (p *pipeline) changeTables(t testing.TB) {
	t.Helper()
	pgtest.Exec(t, p.url,
		fmt.Sprintf("INSERT INTO lookups.kinds SELECT 'k' || i, 'new ' || i, i FROM generate_series(1, 70, %d) i ON CONFLICT DO NOTHING", 2+rand.IntN(5)),
		fmt.Sprintf("UPDATE lookups.kinds SET name = 'name ' || %d, factor = -factor WHERE factor %% 5 = %d", rand.IntN(9), rand.IntN(5)),
		fmt.Sprintf("DELETE FROM lookups.kinds WHERE factor %% 7 = %d", rand.IntN(7)),
		fmt.Sprintf("UPDATE lookups.kinds SET kind = kind || 'x' WHERE factor %% 11 = %d AND kind || 'x' NOT IN (SELECT kind FROM lookups.kinds)", rand.IntN(11)),
		fmt.Sprintf("DELETE FROM lookups.tags WHERE tag = 'tag %d'", rand.IntN(7)),
		fmt.Sprintf("INSERT INTO lookups.tags SELECT 'tag ' || i %% 7, 'k' || i FROM generate_series(1, %d) i", rand.IntN(40)))
}

// caughtUp says whether the views have the tables as they are now.
func (p *pipeline) caughtUp(t testing.TB) string {
	t.Helper()
	for now, want := range map[string]string{
		"SELECT kind, name, factor FROM kinds_now": "SELECT kind, name, factor FROM lookups.kinds",
		"SELECT tag, kind, n FROM tags_now":        "SELECT tag, kind, count(*) FROM lookups.tags GROUP BY tag, kind",
	} {
		got, want := pgtest.Rows(t, p.url, now), pgtest.Rows(t, p.url, want)
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			return diff
		}
	}
	return ""
}

// finishLookup runs to the end and wants the tables as they are now, proven and replayed.
func (p *pipeline) finishLookup(t testing.TB) {
	t.Helper()
	p.mustRun(t)
	p.verify(t)
	p.replay(t)
	if diff := p.caughtUp(t); diff != "" {
		t.Errorf("the views are not at the tables' last version (-table +view):\n%s", diff)
	}
}

// TestLookupCrashMatrix: the engine dies or fails at every point of the binary that it passes on the way with tables that
// changed since its last run; what it has committed is proven, and a resume gets to the tables as they are.
func TestLookupCrashMatrix(t *testing.T) {
	t.Parallel()
	const created = "ingest.segment.after_create" // which only a first run passes
	matrix{
		points: pointsOf(t, func(p string) bool { return p == created }, ofTables, ofEngine, ofPostgres),
		hits:   []int{1, 2},
		fails:  ofTables, // TestCrashMatrix has the others
		fresh: func(t testing.TB) *subject {
			p, ran := newLookup(t), false
			return &subject{pipeline: p,
				feed: func(t testing.TB, l life) bool {
					if !ran && l.point != created {
						p.mustRun(t)
					}
					if ran = true; l.point != created {
						p.changeTables(t)
						p.addEvents(t, 100)
					}
					if l.point == "ingest.open.after_copy" {
						p.tearIngested(t)
					}
					return l.point != created
				},
				finish: func(t *testing.T) {
					p.changeTables(t)
					p.finishLookup(t)
				}}
		},
	}.run(t)
}

// tearIngested leaves the ingest logs as a crash in the middle of a write does.
func (p *pipeline) tearIngested(t testing.TB) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(p.state, "pipelines", p.name, "tables", "*", "*.ing"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("ingest logs %q: %v", paths, err)
	}
	for _, path := range paths {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("half a record"); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLookupWhileRunning changes the tables beside a running engine that is killed now and then: at every look, what is
// committed is one prefix, and in the end the views have the tables as they are.
func TestLookupWhileRunning(t *testing.T) {
	t.Parallel()
	p := newLookup(t)
	p.mustRun(t)
	kills := 4
	if testing.Short() {
		kills = 1
	}
	for range kills {
		c := p.start(t, "", "run", p.file())
		for range 3 {
			p.changeTables(t)
			p.addEvents(t, 30)
			p.awaitTables(t, c)
			p.verify(t)
		}
		p.changeTables(t)
		if !c.livesFor(t, time.Duration(rand.IntN(200))*time.Millisecond) {
			t.Fatal(c.wait(t))
		}
		c.signal(t, syscall.SIGKILL)
		c.wait(t)
		p.verify(t)
	}
	p.finishLookup(t)
}

// awaitTables waits until the views have caught up with the tables.
func (p *pipeline) awaitTables(t testing.TB, c *process) {
	t.Helper()
	deadline := time.Now().Add(commandTimeout)
	for p.caughtUp(t) != "" {
		if !c.livesFor(t, 20*time.Millisecond) {
			t.Fatal(c.wait(t))
		}
		if time.Now().After(deadline) {
			t.Fatalf("the views do not catch up:\n%s", p.caughtUp(t))
		}
	}
}

// TestDamagedTableLog: damage to what an engine has read of a table is refused, with exit code and next step.
func TestDamagedTableLog(t *testing.T) {
	t.Parallel()
	p := newLookup(t)
	p.mustRun(t)
	path := filepath.Join(p.state, "pipelines", p.name, "tables", "t_kinds", fmt.Sprintf("%020d.ing", 0))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	p.run(t).mustFail(t, 4, "is damaged at byte", "hint: restore the directory")
	p.sluice(t, nil, "verify", p.name).mustFail(t, 4, "is damaged at byte")
}
