package main

import (
	"context"
	"time"

	"github.com/sluice-sql/sluice/internal/duck"
)

// tumble is the window macro as planner/windows.go has it.
const tumble = `CREATE MACRO tumble(t, ts, size) AS TABLE
SELECT *, time_bucket(size, ts) AS window_start, time_bucket(size, ts) + size AS window_end FROM query_table(t);`

// oneshot answers a query with plain DuckDB and returns its digest and how long it took. The result is kept
// in memory, as a table.
func oneshot(ctx context.Context, q query, threads int) (answer string, took time.Duration, err error) {
	db, err := duck.Open(duck.Options{Threads: threads})
	if err != nil {
		return "", 0, err
	}
	defer db.Close()
	conn, err := db.Connect()
	if err != nil {
		return "", 0, err
	}
	defer conn.Close()
	if err := conn.Exec(ctx, tumble+q.input.view); err != nil {
		return "", 0, err
	}
	start := time.Now()
	if err := conn.Exec(ctx, "CREATE TEMP TABLE result AS "+q.sql); err != nil {
		return "", 0, err
	}
	took = time.Since(start)
	answer, _, err = conn.QueryValue(ctx, "SELECT concat_ws(' ', "+q.digest+") FROM result")
	return answer, took, err
}
