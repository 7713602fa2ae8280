package oracle_test

import (
	"testing"
)

// TestFloorWaitsForBothSources: least() skips NULL, so that a UNION ALL's state was evicted by the
// watermark of one source while the other had not sent a row yet.
func TestFloorWaitsForBothSources(t *testing.T) {
	tr := trial{watermark: "ts - INTERVAL '2 seconds'", seed: 5, rows: 150, cut: 20, silent: 12, queries: []namedQuery{{"both",
		"SELECT window_start, count(*) AS c FROM (SELECT window_start FROM tumble(t, ts, INTERVAL '5 seconds') UNION ALL " +
			"SELECT window_start FROM tumble(u, ts, INTERVAL '5 seconds')) GROUP BY window_start"}}}
	if _, err := tr.run(t); err != nil {
		t.Error(err)
	}
}

// TestMonthsDoNotKeepOrder: January 30, 23:59 and January 31, 00:01 become February 29, 23:59 and
// February 29, 00:01, so that the watermark says nothing about what is added a month to.
func TestMonthsDoNotKeepOrder(t *testing.T) {
	shifted := "ts + INTERVAL '29 days 23:59:40'" // the rows' times pass the end of January 30
	tr := trial{watermark: "ts - INTERVAL '4 seconds'", seed: 6, rows: 150, cut: 8, queries: []namedQuery{
		{"plus", "SELECT date_trunc('minute', " + shifted + " + INTERVAL '1 month') AS m, count(*) AS c FROM t GROUP BY 1"},
		{"minus", "SELECT date_trunc('minute', " + shifted + " + INTERVAL '60 days' - INTERVAL '1 month') AS m, count(*) AS c FROM t GROUP BY 1"},
		{"origin", "SELECT time_bucket(INTERVAL '10 seconds', " + shifted + ", INTERVAL '1 month') AS m, count(*) AS c FROM t GROUP BY 1"},
		{"elements", "SELECT m, count(*) AS c FROM (SELECT unnest(range(" + shifted + " - INTERVAL '1 month', " + shifted + ", INTERVAL '20 days')) AS m FROM t) GROUP BY m"},
		{"rising", "SELECT m, count(*) AS c FROM (SELECT unnest(range(time_bucket(INTERVAL '20 seconds', ts), ts, -(-INTERVAL '5 seconds'))) AS m FROM t) GROUP BY m"},
	}}
	if _, err := tr.run(t); err != nil {
		t.Error(err)
	}
}

// TestSourcesOfOnePlainName: the kept inputs of sources are named after their plain letters, and two
// sources can have the same.
func TestSourcesOfOnePlainName(t *testing.T) {
	p := plan(t, "names.sql", `CREATE SOURCE "продажи" (k BIGINT) WITH (connector = 'test');
CREATE SOURCE "клиенты" (k BIGINT, s VARCHAR) WITH (connector = 'test');
CREATE MATERIALIZED VIEW v AS SELECT k, s FROM "клиенты" WHERE k IN (SELECT k FROM "продажи" LIMIT 10%);`)
	names := map[string]bool{}
	for _, s := range p.Program.States {
		if names[s.Name] {
			t.Errorf("two states are named %s", s.Name)
		}
		names[s.Name] = true
	}
	if p.Views[0].Fallback == "" {
		t.Fatal("the view is maintained incrementally now: test another that keeps its input")
	}
	if len(names) != 3 {
		t.Errorf("states %v: want two kept inputs and the view", names)
	}
}
