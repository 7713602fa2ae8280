package oracle_test

import (
	"fmt"
	"math/rand"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/oracle/oracletest"
	"github.com/sluice-sql/sluice/planner"
)

// A construct is a row of the class table in docs/sql.md. Class is what the planner must make of the
// example; the rest of the row is read from its plan, so that the table says what the code does.
type construct struct {
	sql, class string
	// example is a query over the sources of constructSources, or a whole pipeline if it has a semicolon.
	example string
}

// constructs is the class table: a new rule adds a line here and runs
// go test ./internal/oracle -run TestClassTable -update.
var constructs = []construct{
	{"filters, projections, expressions, `CASE`, lambdas", "linear", `SELECT k, v * 2 AS d, CASE WHEN s IS NULL THEN 'none' ELSE upper(s) END AS u, list_transform(l, lambda x: x + v) AS lt FROM t WHERE v > 3`},
	{"`unnest` in `SELECT` or `FROM` (lateral)", "linear", `SELECT t.k, x FROM t, unnest(t.l) q(x)`},
	{"`UNION ALL`", "linear", `SELECT k, v FROM t UNION ALL SELECT k, v FROM u`},
	{"`tumble`, `hop`, `cumulate`", "linear", `SELECT window_start, k, v FROM hop(t, ts, INTERVAL '2 seconds', INTERVAL '10 seconds')`},
	{"windowed `GROUP BY` on an event time with a watermark", "stateful", `SELECT window_start, k, count(*) AS n FROM tumble(e, ts, INTERVAL '10 seconds') GROUP BY ALL`},
	{"`session` with `GROUP BY` its key and bounds", "stateful", `SELECT k, window_start, window_end, count(*) AS n, max(v) AS m FROM session(e, ts, INTERVAL '2 seconds', k) GROUP BY ALL`},
	{"`session` in other queries", "touched-partition", `SELECT k, v, window_start FROM session(t, ts, INTERVAL '2 seconds', k)`},
	{"`GROUP BY` of columns, expressions, aliases, `ALL`; `HAVING`; `FILTER`", "stateful", `SELECT v % 3 AS g, count(*) FILTER (v > 5) AS c FROM t GROUP BY g HAVING count(*) > 2`},
	{"totals without `GROUP BY`", "stateful", `SELECT count(*) AS c, sum(v) AS sv FROM t`},
	{"`count`, `sum`, `avg`, `bool_*`, `count_if`", "stateful", `SELECT k, count(v) AS c, sum(v) AS sv, avg(d) AS ad, bool_or(v > 3) AS b, count_if(v > 3) AS ci FROM t GROUP BY k`},
	{"the same over rows that change", "stateful", `SELECT c, count(*) AS n, sum(sv) AS s, avg(sv) AS a FROM (SELECT k, s, count(*) AS c, sum(v) AS sv FROM t GROUP BY k, s) GROUP BY c`},
	{"`min`, `max`, `stddev`, `variance`, `bit_*`, `first`, `last`, `any_value`, `arg_min`, `arg_max` over append-only input", "stateful",
		`SELECT k, min(v) AS mn, max(s) AS mx, stddev(v) AS sd, bit_or(v) AS bo, first(v) AS f, arg_max(s, v) AS am FROM t GROUP BY k`},
	{"`min`, `max` and the like over rows that change", "touched-partition", `SELECT max(c) AS mx FROM (SELECT k, count(*) AS c FROM t GROUP BY k)`},
	{"`count(DISTINCT x)`, with `FILTER`s a row for all", "stateful", `SELECT k, count(DISTINCT v) AS c, count(DISTINCT v) FILTER (f > 0) AS p FROM t GROUP BY k`},
	{"every other aggregate: `median`, `quantile`, `mode`, `corr`, `list`, `string_agg`, `histogram`, … with `DISTINCT` and `ORDER BY`", "touched-partition",
		`SELECT k, median(v) AS m, list(v ORDER BY v) AS l, sum(DISTINCT v) AS sd FROM t GROUP BY k`},
	{"`SELECT DISTINCT`", "stateful", `SELECT DISTINCT k, s FROM t`},
	{"`UNION`", "stateful", `SELECT k FROM t UNION SELECT v FROM u`},
	{"`DISTINCT ON`", "touched-partition", `SELECT DISTINCT ON (k) k, v FROM t ORDER BY k, v DESC`},
	{"`GROUPING SETS`, `ROLLUP`, `CUBE`, `grouping()`", "stateful", `SELECT k, s, count(*) AS c, grouping(k) AS g FROM t GROUP BY CUBE (k, s)`},
	{"inner joins with an equality, `USING`, `NATURAL`, comma and self joins", "stateful", `SELECT t.k, t.v, u.v AS uv FROM t JOIN u ON t.k = u.k AND t.v < u.v`},
	{"inner joins of windows with watermarks", "stateful",
		`SELECT a.window_start, a.k, b.v FROM tumble(e, ts, INTERVAL '10 seconds') a JOIN tumble(e, ts, INTERVAL '10 seconds') b ON a.window_start = b.window_start AND a.k = b.v`},
	{"joins within an interval of event time, with watermarks: `INNER`, `LEFT`, `RIGHT`, `FULL`, `SEMI`, `ANTI`", "touched-partition",
		`SELECT a.k, a.v, b.v AS w FROM e a LEFT JOIN e b ON a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '3 seconds' AND a.ts + INTERVAL '2 seconds'`},
	{"cross joins, and inner joins on no equality", "stateful", `SELECT a.k, b.k AS bk FROM t a JOIN u b ON a.k < b.k`},
	{"`LEFT`, `RIGHT`, `FULL` joins", "touched-partition", `SELECT t.k, t.v, u.v AS uv FROM t FULL JOIN u ON t.k = u.k AND t.v = u.v`},
	{"`SEMI`, `ANTI` joins", "touched-partition", `SELECT t.k, t.v FROM t ANTI JOIN u ON t.k = u.k AND t.v = u.v`},
	{"inner, `LEFT`, `SEMI`, `ANTI` joins with a table in a file", "linear", `CREATE SOURCE s (k BIGINT) WITH (connector = 'test');
CREATE TABLE names (k BIGINT, name VARCHAR) WITH (connector = 'file', path = 'x.csv');
CREATE MATERIALIZED VIEW v AS SELECT s.k, n.name FROM s LEFT JOIN names n ON s.k = n.k;`},
	{"joins with a table in PostgreSQL, whose rows change", "touched-partition", `CREATE SOURCE s (k BIGINT) WITH (connector = 'test');
CREATE TABLE names (k BIGINT, name VARCHAR, PRIMARY KEY (k) NOT ENFORCED) WITH (connector = 'postgres_lookup', table = 'names', poll_interval = '1 minute');
CREATE MATERIALIZED VIEW v AS SELECT s.k, n.name FROM s LEFT JOIN names n ON s.k = n.k;`},
	{"`WHERE [NOT] EXISTS`", "touched-partition", `SELECT k, v FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.k = t.k)`},
	{"`WHERE x IN (SELECT …)`", "touched-partition", `SELECT k, v FROM t WHERE v IN (SELECT v FROM u)`},
	{"`WHERE x NOT IN (SELECT …)`", "touched-partition", `SELECT k, v FROM t WHERE v NOT IN (SELECT v FROM u)`},
	{"`IN`, `NOT IN`, `EXISTS` anywhere in an expression", "touched-partition", `SELECT k, v IN (SELECT v FROM u) AS found FROM t`},
	{"`x > ANY (SELECT …)`, `x > ALL (SELECT …)` and the like", "stateful", `SELECT k, v > ALL (SELECT v FROM u WHERE v < 9) AS above FROM t`},
	{"scalar subqueries", "touched-partition", `SELECT k, v FROM t WHERE v > (SELECT avg(v) FROM u)`},
	{"correlated subqueries", "touched-partition", `SELECT k, v, (SELECT max(v) FROM u WHERE u.k = t.k) AS m FROM t`},
	{"subqueries that are `LATERAL`, with `LIMIT` or without", "touched-partition", `SELECT t.k, x.v FROM t, LATERAL (SELECT v FROM u WHERE u.k = t.k ORDER BY v LIMIT 2) x`},
	{"`ASOF` joins: inner, `LEFT`, `SEMI`, `ANTI`", "touched-partition",
		`SELECT a.k, a.v, b.ts FROM (FROM t WHERE ts IS NOT NULL) a ASOF JOIN (FROM u WHERE ts IS NOT NULL) b ON a.k = b.k AND a.ts >= b.ts`},
	{"`ASOF RIGHT` and `ASOF FULL` joins", "full", `SELECT t.k, t.v, u.v AS uv FROM t ASOF FULL JOIN u ON t.k = u.k AND t.ts >= u.ts`},
	{"window functions with any frame, `QUALIFY`", "touched-partition", `SELECT k, v, sum(v) OVER (PARTITION BY k ORDER BY ts) AS s FROM t`},
	{"window functions without `PARTITION BY`", "touched-partition", `SELECT k, v, rank() OVER (ORDER BY v) AS r FROM t`},
	{"`row_number`, `rank`, `dense_rank` … `<= n` over append-only input", "touched-partition", `SELECT k, v FROM t QUALIFY row_number() OVER (PARTITION BY k ORDER BY v DESC) <= 2`},
	{"the same over rows that change", "touched-partition", `SELECT s, k, c FROM (SELECT s, k, count(*) AS c FROM t GROUP BY s, k) QUALIFY row_number() OVER (PARTITION BY s ORDER BY c DESC, k) = 1`},
	{"`ORDER BY … LIMIT`", "touched-partition", `SELECT k, v FROM t ORDER BY v DESC, k LIMIT 5`},
	{"`LIMIT`, `OFFSET` and `DISTINCT ON` without `ORDER BY`, over a source's rows: in arrival order", "touched-partition", `SELECT k, v FROM t WHERE v > 3 LIMIT 5`},
	{"`LIMIT` without `ORDER BY` over rows that change, with a percentage or an expression", "full", `SELECT k, v FROM t LIMIT 5%`},
	{"`EXCEPT`, `INTERSECT`", "stateful", `SELECT k FROM t EXCEPT SELECT k FROM u`},
	{"`EXCEPT ALL`, `INTERSECT ALL`", "stateful", `SELECT k FROM t INTERSECT ALL SELECT k FROM u`},
	{"common table expressions, used once or more", "stateful", `WITH a AS (SELECT k, count(*) AS c FROM t GROUP BY k) SELECT x.k, y.k AS yk FROM a x JOIN a y ON x.c = y.c`},
	{"recursive queries", "full", `WITH RECURSIVE r AS (SELECT k FROM t UNION SELECT k + 1 FROM r WHERE k < 5) SELECT k FROM r`},
	{"views over views, and parts that several views have in common: once for all", "stateful",
		constructSources + `CREATE VIEW per_k AS SELECT k, count(*) AS c, sum(v) AS sv FROM t GROUP BY k;
CREATE MATERIALIZED VIEW busy AS SELECT k, c FROM per_k WHERE c > 3;
CREATE MATERIALIZED VIEW rich AS SELECT k, sv FROM per_k WHERE sv > 100;`},
	{"`EMIT ON WINDOW CLOSE`", "stateful", constructSources +
		`CREATE MATERIALIZED VIEW v AS SELECT window_end, k, count(*) AS n FROM tumble(e, ts, INTERVAL '10 seconds') GROUP BY ALL EMIT ON WINDOW CLOSE;`},
	{"sources with a `PRIMARY KEY`", "linear", `CREATE SOURCE s (k BIGINT, v BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH (connector = 'test');
CREATE MATERIALIZED VIEW x AS SELECT k, v FROM s WHERE v > 3;`},
	{"sources of changes without a key", "linear", `CREATE SOURCE s (k BIGINT, v BIGINT) WITH (connector = 'test', format = 'changelog');
CREATE MATERIALIZED VIEW x AS SELECT k, v FROM s WHERE v > 3;`},
	{"with `SET state_ttl`: inner joins and `GROUP BY` of rows that are only inserted", "stateful", `SET state_ttl = '1 day';
CREATE SOURCE s (k BIGINT, v BIGINT) WITH (connector = 'test');
CREATE MATERIALIZED VIEW x AS SELECT k, count(*) AS n FROM s GROUP BY k;`},
	{"lists over joins, with `ORDER BY` of what they list", "touched-partition", `SELECT t.k, list(u.v ORDER BY u.v) AS l FROM t JOIN u ON t.k = u.k AND t.s = u.s GROUP BY t.k`},
	{"lists over joins, without an order", "full", `SELECT t.k, list(u.v) AS l FROM t JOIN u ON t.k = u.k GROUP BY t.k`},
}

