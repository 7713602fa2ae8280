package oracle_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"testing"
)

var record = flag.Bool("record", false, "rewrite planner/testdata/bound/plans.json")

// boundQueries are the queries whose bound plans the planner's own tests read, without DuckDB.
var boundQueries = []string{
	"SELECT k, v + 1, -v, NOT b, s || 'it''s', v IN (1, 2), s IS NULL, coalesce(s, 'x'), CASE WHEN v > 1 THEN s ELSE 'n' END FROM t",
	"SELECT 1, -7, 9223372036854775807, 1.50, -0.01, 2.5e0, 1e300, 'a', NULL, true, 170141183460469231731687303715884105727::HUGEINT FROM t",
	"SELECT TRY_CAST(s AS INTEGER), v::DECIMAL(10,2), {'a': v, 'b c': s}, l[1], len(s), d % 2.5 FROM t",
	"SELECT list_transform(l, lambda x: x + v), list_transform(l, lambda x: len(list_filter(l, lambda y: y > x))) FROM t",
	"SELECT count(*), sum(v) FILTER (b), count(DISTINCT s), string_agg(s, ';' ORDER BY v DESC NULLS LAST, s), quantile_cont(f, 0.25), quantile_disc(v, [0.1, 0.9]) FROM t",
	"SELECT ts, time_bucket(INTERVAL '10 seconds', ts), date_trunc('hour', ts), ts + INTERVAL '1 day', ts - INTERVAL '1 month', INTERVAL '1 day' + ts, ts::DATE, TRY_CAST(ts AS DATE), " +
		"greatest(ts, ts), date_trunc(s, ts), time_bucket(INTERVAL '1 day', ts, INTERVAL '1 month'), time_bucket(INTERVAL '1 day', ts, TIMESTAMP '2000-01-01'), strftime(ts, '%H')::INTEGER, v, coalesce(ts, ts) FROM t",
	"SELECT b.x + 1, b.x FROM (SELECT v * 2 AS x, k FROM t) b",
	"SELECT b.x + b.x FROM (SELECT v * 2 AS x, k FROM t) b",
	"SELECT count(*) FROM (SELECT v + 1 AS x, k FROM t)",
	"SELECT k, sum(x) FROM (SELECT k, s, v + 1 AS x FROM t) GROUP BY k",
}

// TestRecordedPlans checks that DuckDB still binds these queries as recorded; -record writes them anew.
func TestRecordedPlans(t *testing.T) {
	const path = "../../planner/testdata/bound/plans.json"
	sc := newScreen(t)
	ctx := context.Background()
	if err := sc.conn.Exec(ctx, "CREATE OR REPLACE TABLE t (k BIGINT, v BIGINT, s VARCHAR, b BOOLEAN, d DECIMAL(10,2), f DOUBLE, ts TIMESTAMP, l INTEGER[])"); err != nil {
		t.Fatal(err)
	}
	plans := map[string]json.RawMessage{}
	for _, q := range boundQueries {
		doc, err := sc.conn.SerializePlan(ctx, q)
		if err != nil {
			t.Fatalf("%v\n%s", err, q)
		}
		plans[q] = doc
	}
	var got bytes.Buffer
	e := json.NewEncoder(&got)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(plans); err != nil {
		t.Fatal(err)
	}
	if *record {
		if err := os.MkdirAll("../../planner/testdata/bound", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got.Bytes()) {
		t.Errorf("DuckDB binds the recorded queries differently; if the planner's tests agree, run go test ./internal/oracle -run TestRecordedPlans -record")
	}
}
