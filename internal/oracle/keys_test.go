package oracle_test

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/oracle/oracletest"
	"github.com/sluice-sql/sluice/planner"
)

// derivedKeys are views with the key that their rows have; "-" for none. The sink of the tests refuses a
// delta that breaks its key.
var derivedKeys = map[string]struct{ sql, key string }{
	"window":       {`SELECT window_start, k, count(*) AS c FROM tumble(t, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end, k`, "window_start k"},
	"window_end":   {`SELECT window_end, k, count(*) AS c FROM hop(t, ts, INTERVAL '2 seconds', INTERVAL '10 seconds') GROUP BY window_start, window_end, k`, "window_end k"},
	"cumulated":    {`SELECT window_end, k, count(*) AS c FROM cumulate(t, ts, INTERVAL '5 seconds', INTERVAL '20 seconds') GROUP BY window_start, window_end, k`, "-"},
	"equated":      {`SELECT b.k, a.c, b.c AS d FROM (SELECT k, count(*) AS c FROM t GROUP BY k) a JOIN (SELECT k, count(*) AS c FROM u GROUP BY k) b ON a.k = b.k`, "k"},
	"equated_left": {`SELECT b.k, a.c FROM (SELECT k, count(*) AS c FROM t GROUP BY k) a LEFT JOIN (SELECT k, count(*) AS c FROM u WHERE v < 9 GROUP BY k) b ON a.k = b.k`, "-"},
	"one_side":     {`SELECT a.c, b.k, b.s FROM (SELECT k, count(*) AS c FROM t GROUP BY k) a JOIN (SELECT k, s, count(*) AS d FROM u GROUP BY k, s) b ON a.k = b.k`, "k s"},
	"both_sides":   {`SELECT a.k, b.v, b.d FROM (SELECT k, count(*) AS c FROM t GROUP BY k) a LEFT JOIN (SELECT v, count(*) AS d FROM u GROUP BY v) b ON a.c = b.d`, "k v"},
	"right_side":   {`SELECT a.k, b.v FROM (SELECT k, count(*) AS c FROM t GROUP BY k) a RIGHT JOIN (SELECT v, count(*) AS d FROM u GROUP BY v) b ON a.c = b.d`, "k v"},
	"right_one":    {`SELECT a.c, b.v FROM (SELECT k, count(*) AS c FROM t GROUP BY k) a RIGHT JOIN (SELECT v, count(*) AS d FROM u GROUP BY v) b ON a.k = b.v`, "v"},
	"full_none":    {`SELECT a.k, b.v FROM (SELECT k, count(*) AS c FROM t GROUP BY k) a FULL JOIN (SELECT v, count(*) AS d FROM u GROUP BY v) b ON a.c = b.d`, "-"},
	"semi":         {`SELECT k, c FROM (SELECT k, count(*) AS c FROM t GROUP BY k) WHERE c IN (SELECT v FROM u)`, "k"},
	"marked":       {`SELECT k, c IN (SELECT v FROM u) AS m FROM (SELECT k, count(*) AS c FROM t GROUP BY k)`, "k"},
	"hot":          {`WITH c AS (SELECT window_start, window_end, k, count(*) AS n FROM hop(t, ts, INTERVAL '2 seconds', INTERVAL '10 seconds') GROUP BY ALL), m AS (SELECT window_start, window_end, max(n) AS mx FROM c GROUP BY ALL) SELECT c.window_start, c.k, c.n FROM c JOIN m ON c.window_start = m.window_start AND c.window_end = m.window_end AND c.n >= m.mx`, "window_start k"},
	"plain_join":   {`SELECT t.k, t.v, g.c FROM t JOIN (SELECT k, count(*) AS c FROM u GROUP BY k) g ON t.k = g.k`, "-"},
	"floats":       {`SELECT f, count(*) AS c FROM t GROUP BY f, f + 1`, "-"},
	"distinct":     {`SELECT DISTINCT k, s FROM t`, "k s"},
	"union":        {`SELECT k FROM t UNION SELECT v FROM u`, "k"},
	"top":          {`SELECT s, k, n FROM (SELECT s, k, count(*) AS n FROM t GROUP BY s, k) QUALIFY row_number() OVER (PARTITION BY s ORDER BY n DESC, k) = 1`, "s"},
}

// TestDerivedKeys wants the keys, and the views right with restarts: a wrong key would lose rows.
func TestDerivedKeys(t *testing.T) {
	var names []string
	for name := range derivedKeys {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	source := fmt.Sprintf(sourceSQL, "")
	b.WriteString(source + strings.Replace(source, "SOURCE t ", "SOURCE u ", 1))
	for _, name := range names {
		fmt.Fprintf(&b, "CREATE MATERIALIZED VIEW %q AS %s;\n", name, derivedKeys[name].sql)
	}
	p := plan(t, "keys.sql", b.String())
	for _, o := range p.Program.Outputs {
		var key []string
		for _, k := range o.Key {
			key = append(key, o.Columns[k].Name)
		}
		slices.Sort(key)
		want := strings.Fields(derivedKeys[o.Name].key)
		slices.Sort(want)
		if o.Mode != planner.Upsert {
			key = []string{"-"}
		}
		if !slices.Equal(key, want) {
			t.Errorf("view %s has the key %q, want %q", o.Name, key, want)
		}
	}
	rng := rand.New(rand.NewSource(4))
	sources := map[string]*rowsSource{}
	for i, name := range []string{"t", "u"} {
		sources[name] = &rowsSource{rows: generate(t, rowsQuery(120, int64(i+40))), cut: func() int64 { return int64(rng.Intn(25)) }}
	}
	sink := newSink(t, p, sources)
	oracletest.Run(t, config(t, p, sources, sink), sink, oracletest.Options{Rand: rng, Fail: true, Replay: true})
}
