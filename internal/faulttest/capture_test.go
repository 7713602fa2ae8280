package faulttest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/internal/pgtest"
)

// captureSQL maintains views of tables in the tables' own database. Money moves between the tables, so that no view
// may ever show a part of a transaction.
const captureSQL = `
SET max_batch_rows = 40;
SET trigger_interval = '20ms';
SET snapshot_log_bytes = '4KiB';
SET log_segment_bytes = '6KiB';
SET keep_snapshots = 2;

CREATE SOURCE account (id BIGINT, owner VARCHAR, amount BIGINT, note VARCHAR, PRIMARY KEY (id) NOT ENFORCED)
WITH (connector = 'postgres_cdc', table = 'bank.account');
CREATE SOURCE loose (owner VARCHAR, amount BIGINT) WITH (connector = 'postgres_cdc', table = 'bank.loose');

CREATE MATERIALIZED VIEW account_now AS SELECT id, owner, amount, md5(note) AS note FROM account;
CREATE MATERIALIZED VIEW loose_now AS SELECT owner, amount, count(*) AS n FROM loose GROUP BY ALL;
CREATE MATERIALIZED VIEW wealth AS SELECT owner, sum(amount) AS amount FROM
  (SELECT owner, amount FROM account UNION ALL SELECT owner, amount FROM loose) GROUP BY owner;
`

// money is what all accounts and all that is loose have together, whatever moves.
const money = 80*100 + 40*10

func newCapture(t testing.TB, url string) *pipeline {
	t.Helper()
	p := newPipeline(t, url, captureSQL, nil)
	pgtest.Exec(t, p.url, "CREATE SCHEMA bank", "CREATE TABLE bank.account (id int PRIMARY KEY, owner text, amount bigint NOT NULL, note text)",
		"ALTER TABLE bank.account ALTER note SET STORAGE EXTERNAL", "CREATE TABLE bank.loose (owner text, amount bigint NOT NULL)", "ALTER TABLE bank.loose REPLICA IDENTITY FULL",
		"INSERT INTO bank.account SELECT i, 'owner ' || i % 9, 100, CASE WHEN i % 3 = 0 THEN repeat(md5(i::text), 200) END FROM generate_series(1, 80) i",
		"INSERT INTO bank.loose SELECT 'owner ' || i % 9, 10 FROM generate_series(1, 40) i")
	return p
}

// changeBank moves money in several transactions, one of them rolled back; which depends on the round.
func changeBank(t testing.TB, url string, round int) {
	t.Helper()
	i := rand.New(rand.NewPCG(uint64(round), 0)).IntN
	pgtest.Exec(t, url,
		fmt.Sprintf("BEGIN; UPDATE bank.account SET amount = amount - 5 WHERE id %% 7 = %d; INSERT INTO bank.loose SELECT owner, 5 FROM bank.account WHERE id %% 7 = %[1]d; COMMIT", i(7)),
		fmt.Sprintf("BEGIN; SAVEPOINT s; UPDATE bank.account SET amount = 0; ROLLBACK TO s; UPDATE bank.account SET id = id + 100 WHERE id %% 11 = %d AND id + 100 NOT IN (SELECT id FROM bank.account); COMMIT", i(11)),
		fmt.Sprintf("WITH d AS (DELETE FROM bank.account WHERE id %% 13 = %d RETURNING *) INSERT INTO bank.loose SELECT owner, amount FROM d", i(13)),
		"BEGIN; DELETE FROM bank.loose; ROLLBACK",
		fmt.Sprintf("WITH d AS (DELETE FROM bank.loose WHERE owner = 'owner %d' RETURNING *) INSERT INTO bank.account SELECT (SELECT coalesce(max(id), 0) + 1 FROM bank.account), 'owner x', coalesce(sum(amount), 0), repeat('long ', 800) FROM d", i(9)))
	if i(3) == 0 {
		pgtest.Exec(t, url, "BEGIN; INSERT INTO bank.account SELECT (SELECT coalesce(max(id), 0) + 1 FROM bank.account), 'all', coalesce(sum(amount), 0) FROM bank.loose; TRUNCATE bank.loose; COMMIT")
	}
}

