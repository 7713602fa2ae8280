package oracle_test

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/oracle/oracletest"
)

// joins are views over two sources, t and u, of the same columns.
var joins = map[string]string{
	"inner":           `SELECT t.k, t.v, u.v AS uv FROM t JOIN u ON t.k = u.k AND t.v < u.v`,
	"inner_using":     `SELECT * EXCLUDE (f, d, l, ts) FROM (SELECT k, s, v, f, d, l, ts FROM t) JOIN (SELECT k, v AS w FROM u WHERE v > 20) USING (k)`,
	"inner_comma":     `SELECT t.s, u.v FROM t, u WHERE t.v = u.v AND t.k + 1 = u.k AND t.f > 0`,
	"inner_three":     `SELECT a.k, b.v, c.s FROM t a JOIN u b ON a.k = b.k AND a.v = b.v JOIN t c ON b.v = c.v`,
	"self":            `SELECT a.k, a.v, b.v AS bv FROM t a JOIN t b ON a.v = b.v AND a.k < b.k`,
	"cross_small":     `SELECT a.k, b.m FROM (SELECT DISTINCT k FROM t) a, (SELECT max(v) AS m FROM u) b`,
	"non_equi":        `SELECT a.k, b.k AS bk FROM (SELECT DISTINCT k FROM t) a JOIN (SELECT DISTINCT k FROM u) b ON a.k < b.k`,
	"left":            `SELECT t.k, t.v, u.v AS uv FROM t LEFT JOIN u ON t.k = u.k AND t.v = u.v`,
	"left_residual":   `SELECT t.k, t.v, u.v AS uv FROM t LEFT JOIN u ON t.v = u.v AND t.k + u.k > 5`,
	"right_full":      `SELECT t.k, t.s, u.v AS uv FROM t RIGHT JOIN u ON t.v = u.v AND t.s = u.s`,
	"full":            `SELECT t.k, t.v, u.k AS uk, u.v AS uv FROM t FULL JOIN u ON t.v = u.v AND t.k = u.k`,
	"semi":            `SELECT t.k, t.v FROM t SEMI JOIN u ON t.v = u.v AND t.k = u.k`,
	"anti":            `SELECT t.k, t.v FROM t ANTI JOIN u ON t.v = u.v AND t.k = u.k`,
	"in_filter":       `SELECT k, v FROM t WHERE v IN (SELECT v FROM u WHERE k = 3)`,
	"exists_filter":   `SELECT k, v FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.v = t.v AND u.k > t.k)`,
	"not_exists":      `SELECT k, v FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.v = t.v AND u.k = t.k)`,
	"scalar":          `SELECT k, v FROM t WHERE v > (SELECT avg(v) FROM u)`,
	"scalar_corr":     `SELECT k, v, (SELECT max(v) FROM u WHERE u.k = t.k) AS m FROM t`,
	"above_average":   `SELECT k, v FROM t WHERE v > (SELECT avg(u.v) FROM u WHERE u.k = t.k)`,
	"agg_join":        `SELECT a.k, a.c, b.c AS d FROM (SELECT k, count(*) AS c FROM t GROUP BY k) a JOIN (SELECT k, count(*) AS c FROM u GROUP BY k) b ON a.k = b.k`,
	"agg_left":        `SELECT a.k, a.c, b.c AS d FROM (SELECT k, count(*) AS c FROM t GROUP BY k) a LEFT JOIN (SELECT k, count(*) AS c FROM u GROUP BY k HAVING count(*) > 5) b ON a.k = b.k`,
	"agg_full":        `SELECT a.k, b.k AS k2, a.c, b.c AS d FROM (SELECT k, count(*) AS c FROM t GROUP BY k) a FULL JOIN (SELECT v AS k, count(*) AS c FROM u GROUP BY v) b ON a.k = b.k`,
	"join_agg":        `SELECT t.k, count(*) AS c, sum(u.v) AS s, max(t.v) AS m FROM t JOIN u ON t.k = u.k AND t.s = u.s GROUP BY t.k`,
	"left_agg":        `SELECT t.s, count(u.v) AS c, count(*) AS n, sum(u.v) AS su FROM t LEFT JOIN u ON t.v = u.v AND t.k = u.k GROUP BY t.s`,
	"cte_twice":       `WITH a AS (SELECT k, count(*) AS c FROM t GROUP BY k) SELECT x.k, y.k AS yk FROM a x JOIN a y ON x.c = y.c AND x.k < y.k`,
	"max_bid":         `SELECT t.k, t.v, t.s FROM t JOIN (SELECT k, max(v) AS m FROM t GROUP BY k) g ON t.k = g.k AND t.v = g.m`,
	"except_distinct": `SELECT k, v FROM t EXCEPT SELECT k, v FROM u`,
	"except_all":      `SELECT k FROM t EXCEPT ALL SELECT k FROM u`,
	"intersect":       `SELECT v, s FROM t INTERSECT SELECT v, s FROM u`,
	"intersect_all":   `SELECT v FROM t INTERSECT ALL SELECT v FROM u`,
	"first_rows":      `SELECT k, v, s FROM t QUALIFY row_number() OVER (PARTITION BY k ORDER BY v DESC, s, d, f, ts, l) <= 2`,
	"numbered":        `SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v DESC, s, d, f, ts, l) AS r FROM t QUALIFY r <= 3`,
	"ranks":           `SELECT k, v, rank() OVER w AS r, dense_rank() OVER w AS dr FROM t WINDOW w AS (PARTITION BY k ORDER BY v) QUALIFY r < 4`,
	"rank_top":        `SELECT k, v FROM t QUALIFY rank() OVER (PARTITION BY k ORDER BY v DESC) <= 2`,
	"running":         `SELECT k, v, sum(v) OVER (PARTITION BY k ORDER BY ts) AS s, count(*) OVER (PARTITION BY k) AS c FROM t`,
	"frames":          `SELECT k, ts, avg(v) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL 10 SECONDS PRECEDING AND CURRENT ROW) AS a FROM t`,
	"lagged":          `SELECT k, v, lag(v) OVER (PARTITION BY k ORDER BY v, s, d, f, ts, l) AS p FROM t`,
	"top":             `SELECT k, v, s FROM t ORDER BY v DESC NULLS LAST, s, k, d, f, ts, l LIMIT 7`,
	"top_offset":      `SELECT k, v FROM t ORDER BY v, k, s, d, f, ts, l LIMIT 5 OFFSET 3`,
	"top_groups":      `SELECT k, c FROM (SELECT k, count(*) AS c FROM t GROUP BY k) ORDER BY c DESC, k LIMIT 3`,
	"top_per_group":   `SELECT s, k, c FROM (SELECT s, k, count(*) AS c FROM t GROUP BY s, k) QUALIFY row_number() OVER (PARTITION BY s ORDER BY c DESC, k) = 1`,
	"distinct_on":     `SELECT DISTINCT ON (k) k, v, s FROM t ORDER BY k, v DESC, s, d, f, ts, l`,
	"window_join":     `SELECT a.window_start, a.k, u.c FROM tumble(t, ts, INTERVAL '10 seconds') a JOIN (SELECT window_start, k, count(*) AS c FROM tumble(u, ts, INTERVAL '10 seconds') GROUP BY ALL) u ON a.window_start = u.window_start AND a.k = u.k`,
	"window_top":      `SELECT window_start, k, c FROM (SELECT window_start, k, count(*) AS c FROM tumble(t, ts, INTERVAL '10 seconds') GROUP BY ALL) QUALIFY row_number() OVER (PARTITION BY window_start ORDER BY c DESC, k) <= 2`,
	"rollup":          `SELECT k, s, count(*) AS c, sum(v) AS sv, grouping(k, s) AS g FROM t GROUP BY ROLLUP (k, s)`,
	"cube":            `SELECT k % 2 AS p, s, count(DISTINCT v) AS c, median(v) AS m FROM t GROUP BY CUBE (k % 2, s)`,
	"sets":            `SELECT k, s, grouping(s) AS g, max(v) AS m, first(v) AS f FROM t GROUP BY GROUPING SETS ((k, s), (k), (k))`,
	"sets_nested":     `SELECT c, count(*) AS n FROM (SELECT k, s, count(*) AS c FROM t GROUP BY ROLLUP (k, s)) GROUP BY c`,
	"hot_items":       `WITH c AS (SELECT window_start, k, count(*) AS n FROM hop(t, ts, INTERVAL '2 seconds', INTERVAL '10 seconds') GROUP BY ALL), m AS (SELECT window_start, max(n) AS mx FROM c GROUP BY window_start) SELECT c.window_start, c.k, c.n FROM c JOIN m ON c.window_start = m.window_start AND c.n >= m.mx`,
}

