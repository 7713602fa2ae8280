package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"
)

const (
	windowed = `SELECT window_start, auction, count(*) AS bids, sum(price) AS turnover, max(price) AS highest
FROM tumble(bid, date_time, INTERVAL '10 seconds')
GROUP BY window_start, auction`
	windowedDigest = "count(*), sum(bids), sum(turnover), sum(highest), max(highest)"
	total          = "SELECT count(*) AS bids, sum(price) AS turnover, max(price) AS highest FROM bid"
	totalDigest    = "sum(bids), sum(turnover), max(highest)"
)

// variants are measured in this order; the first is the one that the goal speaks of.
var variants = []variant{
	{name: "grouped by auction and window", query: windowed, digest: windowedDigest},
	{name: "the same, batches of 20,000 rows", query: windowed, digest: windowedDigest, maxBatchRows: 20_000},
	{name: "the same, batches of 500,000 rows", query: windowed, digest: windowedDigest, maxBatchRows: 500_000},
	{name: "the same, changes to /dev/null instead of PostgreSQL", query: windowed, digest: windowedDigest, stdout: true},
	{name: "one total row", query: total, digest: totalDigest},
}

type bench struct {
	options
	input, work, postgres string

	engines map[string][]engineRun
	// shots holds one-shot times by query and number of threads.
	shots map[shot][]time.Duration
}

type shot struct {
	query   string
	threads int
}

// measure runs everything runs times, taking turns.
func (b *bench) measure(ctx context.Context) error {
	b.engines, b.shots = map[string][]engineRun{}, map[shot][]time.Duration{}
	for run := range b.runs {
		answers := map[string]string{}
		for _, q := range [][2]string{{windowed, windowedDigest}, {total, totalDigest}} {
			for _, threads := range []int{1, 2} {
				answer, took, err := oneshot(ctx, q[0], q[1], b.input, threads)
				if err != nil {
					return fmt.Errorf("one-shot DuckDB: %w", err)
				}
				answers[q[0]] = answer
				b.shots[shot{q[0], threads}] = append(b.shots[shot{q[0], threads}], took)
				b.note(run, fmt.Sprintf("DuckDB, threads = %d", threads), took)
			}
		}
		for _, v := range variants {
			r, err := b.engine(ctx, v)
			if err != nil {
				return err
			}
			if !v.stdout && r.answer != answers[v.query] {
				return fmt.Errorf("%s: the tables say %q, one-shot DuckDB %q", v.name, r.answer, answers[v.query])
			}
			b.engines[v.name] = append(b.engines[v.name], r)
			b.note(run, "sluice, "+v.name, r.took)
		}
	}
	return nil
}

func (b *bench) note(run int, what string, took time.Duration) {
	fmt.Fprintf(os.Stderr, "run %d/%d  %-60s %7.2f s  %s rows/s\n", run+1, b.runs, what, took.Seconds(), rate(b.rows, took))
}

// median of an even number is the lower of the two in the middle.
func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[(len(d)-1)/2]
}

func rate(rows int64, took time.Duration) string {
	r := float64(rows) / took.Seconds()
	if r >= 1e6 {
		return fmt.Sprintf("%.2f M", r/1e6)
	}
	return fmt.Sprintf("%.0f k", r/1e3)
}
