package oracle_test

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/oracle/oracletest"
	"github.com/sluice-sql/sluice/planner"
)

// views exercises every operator; {{name}} prefixes make the CREATE statements.
var views = map[string]string{
	"filter_project":  `SELECT k, v * 2 AS v2, CASE WHEN s LIKE 'a%' THEN 'x' ELSE upper(s) END AS u, date_trunc('minute', ts) AS m FROM t WHERE v BETWEEN 1 AND 30 AND s IN ('a', 'b', 'ab')`,
	"lambdas":         `SELECT k, list_transform(l, lambda x: x + v) AS lt, l[1] AS first_one, {'a': k, 'b': s} AS st, len(l) AS n FROM t`,
	"unnest_from":     `SELECT t.k, x FROM t, unnest(t.l) q(x) WHERE x > 1`,
	"unnest_left":     `SELECT t.k, x FROM t LEFT JOIN unnest(t.l) q(x) ON true`,
	"unnest_select":   `SELECT k, unnest(l) AS x, unnest([1, 2]) AS y FROM t`,
	"union_all":       `SELECT k, v FROM t UNION ALL SELECT v, k FROM t WHERE k > 2`,
	"union_distinct":  `SELECT k FROM t UNION SELECT v % 5 FROM t`,
	"distinct_rows":   `SELECT DISTINCT k, s FROM t`,
	"totals":          `SELECT count(*) AS c, sum(v) AS sv, avg(v) AS av, min(s) AS mn, max(f) AS mx, approx_count_distinct(v) AS acd FROM t`,
	"empty_total":     `SELECT count(*) AS c, sum(v) AS sv, list(v) AS l FROM t WHERE v > 1000000`,
	"grouped":         `SELECT k, count(*) AS c, count(v) AS cv, sum(v) AS sv, sum(d) AS sd, avg(d) AS ad, avg(v) AS av, min(v) AS mn, max(s) AS mx FROM t GROUP BY k`,
	"filtered_aggs":   `SELECT k, count(*) FILTER (v > 10) AS c, sum(v) FILTER (s = 'a') AS sv, avg(f) FILTER (f > 0) AS af, count(DISTINCT s) FILTER (v > 5) AS cd FROM t GROUP BY k`,
	"float_aggs":      `SELECT k, sum(f) AS sf, avg(f) AS af, stddev(f) AS sd, var_pop(f) AS vp, stddev_pop(v) AS sp FROM t GROUP BY k`,
	"booleans":        `SELECT k, bool_and(v > 3) AS a, bool_or(v > 30) AS o, bit_and(v) AS ba, bit_or(v) AS bo, bit_xor(v) AS bx FROM t GROUP BY k`,
	"ordered":         `SELECT k, first(v) AS fv, last(s) AS ls, any_value(s) AS av, arg_max(s, v) AS am, arg_min(v, ts) AS an FROM t GROUP BY k`,
	"recomputed":      `SELECT k, median(v) AS md, quantile_cont(f, 0.25) AS q, quantile_disc(v, [0.1, 0.9]) AS qd, mode(s) AS mo, histogram(s) AS h, mad(v) AS m FROM t GROUP BY k`,
	"lists":           `SELECT k, list(v) AS lv, string_agg(s, ';' ORDER BY v DESC, s) AS sa, array_agg(s ORDER BY ts, s, v) AS aa FROM t GROUP BY k`,
	"distinct_counts": `SELECT s, count(DISTINCT k) AS ck, count(DISTINCT v) AS cv, sum(DISTINCT v) AS sd, count(*) AS c FROM t GROUP BY s`,
	"group_filter":    `SELECT k, s, count(*) AS c FROM t GROUP BY k, s HAVING count(*) > 2 AND sum(v) > 40`,
	"by_expression":   `SELECT v % 3 AS g, upper(s) AS u, max(v) - min(v) AS spread FROM t GROUP BY ALL`,
	"nested":          `SELECT c, count(*) AS groups, sum(sv) AS total, avg(sv) AS mean FROM (SELECT k, s, count(*) AS c, sum(v) AS sv FROM t GROUP BY k, s) GROUP BY c`,
	"nested_extremes": `SELECT min(c) AS mn, max(c) AS mx, max(sv) AS ms, count(DISTINCT c) AS cd, bool_or(c > 3) AS bo FROM (SELECT k, count(*) AS c, sum(v) AS sv FROM t GROUP BY k)`,
	"nested_having":   `SELECT c, count(*) AS n FROM (SELECT k, count(*) AS c FROM t GROUP BY k HAVING count(*) < 20) GROUP BY c HAVING count(*) > 1`,
	"nested_median":   `SELECT c % 2 AS parity, median(sv) AS m, list(sv ORDER BY sv) AS l FROM (SELECT v, count(*) AS c, sum(d) AS sv FROM t GROUP BY v) GROUP BY 1`,
	"nested_keyless":  `SELECT c, sv % 7 AS r FROM (SELECT k, s, count(*) AS c, sum(v) AS sv FROM t GROUP BY k, s)`,
	"nested_union":    `SELECT k, sum(c) AS c FROM (SELECT k, count(*) AS c FROM t GROUP BY k UNION ALL SELECT v, 1 FROM t WHERE v < 10) GROUP BY k`,
	"thrice":          `SELECT n, count(*) AS m FROM (SELECT c, count(*) AS n FROM (SELECT k, s, count(*) AS c FROM t GROUP BY k, s) GROUP BY c) GROUP BY n`,
	"tumbling":        `SELECT window_start, window_end, k, count(*) AS c, sum(v) AS sv FROM tumble(t, ts, INTERVAL '10 seconds') GROUP BY ALL`,
	"hopping":         `SELECT window_start, count(*) AS c, count(DISTINCT k) AS ck, first(v) AS fv, median(v) AS m FROM hop(t, ts, INTERVAL '2 seconds', INTERVAL '10 seconds') GROUP BY window_start`,
	"cumulating":      `SELECT window_end, k, max(v) AS mx FROM cumulate(t, ts, INTERVAL '5 seconds', INTERVAL '20 seconds') GROUP BY ALL`,
	"sessions":        `SELECT k, window_start, window_end, count(*) AS c, sum(v) AS sv, min(s) AS mn, max(f) AS mx, avg(d) AS ad, bool_or(v > 20) AS bo FROM session(t, ts, INTERVAL '2 seconds', k) GROUP BY ALL`,
	"session_ends":    `SELECT window_end, k, bit_xor(v) AS bx FROM session(t, ts, INTERVAL '1500 milliseconds', k) GROUP BY ALL`,
	"session_starts":  `SELECT DISTINCT window_start - INTERVAL '1 second' AS w, window_start, k FROM session(t, ts, INTERVAL '3 seconds', k)`,
	"session_having":  `SELECT s, window_start, count(*) AS c FROM session(t, ts, INTERVAL '2 seconds', s) WHERE v > 3 GROUP BY ALL`,
	"session_of_all":  `SELECT window_start, window_end, count(*) AS c FROM session(t, ts, INTERVAL '250 milliseconds', 0) GROUP BY ALL HAVING count(*) > 1`,
	"session_nested":  `SELECT k, count(*) AS n, max(c) AS mx FROM (SELECT k, window_start, count(*) AS c FROM session(t, ts, INTERVAL '2 seconds', k) GROUP BY ALL) GROUP BY k`,
	"session_rows":    `SELECT k, v, window_start, window_end FROM session(t, ts, INTERVAL '2 seconds', k)`,
	"session_lists":   `SELECT k, window_start, list(v ORDER BY v) AS l FROM session(t, ts, INTERVAL '2 seconds', k) GROUP BY ALL`,
	"hourly":          `SELECT date_trunc('minute', ts) AS minute, s, count(*) AS c, list(v) AS l FROM t GROUP BY 1, 2`,
	"window_nested":   `SELECT window_start, max(c) AS mx FROM (SELECT window_start, k, count(*) AS c FROM tumble(t, ts, INTERVAL '10 seconds') GROUP BY ALL) GROUP BY window_start`,
	"joined":          `SELECT a.k, count(*) AS c FROM t a JOIN t b ON a.k = b.k AND a.v < b.v GROUP BY a.k`,
	"top":             `SELECT k, v FROM t ORDER BY v DESC, k, ts LIMIT 7`,
	"ranked":          `SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY ts, v) AS r FROM t QUALIFY r <= 2`,
	"rolled_up":       `SELECT k, s, count(*) AS c FROM t GROUP BY ROLLUP (k, s)`,
	"first_rows":      `SELECT k, v FROM t LIMIT 5`,
	"some_rows":       `SELECT count(*) AS c FROM (SELECT k FROM t LIMIT 30%)`,
	"cte":             `WITH a AS (SELECT k, count(*) AS c FROM t GROUP BY k) SELECT a.k, a.c, b.c AS d FROM a, a b WHERE a.c = b.c + 1`,
}