// TestJoinsEqualOneShot is TestViewsEqualOneShot over two sources whose rows come in the same batches.
func TestJoinsEqualOneShot(t *testing.T) { equalOneShot(t, joins) }

func equalOneShot(t *testing.T, views map[string]string) {
	t.Helper()
	var names []string
	for name := range views {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, watermark := range []string{"", ", WATERMARK FOR ts AS ts - INTERVAL '4 seconds'"} {
		var b strings.Builder
		fmt.Fprintf(&b, sourceSQL, watermark)
		b.WriteString(strings.Replace(fmt.Sprintf(sourceSQL, watermark), "SOURCE t ", "SOURCE u ", 1))
		for _, name := range names {
			fmt.Fprintf(&b, "CREATE MATERIALIZED VIEW %q AS %s;\n", name, views[name])
		}
		p := plan(t, "joins.sql", b.String())
		for _, v := range p.Views {
			if v.Fallback != "" {
				t.Errorf("view %s: %s", v.Name, v.Fallback)
			}
		}
		seed := int64(i + 1) // the second run is the one that fails and starts again
		t.Logf("watermark %q, seed %d", watermark, seed)
		rng := rand.New(rand.NewSource(seed))
		sources := map[string]*rowsSource{}
		for i, name := range []string{"t", "u"} {
			sources[name] = &rowsSource{rows: generate(t, rowsQuery(120, seed*7+int64(i))), cut: func() int64 { return int64(rng.Intn(40)) }}
		}
		sink := newSink(t, p, sources)
		oracletest.Run(t, config(t, p, sources, sink), sink, oracletest.Options{Rand: rng, Fail: seed > 1, Replay: seed > 1})
	}
}