// atTables says whether the views have the tables as they are now.
func atTables(t testing.TB, url string) string {
	t.Helper()
	for now, want := range map[string]string{
		"SELECT id, owner, amount, note FROM account_now": "SELECT id, owner, amount, md5(note) FROM bank.account",
		"SELECT owner, amount, n FROM loose_now":          "SELECT owner, amount, count(*) FROM bank.loose GROUP BY 1, 2",
		"SELECT owner, amount FROM wealth":                "SELECT owner, sum(amount) FROM (SELECT owner, amount FROM bank.account UNION ALL SELECT owner, amount FROM bank.loose) a GROUP BY owner",
	} {
		got, want := pgtest.Rows(t, url, now), pgtest.Rows(t, url, want)
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			return diff
		}
	}
	return ""
}

// finishCapture runs to the end and wants what the tables are now, proven, replayed and rebuilt by nothing else.
func (p *pipeline) finishCapture(t testing.TB) {
	t.Helper()
	p.mustRun(t)
	if diff := atTables(t, p.url); diff != "" {
		t.Errorf("the views are not what the tables are (-table +view):\n%s", diff)
	}
	p.verify(t)
	p.replay(t)
	if got := pgtest.Rows(t, p.url, "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()"); got[0] != "1" {
		t.Errorf("the database has %s replication slots", got[0])
	}
}

// TestCaptureCrashMatrix: from PostgreSQL to PostgreSQL. The engine dies or fails wherever it can while it copies tables,
// receives changes and commits them; a resume gets to what the tables are, and what an undisturbed run makes of them.
func TestCaptureCrashMatrix(t *testing.T) {
	t.Parallel()
	want := undisturbedCapture(t)
	is := func(prefix string) func(string) bool {
		return func(point string) bool { return strings.HasPrefix(point, prefix) }
	}
	matrix{
		// In the order in which a first start passes them.
		points: pointsOf(t, is("ingest.segment."), is("cdc.begin."), is("cdc.drop."), is("cdc.snapshot.after_table"), ofCaptures, ofTables, ofEngine, ofPostgres),
		fails:  ofCaptures,
		fresh:  func(t testing.TB) *subject { return newCaptureSubject(t, want) },
	}.run(t)
}

// ofCaptures says that only pipelines that capture tables pass a point.
func ofCaptures(point string) bool { return strings.HasPrefix(point, "cdc.") }

// captureRounds is how often the tables change for a pipeline of the matrix.
const captureRounds = 50

func undisturbedCapture(t *testing.T) map[string][]string {
	t.Helper()
	p := newCapture(t, pgtest.URL(t))
	p.mustRun(t)
	for i := range captureRounds {
		changeBank(t, p.url, i)
	}
	p.finishCapture(t)
	return captured(t, p.url)
}

// captured is what the views show.
func captured(t testing.TB, url string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, view := range []string{"account_now", "loose_now", "wealth"} {
		out[view] = pgtest.Rows(t, url, "SELECT * FROM "+view)
		slices.Sort(out[view])
	}
	return out
}

func newCaptureSubject(t testing.TB, want map[string][]string) *subject {
	p, round, ran, copied := newCapture(t, pgtest.URL(t)), 0, false, false
	change := func(t testing.TB) {
		if round < captureRounds {
			changeBank(t, p.url, round)
			round++
		}
	}
	return &subject{pipeline: p,
		feed: func(t testing.TB, l life) bool {
			young := strings.HasPrefix(l.point, "cdc.begin.") || strings.HasPrefix(l.point, "cdc.snapshot.") || l.point == "ingest.segment.after_create"
			switch {
			case young:
			case l.point == "cdc.drop.after_slot": // passed by a start that clears an interrupted one away
				if !ran {
					p.faulty(t, "cdc.snapshot.after_table=exit")
				}
			case !copied:
				p.mustRun(t)
				copied = true
			}
			ran = true
			rounds := l.hit
			if seldom(l.point) {
				rounds = 5
			}
			for range rounds {
				change(t)
			}
			if l.point == "ingest.open.after_copy" {
				p.tearIngested(t)
			}
			return !young && round < captureRounds
		},
		check: func(t *testing.T, l life, r result) {
			// What receives changes may fail after the last batch, when nobody waits for it any more.
			if l.action == "exit" || !strings.HasPrefix(l.point, "cdc.stream.") || r.code != 0 {
				p.checkDeath(t, l.point, l.action, r)
			}
		},
		finish: func(t *testing.T) {
			for round < captureRounds {
				change(t)
			}
			p.finishCapture(t)
			if diff := cmp.Diff(want, captured(t, p.url)); diff != "" {
				t.Errorf("the views differ from those of an undisturbed run (-want +got):\n%s", diff)
			}
		}}
}