// incremental lists the views that must not fall back to full recompute.
var recomputedInFull = map[string]bool{"some_rows": true}

const sourceSQL = `CREATE SOURCE t (k BIGINT, s VARCHAR, v BIGINT, d DECIMAL(10,2), f DOUBLE, ts TIMESTAMP, l INTEGER[]%s) WITH (connector = 'test');
`

func pipelineText(watermark string) string {
	var b strings.Builder
	fmt.Fprintf(&b, sourceSQL, watermark)
	for name, q := range views {
		fmt.Fprintf(&b, "CREATE MATERIALIZED VIEW %q AS %s;\n", name, q)
	}
	return b.String()
}

// rowsQuery makes n rows over small domains, with NULLs, duplicates and out-of-order times.
func rowsQuery(n int, seed int64) string {
	return fmt.Sprintf(`WITH h AS (SELECT i, (hash(i * 31 + %[2]d) >> 3)::UBIGINT AS a, (hash(i * 17 + %[2]d + 5) >> 3)::UBIGINT AS b FROM range(%[1]d) r(i))
SELECT CASE WHEN a %% 11 = 0 THEN NULL ELSE (a %% 6)::BIGINT END AS k,
  CASE WHEN b %% 9 = 0 THEN NULL ELSE ['a', 'b', 'ab', 'long text that is not inlined', 'é'][(b %% 5)::INT + 1] END AS s,
  CASE WHEN (a >> 8) %% 13 = 0 THEN NULL ELSE ((a >> 8) %% 40)::BIGINT END AS v,
  (((b >> 8) %% 10000)::DOUBLE / 100)::DECIMAL(10, 2) AS d,
  CASE WHEN (b >> 20) %% 15 = 0 THEN NULL ELSE ((b >> 20) %% 1000)::DOUBLE / 7 - 60 END AS f,
  CASE WHEN (a >> 30) %% 29 = 0 THEN NULL ELSE TIMESTAMP '2020-01-01 00:00:00' + to_seconds(i * 0.3) - to_seconds(((a >> 30) %% 9)::DOUBLE) END AS ts,
  CASE WHEN (b >> 30) %% 5 = 0 THEN NULL ELSE range(((b >> 30) %% 4)::INT)::INTEGER[] END AS l,
  i::BIGINT AS _seq
FROM h ORDER BY i`, n, seed)
}

