package faulttest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/pgtest"
)

// TestPostgresDownAtStart: the message names the next step, and with the server up the same command works.
func TestPostgresDownAtStart(t *testing.T) {
	t.Parallel()
	server := pgtest.New(t)
	p := newEvents(t)
	p.url = server.Database(t)
	server.Stop(t)
	p.run(t).mustFail(t, 1, "connect to Postgres", "hint: is the server running")
	p.sluice(t, nil, "check", p.file()).mustFail(t, 1, "hint: is the server running")
	server.Start(t)
	p.finish(t)
}

// TestPostgresKilledDuringBatches: the server dies by SIGKILL at random instants, which empties the
// unlogged staging tables, and comes back. The engine tries again, or a rerun goes on.
func TestPostgresKilledDuringBatches(t *testing.T) {
	t.Parallel()
	seed := time.Now().UnixNano()
	r := rand.New(rand.NewPCG(uint64(seed), 0))
	// Why synchronous: commits that the server confirmed must survive its death.
	server := pgtest.New(t, "fsync=on", "full_page_writes=on")
	p := newEvents(t)
	p.url = server.Database(t)
	kills := 6
	if testing.Short() {
		kills = 2
	}
	for kills > 0 {
		c := p.start(t, "", "run", p.file(), "--until-end", "--max-batch-rows", "10")
		for kills > 0 && c.livesFor(t, time.Duration(300+r.IntN(700))*time.Millisecond) {
			server.Kill(t)
			kills--
			server.Start(t)
		}
		// A start that loses its server half-way ends as one does that finds it down.
		if res := c.wait(t); res.code != 0 && !strings.Contains(res.stderr, "open the sink") && !strings.Contains(res.stderr, "staged rows are gone") {
			t.Fatalf("seed %d: the engine did not outlive the server's restart:\n%v", seed, res)
		}
	}
	p.mustRun(t)
	p.verify(t)
	p.sameTables(t)
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}

