package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/internal/pgcluster"
)

// The CDC part has pgbench write as fast as it can into the PostgreSQL whose tables are captured and whose views are
// maintained, and asks how long a committed change takes until the views show it, and whether that grows.
//
// Both instants are the server's own: it notes when each transaction commits (track_commit_timestamp), the writer's,
// which the change carries, and that of the batch, which is the transaction that wrote the row of view seen.
// A client beside it, which inserts a row and looks for it, says whether that is what clients see.

const capturedPipeline = `SET trigger_interval = '100ms';
CREATE SOURCE accounts (aid BIGINT, bid BIGINT, abalance BIGINT, PRIMARY KEY (aid) NOT ENFORCED) WITH (connector = 'postgres_cdc', table = 'pgbench_accounts');
CREATE SOURCE history (id BIGINT, tid BIGINT, delta BIGINT, committed TIMESTAMPTZ METADATA FROM 'commit_timestamp', PRIMARY KEY (id) NOT ENFORCED)
  WITH (connector = 'postgres_cdc', table = 'pgbench_history');
CREATE MATERIALIZED VIEW per_branch AS SELECT bid, count(*) AS n, sum(abalance) AS balance FROM accounts GROUP BY bid;
CREATE MATERIALIZED VIEW per_teller AS SELECT tid, count(*) AS n, sum(delta) AS total FROM history GROUP BY tid;
CREATE MATERIALIZED VIEW seen AS SELECT id, committed FROM history;
`

// capturedRows are in pgbench_accounts at scale 1; changesEach is how many rows a transaction of pgbench -N changes.
const (
	capturedRows = 100_000
	changesEach  = 2
)

// A capturedResult is one run.
type capturedResult struct {
	clients, transactions int64
	alone, beside         float64 // transactions a second, without the engine and with it
	latencies             latencies
	first, last           latencies // of the first and the last third of the transactions
	client                latencies // as a client sees it
	caughtUp              time.Duration
	cpu                   time.Duration // of the engine
}

// latencies are sorted.
type latencies []time.Duration

func sorted(l []time.Duration) latencies {
	l = slices.Clone(l)
	slices.Sort(l)
	return l
}

func (l latencies) at(percent int) time.Duration {
	if len(l) == 0 {
		return 0
	}
	return l[min(len(l)*percent/100, len(l)-1)]
}

func (b *bench) captured(ctx context.Context) (results []capturedResult, err error) {
	dir := filepath.Join(b.work, "cdc")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, removeState(dir)) }()
	pg, err := pgcluster.StartWith(ctx, dir, pgcluster.Options{Settings: []string{"track_commit_timestamp=on"}})
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	defer func() { err = errors.Join(err, pg.Stop(context.WithoutCancel(ctx))) }()
	own := *b
	own.postgres = pg.URL()
	for _, clients := range []int64{1, 4} {
		var runs []capturedResult
		for run := range b.runs {
			r, err := own.capturedRun(ctx, clients)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(os.Stderr, "run %d/%d  %d clients: %.0f transactions/s alone, %.0f beside the engine; p50 %.0f ms, p99 %.0f ms\n",
				run+1, b.runs, clients, r.alone, r.beside, ms(r.latencies.at(50)), ms(r.latencies.at(99)))
			runs = append(runs, r)
		}
		slices.SortFunc(runs, func(x, y capturedResult) int { return int(x.latencies.at(99) - y.latencies.at(99)) })
		results = append(results, runs[len(runs)/2])
	}
	return results, nil
}

// capturedRun runs pgbench alone, and then beside an engine that follows it.
func (b *bench) capturedRun(ctx context.Context, clients int64) (r capturedResult, err error) {
	dir, done, err := b.scratch(ctx, "per_branch", "per_teller", "seen")
	if err != nil {
		return r, err
	}
	defer done(&err)
	r = capturedResult{clients: clients, transactions: max(b.rows/100, 1) * clients}
	if _, err := pgbench(ctx, "-i", "-q", "-s", "1", b.postgres); err != nil {
		return r, err
	}
	if err := b.exec(ctx, "ALTER TABLE pgbench_history ADD id bigserial PRIMARY KEY", "CHECKPOINT"); err != nil {
		return r, err
	}
	if r.alone, err = r.pgbench(ctx, b.postgres); err != nil {
		return r, err
	}
	if err := b.exec(ctx, "TRUNCATE pgbench_history", "VACUUM ANALYZE pgbench_accounts", "CHECKPOINT"); err != nil {
		return r, err
	}
	file := filepath.Join(dir, "captured.sql")
	if err := os.WriteFile(file, []byte(capturedPipeline), 0o644); err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, b.sluice, "run", file, "--json", "--postgres", b.postgres, "--state-dir", dir)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		return r, err
	}
	defer func() {
		if cmd.ProcessState == nil {
			err = errors.Join(fmt.Errorf("%w\n%s", err, stderr.String()), cmd.Process.Kill(), cmd.Wait())
		}
		err = errors.Join(err, b.exec(context.WithoutCancel(ctx), "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots WHERE active", "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"))
	}()
	if err := b.measureCaptured(ctx, &r); err != nil {
		return r, err
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return r, err
	}
	_ = cmd.Wait() // 130: it was interrupted
	r.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return r, nil
}

