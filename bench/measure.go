package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/sluice-sql/sluice/internal/kafkatest"
)

// A query is answered by both sides. Its digest is an expression that sums the answer up.
type query struct {
	name        string
	sql, digest string
	input       input
}

// A variant is one way to have sluice answer a query.
type variant struct {
	query
	how string
	// stdout sends the changes to /dev/null instead of PostgreSQL, and the answer is not compared.
	stdout       bool
	maxBatchRows int
}

func (v variant) name() string { return v.query.name + v.how }

// windowedBids is an aggregate in tumbling windows.
func windowedBids(bids input) query {
	return query{"bids by auction and window", `SELECT window_start, auction, count(*) AS bids, sum(price) AS turnover, max(price) AS highest
FROM tumble(bid, date_time, INTERVAL '10 seconds')
GROUP BY window_start, auction`, "count(*), sum(bids), sum(turnover), sum(highest), max(highest)", bids}
}

// plan lists what is measured; the first variant is the one that the goal speaks of.
func (b *bench) plan(bids input) {
	windowed := windowedBids(bids)
	total := query{"one total row over the bids", "SELECT count(*) AS bids, sum(price) AS turnover, max(price) AS highest FROM bid",
		"sum(bids), sum(turnover), max(highest)", bids}
	b.queries = []query{windowed, total}
	b.variants = []variant{
		{query: windowed},
		{query: windowed, how: ", batches of 20,000 rows", maxBatchRows: 20_000},
		{query: windowed, how: ", batches of 500,000 rows", maxBatchRows: 500_000},
		{query: windowed, how: ", changes to /dev/null", stdout: true},
		{query: total},
	}
	if b.flights != "" {
		hourly := query{"flights by airport and hour (Parquet)", `SELECT window_start, origin, count(*) AS flights, sum(delay) AS delay, max(delay) AS worst
FROM tumble(flight, date, INTERVAL '1 hour')
GROUP BY window_start, origin`, "count(*), sum(flights), sum(delay), sum(worst)", flights(b.flights)}
		b.queries = append(b.queries, hourly)
		b.variants = append(b.variants, variant{query: hourly})
	}
}

type bench struct {
	options
	work, postgres string
	server         int               // the process of PostgreSQL
	broker         *kafkatest.Server // of the Kafka part

	queries  []query
	variants []variant
	engines  map[string][]engineRun // by the variant's name
	shots    map[shot][]time.Duration

	cpu time.Duration // of the last command
}

type shot struct {
	query   string // its name
	threads int
}

// measure runs everything runs times, taking turns.
func (b *bench) measure(ctx context.Context) error {
	b.engines, b.shots = map[string][]engineRun{}, map[shot][]time.Duration{}
	for run := range b.runs {
		answers := map[string]string{}
		for _, q := range b.queries {
			for _, threads := range []int{1, 2} {
				answer, took, err := oneshot(ctx, q, threads)
				if err != nil {
					return fmt.Errorf("one-shot DuckDB: %w", err)
				}
				answers[q.name] = answer
				b.shots[shot{q.name, threads}] = append(b.shots[shot{q.name, threads}], took)
				b.note(run, fmt.Sprintf("DuckDB, %d threads: %s", threads, q.name), q.input.rows, took)
			}
		}
		for _, v := range b.variants {
			r, err := b.engine(ctx, v)
			if err != nil {
				return err
			}
			if !v.stdout && r.answer != answers[v.query.name] {
				return fmt.Errorf("%s: the tables say %q, one-shot DuckDB %q", v.name(), r.answer, answers[v.query.name])
			}
			b.engines[v.name()] = append(b.engines[v.name()], r)
			b.note(run, "sluice: "+v.name(), v.input.rows, r.took)
		}
	}
	return nil
}

func (b *bench) note(run int, what string, rows int64, took time.Duration) {
	fmt.Fprintf(os.Stderr, "run %d/%d  %-60s %7.2f s  %s rows/s\n", run+1, b.runs, what, took.Seconds(), rate(rows, took))
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
