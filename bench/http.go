package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// The HTTP part asks how many rows a second can be posted when each post is synced to the disk before its answer,
// and how long an answer takes; the engine reads the rows meanwhile, aggregates them and writes to PostgreSQL.

const (
	postedRowsAPost = 500
	postedClients   = 16
)

// A postedResult is one run: rows that were acknowledged, and how long clients waited.
type postedResult struct {
	rows      int64
	took      time.Duration // until the last post was acknowledged
	caughtUp  time.Duration // until the last row was committed
	cpu       time.Duration // of the engine
	answers   []time.Duration
	logBytes  int64
	rowsAPost int
	clients   int
}

const postedPipeline = `SET trigger_interval = '100ms';
CREATE SOURCE bid (auction BIGINT, bidder BIGINT, price BIGINT, date_time TIMESTAMP, extra VARCHAR)
  WITH (connector = 'http', listen = '%s');
CREATE MATERIALIZED VIEW per_auction AS SELECT auction %% 1000 AS a, count(*) AS n, sum(price) AS total FROM bid GROUP BY ALL;
`

func (b *bench) posted(ctx context.Context) (results []postedResult, err error) {
	for _, shape := range []struct{ rows, clients int }{{postedRowsAPost, postedClients}, {postedRowsAPost, 1}, {1, postedClients}} {
		var runs []postedResult
		for run := range b.runs {
			r, err := b.postedRun(ctx, shape.rows, shape.clients)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(os.Stderr, "run %d/%d  %d clients, posts of %d: %s rows/s acknowledged, %s rows/s committed\n", run+1, b.runs, shape.clients, shape.rows, rate(r.rows, r.took), rate(r.rows, r.caughtUp))
			runs = append(runs, r)
		}
		slices.SortFunc(runs, func(x, y postedResult) int { return int(x.took - y.took) })
		results = append(results, runs[len(runs)/2])
	}
	return results, nil
}

// postedRun runs an engine and posts to it from this process. Both share the machine's processors.
func (b *bench) postedRun(ctx context.Context, rowsAPost, clients int) (r postedResult, err error) {
	dir, done, err := b.scratch(ctx, "per_auction")
	if err != nil {
		return r, err
	}
	defer done(&err)
	address, err := freeAddress()
	if err != nil {
		return r, err
	}
	file := filepath.Join(dir, "posted.sql")
	if err := os.WriteFile(file, fmt.Appendf(nil, postedPipeline, address), 0o644); err != nil {
		return r, err
	}
	// Posts of one row wait for a sync each: fewer of them tell as much.
	r = postedResult{rows: b.rows, rowsAPost: rowsAPost, clients: clients}
	if rowsAPost == 1 {
		r.rows /= 100
	}
	cmd := exec.CommandContext(ctx, b.sluice, "run", file, "--json", "--postgres", b.postgres, "--state-dir", dir)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		return r, err
	}
	defer func() {
		if cmd.ProcessState == nil {
			err = errors.Join(err, cmd.Process.Kill(), cmd.Wait())
		}
	}()
	if err := reachable(ctx, "http://"+address+"/healthz"); err != nil {
		return r, fmt.Errorf("%w\n%s", err, stderr.String())
	}
	start := time.Now()
	if err := r.post(ctx, "http://"+address+"/v1/ingest/posted/bid"); err != nil {
		return r, err
	}
	r.took = time.Since(start)
	if err := b.awaitCount(ctx, "SELECT coalesce(sum(n), 0)::BIGINT FROM per_auction", r.rows); err != nil {
		return r, err
	}
	r.caughtUp = time.Since(start)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return r, err
	}
	_ = cmd.Wait() // 130: it was interrupted
	r.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	paths, err := filepath.Glob(filepath.Join(dir, "pipelines", "posted", "tables", "h_bid", "*.ing"))
	for _, path := range paths {
		info, serr := os.Stat(path)
		if err = errors.Join(err, serr); serr == nil {
			r.logBytes += info.Size()
		}
	}
	return r, err
}

// post sends all rows from several clients, each over a connection of its own.
func (r *postedResult) post(ctx context.Context, url string) error {
	body := make([]byte, 0, 128*r.rowsAPost)
	for i := range r.rowsAPost {
		body = fmt.Appendf(body, `{"auction": %d, "bidder": %d, "price": %d, "date_time": "2026-11-22 12:00:%02d.123", "extra": "some thirty bytes of something"}`+"\n", i*7919%100_000, i*31, i*13%5000, i%60)
	}
	var next atomic.Int64
	var mu sync.Mutex
	var failed error
	var wg sync.WaitGroup
	for client := range r.clients {
		wg.Go(func() {
			c := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
			defer c.CloseIdleConnections()
			var answers []time.Duration
			var err error
			for n := next.Add(1); n <= r.rows/int64(r.rowsAPost) && err == nil; n = next.Add(1) {
				at := time.Now()
				err = postOnce(ctx, &c, url, fmt.Sprintf("%d-%d", client, n), string(body))
				answers = append(answers, time.Since(at))
			}
			mu.Lock()
			defer mu.Unlock()
			r.answers, failed = append(r.answers, answers...), errors.Join(failed, err)
		})
	}
	wg.Wait()
	slices.Sort(r.answers)
	return failed
}

func postOnce(ctx context.Context, c *http.Client, url, key, body string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("Idempotency-Key", key)
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err == nil && (res.StatusCode != http.StatusOK || !json.Valid(text)) {
		err = fmt.Errorf("the answer to a post: %s: %s", res.Status, text)
	}
	return err
}

// awaitCount waits until a query gives a number.
func (b *bench) awaitCount(ctx context.Context, sql string, want int64) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var got int64
		err := b.inPostgres(ctx, func(conn *pgx.Conn) error { return conn.QueryRow(ctx, sql).Scan(&got) })
		if err != nil || got == want {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// reachable waits until an address answers.
func reachable(ctx context.Context, url string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 3000 {
		if res, err := http.Get(url); err == nil {
			return res.Body.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return fmt.Errorf("nobody answers at %s", url)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (r postedResult) answer(percent int) time.Duration {
	return r.answers[min(len(r.answers)*percent/100, len(r.answers)-1)]
}

// perSecond is rate for what may be few.
func perSecond(rows int64, took time.Duration) string {
	if r := float64(rows) / took.Seconds(); r < 10_000 {
		return thousands(int64(r))
	}
	return rate(rows, took)
}

func reportPosted(w io.Writer, results []postedResult) {
	fmt.Fprintln(w, "Rows posted over HTTP, each post synced to the disk before its answer, each with an Idempotency-Key; the engine aggregates them into PostgreSQL meanwhile, and the clients share its processors.")
	fmt.Fprintln(w, "\n| rows a post | clients | rows | acknowledged rows/s | committed rows/s | answer p50 | p99 | CPU µs a row | log bytes a row |\n|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
	for _, r := range results {
		fmt.Fprintf(w, "| %d | %d | %s | %s | %s | %.1f ms | %.1f ms | %.2f | %d |\n", r.rowsAPost, r.clients, thousands(r.rows), perSecond(r.rows, r.took), perSecond(r.rows, r.caughtUp),
			ms(r.answer(50)), ms(r.answer(99)), float64(r.cpu.Microseconds())/float64(r.rows), r.logBytes/r.rows)
	}
}
