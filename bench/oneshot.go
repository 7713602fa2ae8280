package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/internal/duck"
)

// bidColumns are declared to both sides.
const bidColumns = `auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR`

// oneshot answers a SELECT over the file with plain DuckDB and returns its digest and how long it took.
// The result is kept in memory, as a table.
func oneshot(ctx context.Context, query, digest, input string, threads int) (answer string, took time.Duration, err error) {
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
	setup := fmt.Sprintf(`CREATE MACRO tumble(t, ts, size) AS TABLE SELECT *, time_bucket(size, ts) AS window_start, time_bucket(size, ts) + size AS window_end FROM query_table(t);
CREATE VIEW bid AS SELECT * FROM read_json('%s', format = 'newline_delimited', columns = {%s})`,
		strings.ReplaceAll(input, "'", "''"), columnsOf(bidColumns))
	if err := conn.Exec(ctx, setup); err != nil {
		return "", 0, err
	}
	start := time.Now()
	if err := conn.Exec(ctx, "CREATE TEMP TABLE result AS "+query); err != nil {
		return "", 0, err
	}
	took = time.Since(start)
	answer, _, err = conn.QueryValue(ctx, "SELECT concat_ws(' ', "+digest+") FROM result")
	return answer, took, err
}

// columnsOf turns a column list into the body of a struct literal, as read_json takes it.
func columnsOf(list string) string {
	var items []string
	for _, column := range strings.Split(list, ", ") {
		name, typ, _ := strings.Cut(column, " ")
		items = append(items, fmt.Sprintf("%s: '%s'", name, typ))
	}
	return strings.Join(items, ", ")
}