// TestViewsEqualOneShot runs every view over random rows, cut into random batches, and compares it with
// one-shot DuckDB after every batch: straight, and with the engine failing and starting again.
func TestViewsEqualOneShot(t *testing.T) {
	for i, tc := range []struct {
		name, watermark string
		fail            bool
	}{
		{"straight", "", false},
		{"restarted", "", true},
		{"watermark", ", WATERMARK FOR ts AS ts - INTERVAL '4 seconds'", false},
		{"watermark restarted", ", WATERMARK FOR ts AS ts - INTERVAL '4 seconds'", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := plan(t, "views.sql", pipelineText(tc.watermark))
			for _, v := range p.Views {
				if (v.Fallback != "") != recomputedInFull[v.Name] {
					t.Errorf("view %s: fallback %q", v.Name, v.Fallback)
				}
			}
			check(t, p, int64(i+1), tc.fail)
		})
	}
}

// check runs one seed; the seed repeats it.
func check(t *testing.T, p *planner.Pipeline, seed int64, fail bool) {
	t.Helper()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewSource(seed))
	src := &rowsSource{rows: generate(t, rowsQuery(300, seed)), cut: func() int64 { return 1 + int64(rng.Intn(60)) }}
	sources := map[string]*rowsSource{"t": src}
	sink := newSink(t, p, sources)
	oracletest.Run(t, config(t, p, sources, sink), sink, oracletest.Options{Rand: rng, Fail: fail, Replay: fail})
	if sink.Commits < 5 {
		t.Errorf("only %d batches were compared", sink.Commits)
	}
}
