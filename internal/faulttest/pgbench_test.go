package faulttest

import (
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/pgcluster"
	"github.com/sluice-sql/sluice/internal/pgtest"
)

// pgbenchSQL maintains views of pgbench's tables. Each of its transactions changes an account, a teller, a branch and
// the history by the same amount, so that all four views have one sum, always.
const pgbenchSQL = `
SET trigger_interval = '20ms';
CREATE SOURCE accounts (aid BIGINT, bid BIGINT, abalance BIGINT, PRIMARY KEY (aid) NOT ENFORCED) WITH (connector = 'postgres_cdc', table = 'pgbench_accounts');
CREATE SOURCE tellers (tid BIGINT, tbalance BIGINT, PRIMARY KEY (tid) NOT ENFORCED) WITH (connector = 'postgres_cdc', table = 'pgbench_tellers');
CREATE SOURCE branches (bid BIGINT, bbalance BIGINT, PRIMARY KEY (bid) NOT ENFORCED) WITH (connector = 'postgres_cdc', table = 'pgbench_branches');
CREATE SOURCE history (tid BIGINT, delta BIGINT) WITH (connector = 'postgres_cdc', table = 'pgbench_history');
CREATE MATERIALIZED VIEW of_accounts AS SELECT bid, count(*) AS n, sum(abalance) AS balance FROM accounts GROUP BY bid;
CREATE MATERIALIZED VIEW of_tellers AS SELECT tid, tbalance AS balance FROM tellers;
CREATE MATERIALIZED VIEW of_branches AS SELECT bid, bbalance AS balance FROM branches;
CREATE MATERIALIZED VIEW of_history AS SELECT tid, count(*) AS n, sum(delta) AS balance FROM history GROUP BY tid;
`

// TestCapturePgbench: pgbench writes all the time, while its tables are copied and while the engine, which writes to the
// same server, follows. The server is killed and restarted, the engine is killed. Every look sees whole transactions,
// and in the end the views are what the tables are.
func TestCapturePgbench(t *testing.T) {
	t.Parallel()
	server := pgtest.New(t)
	p := newPipeline(t, server.Database(t), pgbenchSQL, nil)
	if out, err := pgbench(t, "-i", "-q", "-s", "1", p.url).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pgtest.Exec(t, p.url, "ALTER TABLE pgbench_history REPLICA IDENTITY FULL")
	stop := p.pgbenchThroughout(t)
	c := p.start(t, "", "run", p.file())
	p.awaitSums(t, c, 3)
	server.Kill(t)
	server.Start(t)
	p.awaitSums(t, c, 3)
	server.Stop(t)
	server.Start(t)
	p.awaitSums(t, c, 3)
	c.signal(t, syscall.SIGKILL)
	c.wait(t)
	p.verify(t)
	stop()
	p.mustRun(t)
	for now, want := range map[string]string{
		"SELECT bid, n, balance FROM of_accounts": "SELECT bid, count(*), sum(abalance) FROM pgbench_accounts GROUP BY bid",
		"SELECT tid, balance FROM of_tellers":     "SELECT tid, tbalance FROM pgbench_tellers",
		"SELECT bid, balance FROM of_branches":    "SELECT bid, bbalance FROM pgbench_branches",
		"SELECT tid, n, balance FROM of_history":  "SELECT tid, count(*), sum(delta) FROM pgbench_history GROUP BY tid",
	} {
		got, want := pgtest.Rows(t, p.url, now), pgtest.Rows(t, p.url, want)
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("a view is not what its table is (-table +view):\n%s", diff)
		}
	}
	p.verify(t)
	p.replay(t)
}

func pgbench(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	bin, err := pgcluster.Find()
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(filepath.Join(bin, "pgbench"), args...)
}

// pgbenchThroughout runs pgbench again and again until stop is called; it fails while the server is away.
func (p *pipeline) pgbenchThroughout(t testing.TB) (stop func()) {
	t.Helper()
	enough, done := make(chan struct{}), make(chan int, 1)
	go func() {
		whole := 0
		for {
			select {
			case <-enough:
				done <- whole
				return
			default:
			}
			if pgbench(t, "-n", "-c", "2", "-t", "100", p.url).Run() == nil {
				whole++
			}
		}
	}()
	return func() {
		close(enough)
		if whole := <-done; whole == 0 {
			t.Error("pgbench did not get to its end once")
		}
	}
}

// awaitSums looks at the views until they were of n different batches after the snapshot; the sums are one each time.
func (p *pipeline) awaitSums(t testing.TB, c *process, n int) {
	t.Helper()
	p.awaitEqual(t, c, n, "of_history", `SELECT batch, (SELECT sum(balance) FROM of_accounts), (SELECT sum(balance) FROM of_tellers), (SELECT sum(balance) FROM of_branches),
(SELECT coalesce(sum(balance), 0) FROM of_history) FROM sluice.ledger WHERE batch > 0 AND NOT (offsets -> 'history') ? 'snapshot'`)
}