// constructSources are t and u, whose rows come in no order, and e, the same with a watermark.
var constructSources = fmt.Sprintf(sourceSQL, "") + strings.Replace(fmt.Sprintf(sourceSQL, ""), "SOURCE t ", "SOURCE u ", 1) +
	strings.Replace(fmt.Sprintf(sourceSQL, ", WATERMARK FOR ts AS ts - INTERVAL '4 seconds'"), "SOURCE t ", "SOURCE e ", 1)

func (c construct) pipeline() string {
	if strings.Contains(c.example, ";") {
		return c.example
	}
	return constructSources + "CREATE MATERIALIZED VIEW x AS " + c.example + ";"
}

// TestClassTable plans the example of every construct, compares its class, and compares the table in
// docs/sql.md with what the plans say; -update writes the table.
func TestClassTable(t *testing.T) {
	var b strings.Builder
	b.WriteString("| SQL | class | state |\n|---|---|---|\n")
	for _, c := range constructs {
		p := plan(t, "construct.sql", c.pipeline())
		class, rules := classOf(p)
		if class != c.class {
			t.Errorf("%s is %s, and the table says %s\n%s\n%s", c.sql, class, c.class, c.example, p.Views[0].Fallback)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", c.sql, strings.Join(append([]string{class}, rules...), ": "), statesOf(p))
	}
	const path = "../../docs/sql.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	marked := regexp.MustCompile(`(?s)(<!-- classes: .*? -->\n).*?(<!-- end of classes -->\n)`)
	if !marked.Match(text) {
		t.Fatalf("%s has no markers around the class table", path)
	}
	got := marked.ReplaceAllString(string(text), "${1}"+strings.ReplaceAll(b.String(), "$", "$$")+"${2}")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(string(text), got); diff != "" {
		t.Errorf("the class table is not what the planner does (-document +now; -update writes it):\n%s", diff)
	}
}

var classes = []string{"linear", "stateful", "touched-partition", "full"}

// ruleNotes are how explain says that a call is maintained.
var ruleNotes = regexp.MustCompile(`\[(merge partials|count values|recompute touched groups)`)

// classOf is the most expensive class of the operators of a pipeline's views, and the rules of the calls.
func classOf(p *planner.Pipeline) (string, []string) {
	worst, rules := 0, []string{}
	var visit func(*planner.Explain)
	visit = func(ex *planner.Explain) {
		worst = max(worst, slices.Index(classes, ex.Class))
		for _, m := range ruleNotes.FindAllStringSubmatch(ex.Detail, -1) {
			if !slices.Contains(rules, m[1]) {
				rules = append(rules, m[1])
			}
		}
		for _, ch := range ex.Children {
			visit(ch)
		}
	}
	for _, v := range p.Views {
		visit(v.Explain)
	}
	if len(rules) > 1 {
		rules = []string{strings.Join(rules, ", ")}
	}
	return classes[worst], rules
}

// statesOf says once how each kind of state is read and what bounds it.
func statesOf(p *planner.Pipeline) string {
	var out []string
	for _, s := range p.Program.States {
		text := s.Bound
		if access := p.Program.Access(s); access != "" {
			text = access + ", " + text
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	if len(out) == 0 {
		return "none"
	}
	if slices.ContainsFunc(p.Views, func(v planner.View) bool { return marked(v.Explain) }) {
		out[0] = "**!** " + out[0] // as in explain
	}
	return strings.Join(out, "; ")
}

// TestConstructsEqualOneShot runs the examples together and compares each with one-shot DuckDB after every
// batch.
func TestConstructsEqualOneShot(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(constructSources)
	for i, c := range constructs {
		if !strings.Contains(c.example, ";") && c.class != "full" {
			fmt.Fprintf(&b, "CREATE MATERIALIZED VIEW x%d AS %s;\n", i, c.example)
		}
	}
	p := plan(t, "constructs.sql", b.String())
	rng := rand.New(rand.NewSource(1))
	sources := map[string]*rowsSource{}
	for i, name := range []string{"t", "u", "e"} {
		sources[name] = &rowsSource{rows: generate(t, rowsQuery(100, int64(i+1))), cut: func() int64 { return int64(rng.Intn(30)) }}
	}
	sink := newSink(t, p, sources)
	oracletest.Run(t, config(t, p, sources, sink), sink, oracletest.Options{Rand: rng, Replay: true})
}