// sameTables compares the target tables with those of an undisturbed run whose batches were cut otherwise.
func (p *pipeline) sameTables(t testing.TB) {
	t.Helper()
	want, got := map[string][]string{}, p.contents(t)
	for name, rows := range reference(t) {
		if strings.HasPrefix(name, "public.") {
			want[name] = rows
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			delete(got, name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the tables differ from those of an undisturbed run (-want +got):\n%s", diff)
	}
	if got, want := pgtest.Rows(t, p.url, "SELECT count(*), count(DISTINCT \"offset\") FROM sluice.dead_letter"), len(reference(t)["dead_letter"]); got[0] != fmt.Sprintf("%d|%d", want, want) {
		t.Errorf("%s dead letters, want %d, each once", got, want)
	}
}

// TestPostgresRestartedCleanly: the engine waits for the server, whose staging tables survive.
func TestPostgresRestartedCleanly(t *testing.T) {
	t.Parallel()
	server := pgtest.New(t)
	p := newEvents(t)
	p.url = server.Database(t)
	c := p.start(t, "batch.after_stage=sleep(300ms):5", "run", p.file(), "--until-end")
	c.waitFired(t)
	server.Stop(t) // clean: staging survives
	server.Start(t)
	if r := c.wait(t); r.code != 0 {
		t.Fatalf("the engine did not outlive a clean restart of the server:\n%v", r)
	}
	p.finish(t)
}

// commitMessage is COMMIT on the wire, length included: it is in no other message.
const commitMessage = "\x0bcommit\x00"

// TestConnectionCut: the connection breaks before COMMIT gets to the server (the transaction is rolled
// back), after it (the batch is committed and the engine does not know), and with the server's session
// still there; for the staging transaction and for the one that shows the batch.
func TestConnectionCut(t *testing.T) {
	for _, phase := range []string{"sink.stage.before_commit", "sink.commit.before_commit"} {
		for name, cut := range map[string]pgtest.Cut{"before": pgtest.CutBefore, "after": pgtest.CutAfter, "hang": pgtest.CutHang, "late": pgtest.CutLate} {
			t.Run(phase+" "+name, func(t *testing.T) {
				t.Parallel()
				p := newEvents(t)
				direct := p.url
				proxy := pgtest.NewProxy(t, direct)
				p.url = proxy.URL()
				c := p.start(t, phase+"=sleep(200ms):5", "run", p.file(), "--until-end")
				c.waitFired(t)
				proxy.Arm(commitMessage, cut)
				r := c.wait(t)
				proxy.Deliver()
				if proxy.Fired() != 1 {
					t.Errorf("%d connections were cut", proxy.Fired())
				}
				if r.code != 0 {
					t.Errorf("the engine did not outlive the cut:\n%v", r)
				}
				p.url = direct
				p.finish(t)
			})
		}
	}
}

// TestTargetTableDoesNotFit: a table with wrong columns is refused before anything runs.
func TestTargetTableDoesNotFit(t *testing.T) {
	for _, tc := range []struct{ name, ddl, says string }{
		{"missing column", `CREATE TABLE total (n bigint, ids bigint)`, "amount"},
		{"wrong type", `CREATE TABLE sevenths (id bigint, kind int, double_price numeric)`, "kind"},
		{"column that needs a value", `CREATE TABLE sevenths (id bigint, kind text, double_price numeric(38,2), extra int NOT NULL)`, "extra"},
		{"no key", `CREATE TABLE spread (kind text, residues bigint, median double precision)`, "kind"},
		{"a view", `CREATE VIEW spread AS SELECT 1 AS kind`, "is not a table"},
		{"rows of someone else", `CREATE TABLE sevenths AS SELECT 1::bigint AS id, 'a'::text AS kind, 1::numeric(38,2) AS double_price`, "sevenths"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newEvents(t)
			pgtest.Exec(t, p.url, tc.ddl)
			before := tablesOf(t, p.url)
			r := p.run(t)
			r.mustFail(t, 1, tc.says, "hint: ")
			if diff := cmp.Diff(before, tablesOf(t, p.url)); diff != "" {
				t.Errorf("a refused start changed the database:\n%s", diff)
			}
			if got := pgtest.Rows(t, p.url, "SELECT * FROM sluice.ledger"); len(got) > 0 {
				t.Errorf("a refused start left %q in the ledger", got)
			}
			t.Log(lastLines(r.stderr))
		})
	}
}

func tablesOf(t testing.TB, url string) []string {
	return pgtest.Rows(t, url, "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1")
}

// TestTwoEnginesOneStateDirectory: the second is refused, and the first does not notice.
func TestTwoEnginesOneStateDirectory(t *testing.T) {
	t.Parallel()
	p := newEvents(t)
	c := p.start(t, "batch.after_stage=sleep(3s):3", "run", p.file(), "--until-end")
	c.waitFired(t)
	c.signal(t, syscall.SIGSTOP) // however slow the machine is
	p.run(t).mustFail(t, 1, "in use by another engine", "hint: stop that engine first")
	if got := pgtest.Rows(t, p.url, "SELECT epoch FROM sluice.ledger"); !slices.Equal(got, []string{"1"}) {
		t.Errorf("the refused engine raised the epoch to %s", got)
	}
	c.signal(t, syscall.SIGCONT)
	if r := c.wait(t); r.code != 0 {
		t.Errorf("the first engine failed:\n%v", r)
	}
	p.finish(t)
}

// TestOlderEngineIsFenced: an engine is paused at each step of a batch (a machine that hangs), another
// takes the pipeline over with a copy of its state directory, and then the first wakes up. It must exit 5
// and commit nothing more.
func TestOlderEngineIsFenced(t *testing.T) {
	for _, step := range []string{"batch.after_plan", "batch.execute.after_run", "batch.after_stage", "batch.after_prepare", "sink.stage.before_commit", "sink.commit.before_commit", "batch.after_done"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			old := newEvents(t)
			// Why the batch before must be committed: it is committed beside this one's execution, and who is paused in a commit
			// into files keeps their directory.
			c := old.start(t, step+"=sleep(5s):6;batch.after_commit=sleep(1ms):5", "run", old.file(), "--until-end")
			c.waitFired(t, step, "batch.after_commit")
			c.signal(t, syscall.SIGSTOP)
			next := *old
			next.state = t.TempDir()
			if err := os.CopyFS(next.state, os.DirFS(old.state)); err != nil {
				t.Fatal(err)
			}
			next.mustRun(t)
			want := next.contents(t)
			c.signal(t, syscall.SIGCONT)
			c.wait(t).mustFail(t, 5, "fenced by a newer engine")
			if diff := cmp.Diff(want, next.contents(t)); diff != "" {
				t.Errorf("the older engine changed something after it was fenced:\n%s", diff)
			}
			next.verify(t)
			next.mustEqual(t, reference(t))
			old.run(t).mustFail(t, 1, "the ledger says that batch", "hint: ")
		})
	}
}
