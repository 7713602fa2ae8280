package oracle_test

import (
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/oracle/oracletest"
)

// sharedViews read each other: sub-plans that are equal, wider and narrower, filtered above and below, and a
// view between them that is recomputed in full.
var sharedViews = []struct{ name, query string }{
	{"per_k", `SELECT k, count(*) AS c, sum(v) AS sv, min(s) AS ms FROM t GROUP BY k`},
	{"busy", `SELECT k, c FROM per_k WHERE c > 5`},
	{"same", `SELECT k AS key, c, sv AS total, ms FROM per_k`},
	{"again", `SELECT x.k, x.c FROM (SELECT k, count(*) AS c, sum(v) AS sv, min(s) AS ms FROM t GROUP BY k) x WHERE x.sv > 20`},
	{"rank_k", `SELECT k, c, rank() OVER (ORDER BY c) AS r FROM per_k`},
	{"any_five", `SELECT k, c FROM per_k LIMIT 5`},
	{"pairs", `SELECT t.k, t.v, u.v AS uv, u.s FROM t JOIN u ON t.k = u.k AND t.v < u.v`},
	{"dear", `SELECT v, uv FROM pairs WHERE uv > 20`},
	{"by_s", `SELECT s, count(*) AS c, max(uv) AS m FROM pairs GROUP BY s`},
	{"by_s_top", `SELECT s, m FROM by_s ORDER BY m DESC NULLS LAST, s LIMIT 2`},
	{"left_k", `SELECT a.k, a.c, u.v FROM per_k a LEFT JOIN (SELECT k, v FROM u WHERE v > 30) u ON a.k = u.k`},
	{"numbered", `SELECT k, v, s, ts, row_number() OVER (PARTITION BY k ORDER BY v, s, ts, d, f, l) AS r, count(*) OVER (PARTITION BY k) AS n FROM t`},
	{"newest", `SELECT k, v FROM numbered WHERE r = 1`},
	{"few", `SELECT k, n FROM numbered WHERE n < 10`},
	{"distinct_k", `SELECT DISTINCT k FROM t EXCEPT SELECT k FROM u`},
	{"no_k", `SELECT count(*) AS n FROM (SELECT DISTINCT k FROM t EXCEPT SELECT k FROM u)`},
}

// TestSharedViewsEqualOneShot compares views that share sub-plans with one-shot DuckDB after every batch,
// straight and with the engine failing, and counts what they keep: sharing is why there is so little.
func TestSharedViewsEqualOneShot(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, sourceSQL, "")
	b.WriteString(strings.Replace(fmt.Sprintf(sourceSQL, ""), "SOURCE t ", "SOURCE u ", 1))
	for _, v := range sharedViews {
		fmt.Fprintf(&b, "CREATE MATERIALIZED VIEW %q AS %s;\n", v.name, v.query)
	}
	p := plan(t, "shared.sql", b.String())
	for _, v := range p.Views {
		if (v.Fallback != "") != (v.Name == "any_five") {
			t.Errorf("view %s: fallback %q", v.Name, v.Fallback)
		}
	}
	// One state each: per_k, rank_k, by_s, by_s_top, numbered, no_k; two each: pairs, left_k and EXCEPT, which
	// has DISTINCT below; three: any_five, with both inputs.
	const states = 6 + 2 + 2 + 4 + 3
	if got := len(p.Program.States); got != states {
		t.Errorf("%d states, want %d", got, states)
		for _, s := range p.Program.States {
			t.Log(s.Name)
		}
	}
	for seed := int64(1); seed <= 2; seed++ {
		rng := rand.New(rand.NewSource(seed))
		sources := map[string]*rowsSource{}
		for i, name := range []string{"t", "u"} {
			sources[name] = &rowsSource{rows: generate(t, rowsQuery(150, seed*7+int64(i))), cut: func() int64 { return int64(rng.Intn(40)) }}
		}
		sink := newSink(t, p, sources)
		oracletest.Run(t, config(t, p, sources, sink), sink, oracletest.Options{Rand: rng, Fail: seed > 1, Replay: seed > 1})
	}
}

// TestViewsOverViewsEqualOneShot reads every view of the other tests twice over: as it is, and counted. All
// of both is shared with the view itself, whatever the form in which its changes come.
func TestViewsOverViewsEqualOneShot(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	fmt.Fprintf(&b, sourceSQL, "")
	b.WriteString(strings.Replace(fmt.Sprintf(sourceSQL, ""), "SOURCE t ", "SOURCE u ", 1))
	for i, queries := range []map[string]string{views, joins, distincts} {
		for _, name := range slices.Sorted(maps.Keys(queries)) {
			if i == 0 && recomputedInFull[name] {
				continue
			}
			view := fmt.Sprintf("v%d_%s", i, name)
			fmt.Fprintf(&b, "CREATE MATERIALIZED VIEW %s AS %s;\nCREATE MATERIALIZED VIEW %s_again AS SELECT * FROM %s;\nCREATE MATERIALIZED VIEW %s_count AS SELECT count(*) AS n FROM %s;\n",
				view, queries[name], view, view, view, view)
		}
	}
	p := plan(t, "again.sql", b.String())
	for _, v := range p.Views {
		if v.Fallback != "" {
			t.Errorf("view %s: %s", v.Name, v.Fallback)
		}
	}
	for _, s := range p.Program.States {
		if strings.Contains(s.Name, "_again_") {
			t.Errorf("a view that only repeats another keeps state %s", s.Name)
		}
	}
	rng := rand.New(rand.NewSource(1))
	sources := map[string]*rowsSource{}
	for i, name := range []string{"t", "u"} {
		sources[name] = &rowsSource{rows: generate(t, rowsQuery(60, 11+int64(i))), cut: func() int64 { return 15 + int64(rng.Intn(20)) }}
	}
	sink := newSink(t, p, sources)
	oracletest.Run(t, config(t, p, sources, sink), sink, oracletest.Options{Rand: rng})
}
