package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/duck"
)

// The scale part asks whether a batch's cost follows what it changes or what is kept: it fills a pipeline's
// state with many rows in large batches, starts it again, and measures batches of 1,000 rows.

const (
	scaleBatches = 400
	scaleRows    = 1000
)

// A scaleCase is a pipeline over source big, which fills its state, and then over small batches of source new.
type scaleCase struct {
	name, sql string
}

var scaleCases = []scaleCase{
	{"groups: count, sum, max by key", `CREATE MATERIALIZED VIEW r AS SELECT k, count(*) AS n, sum(v) AS s, max(v) AS m FROM
(SELECT * FROM big UNION ALL SELECT * FROM fresh) GROUP BY k;`},
	{"join by key", `CREATE MATERIALIZED VIEW r AS SELECT fresh.k, fresh.v, big.v AS w FROM fresh JOIN big ON fresh.k = big.k;`},
	{"left join by key", `CREATE MATERIALIZED VIEW r AS SELECT fresh.k, fresh.v, big.v AS w FROM fresh LEFT JOIN big ON fresh.k = big.k;`},
	{"top row of each key", `CREATE MATERIALIZED VIEW r AS SELECT * FROM (SELECT * FROM big UNION ALL SELECT * FROM fresh)
QUALIFY row_number() OVER (PARTITION BY k ORDER BY v DESC) = 1;`},
	{"count(DISTINCT) by part of the key", `CREATE MATERIALIZED VIEW r AS SELECT k % 1000 AS part, count(DISTINCT k) AS n FROM
(SELECT * FROM big UNION ALL SELECT * FROM fresh) GROUP BY part;`},
}

type scaleResult struct {
	name       string
	keys       int64
	fill       time.Duration // to fill the state
	restart    time.Duration // from the start of the process to its first batch
	perBatch   time.Duration
	stateRows  int64
	stateBytes int64
}

// scale measures every case at every size.
func (b *bench) scale(ctx context.Context, sizes []int64) (out []scaleResult, err error) {
	for _, c := range scaleCases {
		if b.only != "" && !strings.Contains(c.name, b.only) {
			continue
		}
		for _, keys := range sizes {
			r, err := b.scaleOne(ctx, c, keys)
			if err != nil {
				return nil, fmt.Errorf("%s with %d keys: %w", c.name, keys, err)
			}
			fmt.Fprintf(os.Stderr, "%-36s %12s keys: filled in %5.1f s, restarted in %4.1f s, %6.2f ms a batch\n", c.name, thousands(keys),
				r.fill.Seconds(), r.restart.Seconds(), float64(r.perBatch)/1e6)
			out = append(out, r)
		}
	}
	return out, nil
}

func (b *bench) scaleOne(ctx context.Context, c scaleCase, keys int64) (r scaleResult, err error) {
	dir, done, err := b.scratch(ctx)
	if err != nil {
		return r, err
	}
	defer done(&err)
	r.name, r.keys = c.name, keys
	for _, name := range []string{"big", "fresh"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return r, err
		}
	}
	if err := scaleInput(ctx, filepath.Join(dir, "big", "1.csv"), fmt.Sprintf("SELECT (i * 7919) %% %d AS k, i AS v FROM range(%d) t(i)", keys, keys)); err != nil {
		return r, err
	}
	if err := os.WriteFile(filepath.Join(dir, "fresh", "0.csv"), []byte("k,v\n"), 0o644); err != nil {
		return r, err
	}
	s, err := b.run(ctx, dir, scalePipeline(c, dir, 500_000))
	if err != nil {
		return r, err
	}
	r.fill = s.took()
	if err := scaleInput(ctx, filepath.Join(dir, "fresh", "1.csv"), fmt.Sprintf("SELECT hash(i) %% %d AS k, i AS v FROM range(%d) t(i)", keys, scaleBatches*scaleRows)); err != nil {
		return r, err
	}
	start, before := time.Now(), s.Batch
	if s, err = b.run(ctx, dir, scalePipeline(c, dir, scaleRows*2)); err != nil { // two sources share the limit
		return r, err
	}
	first, last, err := b.batchTimes(ctx, dir, before)
	if err != nil {
		return r, err
	}
	r.restart, r.perBatch = first.Sub(start), last.Sub(first)/time.Duration(s.Batch-before)
	r.stateRows, r.stateBytes = s.StateRows, s.StateBytes
	return r, nil
}

// batchTimes returns when the first batch after one was planned, and when the last batch was committed.
func (b *bench) batchTimes(ctx context.Context, dir string, after int64) (first, last time.Time, err error) {
	doc, err := b.command(ctx, "log", "show", "bench", "--state-dir", dir, "--json")
	if err != nil {
		return first, last, err
	}
	for d := json.NewDecoder(bytes.NewReader(doc)); d.More(); {
		var r struct {
			Planned   *checkpointlog.Planned   `json:"planned"`
			Committed *checkpointlog.Committed `json:"committed"`
		}
		if err := d.Decode(&r); err != nil {
			return first, last, fmt.Errorf("read the log: %w", err)
		}
		if r.Planned != nil && r.Planned.Batch == after+1 {
			first = r.Planned.At
		}
		if r.Committed != nil {
			last = r.Committed.At
		}
	}
	return first, last, nil
}

func scalePipeline(c scaleCase, dir string, batch int) string {
	source := func(name string) string {
		return fmt.Sprintf("CREATE SOURCE %s (k BIGINT, v BIGINT) WITH (connector = 'file', path = %s);\n", name, literal(filepath.Join(dir, name, "*.csv")))
	}
	return fmt.Sprintf("SET max_batch_rows = %d;\n", batch) + source("big") + source("fresh") + c.sql + "\nCREATE SINK nothing FROM r WITH (connector = 'blackhole');\n"
}

// scaleInput has DuckDB write a query's rows to a CSV file, in place of what was there.
func scaleInput(ctx context.Context, path, query string) error {
	db, err := duck.Open(duck.Options{Threads: 2})
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Exec(ctx, fmt.Sprintf("COPY (%s) TO %s (HEADER, PER_THREAD_OUTPUT false)", query, literal(path)))
}

func reportScale(w *strings.Builder, results []scaleResult) {
	fmt.Fprintf(w, "Batches of %s rows into nothing, in a process that was started anew on the filled state:\n\n", thousands(scaleRows))
	fmt.Fprintln(w, "| what | keys | state rows | state | filled, s | restarted, s | ms a batch | of the smallest |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|")
	base := map[string]time.Duration{}
	for _, r := range results {
		if _, ok := base[r.name]; !ok {
			base[r.name] = r.perBatch
		}
		fmt.Fprintf(w, "| %s | %s | %s | %.0f MB | %.1f | %.1f | %.2f | %.2f |\n", r.name, thousands(r.keys), thousands(r.stateRows), float64(r.stateBytes)/1e6,
			r.fill.Seconds(), r.restart.Seconds(), float64(r.perBatch)/1e6, float64(r.perBatch)/float64(base[r.name]))
	}
}
