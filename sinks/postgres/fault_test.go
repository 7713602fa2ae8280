package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
)

var oneOut = []planner.Output{appendOut}

// TestAmbiguousCommit leaves a server's session open behind a connection that broke at COMMIT, in both phases: the batch
// is there exactly once in the end. An append table shows every double. Sessions that end are sinktest's.
func TestAmbiguousCommit(t *testing.T) {
	for _, cut := range []struct {
		name string
		cut  pgtest.Cut
	}{
		{"server hangs", pgtest.CutHang}, {"delivered late", pgtest.CutLate},
	} {
		for _, phase := range []string{"stage", "commit"} {
			t.Run(phase+" "+cut.name, func(t *testing.T) {
				url := pgtest.URL(t)
				p := pgtest.NewProxy(t, url)
				e := newEngine(t, p.URL(), oneOut...)
				e.run(batchOf(t, 1, oneOut, []row{r(1, 1, "a")}))
				b := batchOf(t, 2, oneOut, []row{r(1, 2, "b"), r(1, 3, nil)})
				if phase == "stage" {
					p.Arm("commit", cut.cut)
				}
				if err := e.sink.Stage(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				permit := e.Prepare(b)
				if phase == "commit" {
					p.Arm("commit", cut.cut)
				}
				if err := e.sink.Commit(t.Context(), permit, info(b)); err != nil {
					t.Fatal(err)
				}
				p.Deliver()
				e.Done(2)
				if p.Fired() != 1 {
					t.Errorf("the proxy cut %d connections", p.Fired())
				}
				e.run(batchOf(t, 3, oneOut, []row{r(1, 4, "d")}))
				want := []string{"1|a", "2|b", "3|∅", "4|d"}
				if diff := cmp.Diff(want, pgtest.Rows(t, url, "SELECT * FROM events ORDER BY id")); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// TestPausedEngine has the older engine stop in the middle of a transaction: Open does not wait for it.
func TestPausedEngine(t *testing.T) {
	url := pgtest.URL(t)
	old := newEngine(t, url, oneOut...)
	b := batchOf(t, 1, oneOut, []row{r(1, 1, "old")})
	if err := old.sink.Stage(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	tx, err := old.sink.conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT FROM sluice.ledger WHERE pipeline = 'p' FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	fresh := newEngine(t, url, oneOut...)
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("Open took %s", d)
	}
	if err := old.sink.Commit(t.Context(), old.Prepare(b), info(b)); !errors.Is(err, microbatch.ErrFenced) {
		t.Errorf("commit of the older engine: %v", err)
	}
	fresh.run(batchOf(t, 1, oneOut, []row{r(1, 2, "new")}))
	if diff := cmp.Diff([]string{"2|new"}, pgtest.Rows(t, url, "SELECT * FROM events")); diff != "" {
		t.Error(diff)
	}
}

// TestServerCrash kills the server between the phases: the unlogged staging is gone. A live engine stages
// again by itself; a restarted one learns it from HasStaged.
func TestServerCrash(t *testing.T) {
	server := pgtest.New(t)
	url := server.Database(t)
	e := newEngine(t, url, oneOut...)
	e.run(batchOf(t, 1, oneOut, []row{r(1, 1, "a")}))
	crash := func() {
		server.Kill(t)
		server.Start(t)
	}

	b := batchOf(t, 2, oneOut, []row{r(1, 2, "b")})
	b.DeadLetters = []microbatch.DeadLetter{{Source: "s", Partition: "f.json", Offset: 12, Reason: "late: 1 s", Raw: "{}\x00"}}
	if err := e.sink.Stage(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	permit := e.Prepare(b)
	crash()
	if has, err := e.sink.HasStaged(t.Context(), 2, permit.Outputs()); has || err != nil {
		t.Errorf("staged after a crash: %v %v", has, err)
	}
	if err := e.sink.Commit(t.Context(), permit, info(b)); err != nil {
		t.Fatal(err)
	}
	e.Done(2)

	b = batchOf(t, 3, oneOut, []row{r(1, 3, "c")})
	if err := e.sink.Stage(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	permit = e.Prepare(b)
	crash()
	e.sink.Close()
	fresh := newEngine(t, url, oneOut...)
	if has, err := fresh.sink.HasStaged(t.Context(), 3, permit.Outputs()); has || err != nil {
		t.Errorf("staged after a crash: %v %v", has, err)
	}
	if err := fresh.sink.Commit(t.Context(), permit, info(b)); !errors.Is(err, ErrStagingLost) {
		t.Errorf("commit without staged rows: %v", err)
	}
	if err := fresh.sink.Stage(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := fresh.sink.Commit(t.Context(), permit, info(b)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1|a", "2|b", "3|c"}, pgtest.Rows(t, url, "SELECT * FROM events ORDER BY id")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"p|2|s|f.json|12|late: 1 s|{}␀␀"}, pgtest.Rows(t, url, `SELECT pipeline, batch, source, partition, "offset", reason, raw FROM sluice.dead_letter`)); diff != "" {
		t.Error(diff)
	}
}

// TestServerRestart stops the server under a live engine, for longer than one attempt lasts.
func TestServerRestart(t *testing.T) {
	server := pgtest.New(t)
	url := server.Database(t)
	e := newEngine(t, url, oneOut...)
	b := batchOf(t, 1, oneOut, []row{r(1, 1, "a")})
	if err := e.sink.Stage(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	permit := e.Prepare(b)
	server.Stop(t)
	done := make(chan error)
	go func() { done <- e.sink.Commit(t.Context(), permit, info(b)) }()
	server.Start(t)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1|a"}, pgtest.Rows(t, url, "SELECT * FROM events")); diff != "" {
		t.Error(diff)
	}
}

func TestGiveUp(t *testing.T) {
	server := pgtest.New(t)
	o := testOptions(server.Database(t))
	o.RetryFor = 100 * time.Millisecond
	e := newEngineWith(t, o, oneOut...)
	server.Stop(t)
	err := e.sink.Stage(t.Context(), batchOf(t, 1, oneOut, []row{r(1, 1, "a")}))
	wantErr(t, err, nil, "stage batch 1: gave up after 100ms")
	wantErr(t, err, nil, "Hint: is the server running")
	// Down at start: refused at once.
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Open(t.Context(), "p", targetsOf(oneOut))
	wantErr(t, err, nil, "Hint: is the server running")
	server.Start(t)
}

// TestAnotherBatch tells an engine with another log what is wrong.
func TestAnotherBatch(t *testing.T) {
	e := newEngine(t, pgtest.URL(t), oneOut...)
	b := batchOf(t, 1, oneOut, []row{r(1, 9, "z")})
	e.run(b)
	c := info(b)
	c.ContentHash = "other"
	wantErr(t, e.sink.Commit(t.Context(), e.Permit, c), errDisagree, "two state directories")
	wantErr(t, e.sink.Stage(t.Context(), b), errDisagree, "the ledger is at 1")
	if err := e.sink.Stage(t.Context(), batchOf(t, 2, oneOut, []row{r(1, 1, "a")})); err != nil {
		t.Fatal(err)
	}
	permit := e.Prepare(batchOf(t, 2, oneOut, []row{r(1, 2, "b")}))
	wantErr(t, e.sink.Commit(t.Context(), permit, microbatch.CommitInfo{}), errDisagree, "digest")
}

// TestStagingTampered empties the staging table by hand, which the manifest does not show.
func TestStagingTampered(t *testing.T) {
	for _, o := range []planner.Output{appendOut, upsertOut, multiOut, keysOut} {
		t.Run(o.Name, func(t *testing.T) {
			url := pgtest.URL(t)
			outs := []planner.Output{o}
			e := newEngine(t, url, outs...)
			rows := map[string][]row{"events": {r(1, 1, "a")}, "counts": {r(1, "a", 1, 1)}, "bag": {r(2, 1, "a")}, "seen": {r(1, 1, "a")}}[o.Name]
			b := batchOf(t, 1, outs, rows)
			if err := e.sink.Stage(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			permit := e.Prepare(b)
			pgtest.Exec(t, url, "TRUNCATE "+e.sink.targets[0].stagingTable())
			e.sink.last = nil // as after a restart
			if err := e.sink.Commit(t.Context(), permit, info(b)); !errors.Is(err, ErrStagingLost) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestAbortedCommit: COMMIT of an aborted transaction succeeds, with the tag ROLLBACK. A deferred
// constraint is what makes it fail only there.
func TestAbortedCommit(t *testing.T) {
	url := pgtest.URL(t)
	e := newEngine(t, url, oneOut...)
	pgtest.Exec(t, url, "CREATE TABLE other (id bigint PRIMARY KEY)",
		"ALTER TABLE events ADD FOREIGN KEY (id) REFERENCES other DEFERRABLE INITIALLY DEFERRED")
	b := batchOf(t, 1, oneOut, []row{r(1, 42, "a")})
	if err := e.sink.Stage(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	permit := e.Prepare(b)
	err := e.sink.Commit(t.Context(), permit, info(b))
	wantErr(t, err, nil, "Detail: Key (id)=(42)")
	wantErr(t, err, nil, "Hint: nothing was lost")
	if got := pgtest.Rows(t, url, "SELECT batch FROM sluice.ledger"); got[0] != "0" {
		t.Errorf("ledger at %s", got)
	}
	pgtest.Exec(t, url, "INSERT INTO other VALUES (42)")
	if err := e.sink.Commit(t.Context(), permit, info(b)); err != nil {
		t.Fatal(err)
	}
}

// TestFailpoints lets each point fail once. Before COMMIT nothing is there, after it everything.
func TestFailpoints(t *testing.T) {
	for _, name := range failpoint.Names() {
		if !strings.HasPrefix(name, "sink.") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			url := pgtest.URL(t)
			disarm, err := failpoint.Arm(name + "=error")
			if err != nil {
				t.Fatal(err)
			}
			defer disarm()
			if name == "sink.open.after_epoch" {
				s, _ := New(testOptions(url))
				defer s.Close()
				if _, err := s.Open(t.Context(), "p", targetsOf(oneOut)); !errors.Is(err, failpoint.ErrInjected) {
					t.Errorf("got %v", err)
				}
				return
			}
			e := newEngine(t, url, oneOut...)
			b := batchOf(t, 1, oneOut, []row{r(1, 1, "a")})
			injected := 0
			err = e.sink.Stage(t.Context(), b)
			if errors.Is(err, failpoint.ErrInjected) {
				injected++
				err = e.sink.Stage(t.Context(), b)
			}
			if err != nil {
				t.Fatal(err)
			}
			permit := e.Prepare(b)
			err = e.sink.Commit(t.Context(), permit, info(b))
			if errors.Is(err, failpoint.ErrInjected) {
				injected++
				err = e.sink.Commit(t.Context(), permit, info(b))
			}
			if err != nil {
				t.Fatal(err)
			}
			if injected != 1 {
				t.Errorf("fired %d times", injected)
			}
			if diff := cmp.Diff([]string{"1|a"}, pgtest.Rows(t, url, "SELECT * FROM events")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	url := pgtest.URL(t)
	e := newEngine(t, url, oneOut...)
	// Somebody holds the ledger row, and the user presses Ctrl-C.
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT FROM sluice.ledger FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	why := errors.New("interrupted")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, why)
	defer cancel()
	if err := e.sink.Stage(ctx, batchOf(t, 1, oneOut, nil)); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// TestOpenFailedWhileTheServerWasStartingUp: after a crash the server turns connections away for a while,
// and an engine started in that moment failed at once, though one that was running already waited.
func TestOpenFailedWhileTheServerWasStartingUp(t *testing.T) {
	p := pgtest.NewProxy(t, pgtest.URL(t))
	p.TurnAway(3)
	e := newEngine(t, p.URL(), oneOut...)
	p.TurnAway(1)
	if _, err := e.sink.ReadLedger(t.Context(), "p"); err != nil {
		t.Error(err)
	}
	p.TurnAway(1000)
	o := testOptions(p.URL())
	o.RetryFor = 250 * time.Millisecond
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Open(t.Context(), "p", targetsOf(oneOut))
	if err == nil || !strings.Contains(err.Error(), "the database system is starting up") || !strings.Contains(err.Error(), "Hint: the server is starting up") {
		t.Errorf("a server that does not come up: %v", err)
	}
}