// measureCaptured writes while an engine follows, and asks the server what came of it.
func (b *bench) measureCaptured(ctx context.Context, r *capturedResult) (err error) {
	if err := b.awaitCount(ctx, "SELECT count(*) FROM pg_class WHERE relname = 'per_branch'", 1); err != nil {
		return err
	}
	if err := b.awaitCount(ctx, "SELECT coalesce(sum(n), 0)::BIGINT FROM per_branch", capturedRows); err != nil {
		return err
	}
	enough, client := make(chan struct{}), make(chan error, 1)
	go func() { client <- b.look(ctx, enough, &r.client) }()
	r.beside, err = r.pgbench(ctx, b.postgres)
	ended := time.Now()
	close(enough)
	if err := errors.Join(err, <-client); err != nil {
		return err
	}
	if err := b.awaitCount(ctx, "SELECT count(*) FROM seen", r.transactions+int64(len(r.client))); err != nil {
		return err
	}
	r.caughtUp, r.client = time.Since(ended), sorted(r.client)
	return b.inPostgres(ctx, func(conn *pgx.Conn) error {
		var wrong int64
		err := conn.QueryRow(ctx, `SELECT (SELECT count(*) FROM (SELECT bid, n, balance FROM per_branch EXCEPT SELECT bid, count(*), sum(abalance) FROM pgbench_accounts GROUP BY bid) a)
+ (SELECT count(*) FROM (SELECT tid, count(*), sum(delta) FROM pgbench_history GROUP BY tid EXCEPT SELECT tid, n, total FROM per_teller) b)`).Scan(&wrong)
		if err == nil && wrong > 0 {
			err = fmt.Errorf("%d rows of the views are not what the tables say", wrong)
		}
		if err != nil {
			return err
		}
		rows, err := conn.Query(ctx, "SELECT (1000000 * extract(epoch FROM pg_xact_commit_timestamp(xmin) - committed))::BIGINT FROM seen ORDER BY committed")
		if err != nil {
			return err
		}
		all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (d time.Duration, err error) {
			var micros int64
			err = row.Scan(&micros)
			return time.Duration(micros) * time.Microsecond, err
		})
		third := len(all) / 3
		r.latencies, r.first, r.last = sorted(all), sorted(all[:third]), sorted(all[len(all)-third:])
		return err
	})
}

const (
	lookEvery  = 3 * time.Millisecond
	writeEvery = 50 * time.Millisecond
)

// look inserts a row, waits until a view shows it, and begins again.
func (b *bench) look(ctx context.Context, enough <-chan struct{}, took *latencies) error {
	return b.inPostgres(ctx, func(conn *pgx.Conn) error {
		pause, tick := time.NewTicker(writeEvery), time.NewTicker(lookEvery)
		defer pause.Stop()
		defer tick.Stop()
		for {
			var id int64
			if err := conn.QueryRow(ctx, "INSERT INTO pgbench_history (tid, bid, aid, delta) VALUES (0, 0, 0, 0) RETURNING id").Scan(&id); err != nil {
				return err
			}
			committed := time.Now()
			for there := false; !there; {
				if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM seen WHERE id = $1)", id).Scan(&there); err != nil {
					return err
				}
				if !there {
					<-tick.C
				}
			}
			*took = append(*took, time.Since(committed))
			select {
			case <-enough:
				return nil
			case <-pause.C:
			}
		}
	})
}

// exec runs statements, each in its own transaction.
func (b *bench) exec(ctx context.Context, statements ...string) error {
	return b.inPostgres(ctx, func(conn *pgx.Conn) error {
		for _, sql := range statements {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	})
}

var reportedRate = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)

// pgbench runs all transactions, as fast as they come, and returns how many a second.
func (r *capturedResult) pgbench(ctx context.Context, url string) (float64, error) {
	clients := fmt.Sprint(r.clients)
	out, err := pgbench(ctx, "-n", "-N", "-c", clients, "-t", fmt.Sprint(r.transactions/r.clients), url)
	if err != nil {
		return 0, err
	}
	m := reportedRate.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("pgbench does not say its rate:\n%s", out)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

func pgbench(ctx context.Context, args ...string) ([]byte, error) {
	bin, err := pgcluster.Find()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "pgbench"), args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return out, nil
}

// wantedLatency is the goal of 99 of 100 changes.
const wantedLatency = 500 * time.Millisecond

func reportCaptured(w io.Writer, results []capturedResult) {
	fmt.Fprintf(w, "pgbench -N as fast as it can, into the PostgreSQL whose tables are captured and whose views are maintained, durable, trigger 100 ms; each transaction changes %d captured rows. Latency is from commit to commit by the server's clock, of every transaction; "+
		"the client is one that inserts a row and looks for it every %d ms. CPU is the engine's, with its start and the first copy of %s rows.\n\n", changesEach, lookEvery.Milliseconds(), thousands(capturedRows))
	fmt.Fprintln(w, "| clients | transactions | alone, tx/s | beside the engine, tx/s | changes/s | latency p50 | p99 | most | p99 of the first third | of the last third | client p50 | client p99 | all shown after | CPU µs a change |\n|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
	worst := time.Duration(0)
	for _, r := range results {
		worst = max(worst, r.latencies.at(99))
		fmt.Fprintf(w, "| %d | %s | %.0f | %.0f | %.0f | %.0f ms | %.0f ms | %.0f ms | %.0f ms | %.0f ms | %.0f ms | %.0f ms | %.0f ms | %.1f |\n", r.clients, thousands(r.transactions), r.alone, r.beside, changesEach*r.beside,
			ms(r.latencies.at(50)), ms(r.latencies.at(99)), ms(r.latencies.at(100)), ms(r.first.at(99)), ms(r.last.at(99)), ms(r.client.at(50)), ms(r.client.at(99)), ms(r.caughtUp),
			float64(r.cpu.Microseconds())/float64(changesEach*r.transactions))
	}
	verdict := "reached"
	if worst >= wantedLatency {
		verdict = "missed"
	}
	fmt.Fprintf(w, "\nGoal, 99 of 100 changes shown within %d ms: %s (%.0f ms).\n", wantedLatency.Milliseconds(), verdict, ms(worst))
}