// TestCaptureWhileRunning writes from several sessions beside a running engine that is killed now and then: at every
// look, what is committed is one prefix, with all the money in it. In the end the views have the tables as they are.
func TestCaptureWhileRunning(t *testing.T) {
	t.Parallel()
	p := newCapture(t, pgtest.URL(t))
	stop := p.writers(t, 2)
	kills := 4
	if testing.Short() {
		kills = 1
	}
	for range kills {
		c := p.start(t, "", "run", p.file())
		p.awaitMoney(t, c, 3)
		if !c.livesFor(t, time.Duration(rand.IntN(200))*time.Millisecond) {
			t.Fatal(c.wait(t))
		}
		c.signal(t, syscall.SIGKILL)
		c.wait(t)
		p.verify(t)
	}
	stop()
	p.finishCapture(t)
}

// awaitMoney looks at the view until it was of n different batches after the snapshot; it has all the money each time.
func (p *pipeline) awaitMoney(t testing.TB, c *process, n int) {
	t.Helper()
	p.awaitEqual(t, c, n, "wealth", fmt.Sprintf(`SELECT batch, %d, (SELECT coalesce(sum(amount), 0) FROM wealth) FROM sluice.ledger
WHERE batch > 0 AND NOT (offsets -> 'account') ? 'snapshot' AND NOT (offsets -> 'loose') ? 'snapshot'`, money))
}

// awaitEqual asks, once a table is there, until the answers were of n different batches; what stands behind the batch is
// the same in all columns each time, or a batch is visible in part.
func (p *pipeline) awaitEqual(t testing.TB, c *process, n int, table, query string) {
	t.Helper()
	seen := map[string]bool{}
	deadline := time.Now().Add(commandTimeout)
	for len(seen) < n {
		if !c.livesFor(t, 20*time.Millisecond) {
			t.Fatal(c.wait(t))
		}
		if time.Now().After(deadline) {
			t.Fatalf("no batches are committed: %v", seen)
		}
		if pgtest.Rows(t, p.url, fmt.Sprintf("SELECT to_regclass('%s') IS NOT NULL", table))[0] == "f" {
			continue
		}
		for _, row := range pgtest.Rows(t, p.url, query) {
			f := strings.Split(row, "|")
			seen[f[0]] = true
			if slices.ContainsFunc(f[1:], func(v string) bool { return v != f[1] }) {
				t.Fatalf("batch %s shows a part of a transaction: %s\n%s", f[0], f[1:], query)
			}
		}
	}
}

// writers change the bank from several sessions until the returned function is called.
func (p *pipeline) writers(t testing.TB, n int) (stop func()) {
	t.Helper()
	enough, done := make(chan struct{}), make(chan error, n)
	for range n {
		conn, err := pgx.Connect(t.Context(), p.url)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer conn.Close(t.Context())
			for {
				select {
				case <-enough:
					done <- nil
					return
				default:
				}
				if _, err := conn.Exec(t.Context(), moveMoney()); err != nil {
					_, _ = conn.Exec(t.Context(), "ROLLBACK") // a deadlock with another writer
				}
			}
		}()
	}
	return func() {
		close(enough)
		for range n {
			<-done
		}
	}
}

func moveMoney() string {
	id, by, end := 1+rand.IntN(120), rand.IntN(20), "COMMIT"
	if rand.IntN(4) == 0 {
		end = "ROLLBACK"
	}
	switch rand.IntN(4) {
	case 0:
		return fmt.Sprintf("BEGIN; WITH d AS (UPDATE bank.account SET amount = amount - %d WHERE id = %d RETURNING owner) INSERT INTO bank.loose SELECT owner, %d FROM d; %s", by, id, by, end)
	case 1:
		return fmt.Sprintf("BEGIN; WITH d AS (DELETE FROM bank.account WHERE id = %d RETURNING *) INSERT INTO bank.loose SELECT owner, amount FROM d; %s", id, end)
	case 2:
		return fmt.Sprintf("BEGIN; UPDATE bank.account SET id = %d WHERE id = %d AND NOT EXISTS (SELECT FROM bank.account WHERE id = %d); %s", id+200, id, id+200, end)
	}
	return fmt.Sprintf("BEGIN; WITH d AS (DELETE FROM bank.loose WHERE ctid IN (SELECT ctid FROM bank.loose LIMIT 5 FOR UPDATE SKIP LOCKED) RETURNING *) INSERT INTO bank.account SELECT %d + (SELECT coalesce(max(id), 0) FROM bank.account), 'owner %d', coalesce(sum(amount), 0), repeat('x', %d) FROM d; %s", 1+rand.IntN(3), id%9, rand.IntN(6000), end)
}
