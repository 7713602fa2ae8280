package oracle_test

import (
	"context"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/oracle/oracletest"
	"github.com/sluice-sql/sluice/microbatch"
)

// evicting is a view over t and u, and how many of the states that it is the first to need the watermark evicts.
type evicting struct {
	sql     string
	evicted int // states
}

// intervals are joins within an interval of event time. Rows come up to nine seconds out of order, the
// watermark is four seconds behind, so that every state has rows at the edge of lateness.
var intervals = map[string]evicting{
	"inner":         {`SELECT t.k, t.v, u.v AS uv, t.ts, u.ts AS uts FROM t JOIN u ON t.k = u.k AND u.ts BETWEEN t.ts - INTERVAL '3 seconds' AND t.ts + INTERVAL '2 seconds'`, 2},
	"inner_comma":   {`SELECT t.k, t.v, u.v AS uv FROM t, u WHERE t.k = u.k AND t.ts <= u.ts AND u.ts < t.ts + INTERVAL '5 seconds' AND t.v + u.v > 20`, 2},
	"inner_keyless": {`SELECT t.v, u.v AS uv FROM t JOIN u ON u.ts BETWEEN t.ts AND t.ts + INTERVAL '1 second'`, 2},
	"inner_after":   {`SELECT t.v, u.v AS uv FROM t JOIN u ON t.k = u.k AND t.s = u.s AND u.ts > t.ts`, 1},
	"inner_apart":   {`SELECT t.k, t.v, u.v AS uv FROM t JOIN u ON t.k = u.k AND u.ts - t.ts <= INTERVAL '4 seconds' AND t.ts - u.ts < INTERVAL '2 seconds'`, 2},
	"inner_rounded": {`SELECT t.k, t.v, u.v AS uv FROM t JOIN u ON t.k = u.k AND date_trunc('minute', t.ts) <= u.ts AND u.ts < t.ts + INTERVAL '3 seconds'`, 2},
	"self":          {`SELECT a.k, a.v, b.v AS w FROM t a JOIN t b ON a.k = b.k AND b.ts > a.ts AND b.ts <= a.ts + INTERVAL '4 seconds'`, 2},
	"left":          {`SELECT t.k, t.v, t.ts, u.v AS uv FROM t LEFT JOIN u ON t.k = u.k AND u.ts BETWEEN t.ts - INTERVAL '3 seconds' AND t.ts + INTERVAL '2 seconds'`, 2},
	"left_residual": {`SELECT t.k, t.v, u.v AS uv FROM t LEFT JOIN u ON t.k = u.k AND t.v + u.v > 30 AND u.ts >= t.ts AND u.ts - t.ts < INTERVAL '6 seconds'`, 2},
	"left_open":     {`SELECT t.k, t.v, u.v AS uv FROM t LEFT JOIN u ON t.k = u.k AND t.s = u.s AND u.ts >= t.ts`, 0},
	"left_before":   {`SELECT t.k, t.v, u.v AS uv FROM t LEFT JOIN u ON t.k = u.k AND t.s = u.s AND u.ts <= t.ts`, 1},
	"right":         {`SELECT t.k, t.v, u.v AS uv FROM t RIGHT JOIN u ON t.k = u.k AND u.ts BETWEEN t.ts - INTERVAL '3 seconds' AND t.ts + INTERVAL '2 seconds'`, 2},
	"full":          {`SELECT t.k, t.v, u.k AS uk, u.v AS uv FROM t FULL JOIN u ON t.k = u.k AND u.ts BETWEEN t.ts - INTERVAL '1 second' AND t.ts + INTERVAL '5 seconds'`, 2},
	"semi":          {`SELECT t.k, t.v FROM t SEMI JOIN u ON t.k = u.k AND u.ts BETWEEN t.ts AND t.ts + INTERVAL '2 seconds'`, 2},
	"semi_apart":    {`SELECT t.k, t.v FROM t SEMI JOIN u ON t.k = u.k AND u.ts - t.ts <= INTERVAL '2 seconds' AND u.ts >= t.ts`, 2},
	"anti":          {`SELECT t.k, t.v FROM t ANTI JOIN u ON t.k = u.k AND u.ts BETWEEN t.ts AND t.ts + INTERVAL '2 seconds'`, 2},
	"exists":        {`SELECT t.k, t.v FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.k = t.k AND u.ts BETWEEN t.ts AND t.ts + INTERVAL '2 seconds')`, 5},
	"asof":          {`SELECT t.k, t.v, u.ts FROM t ASOF LEFT JOIN (FROM u WHERE ts IS NOT NULL) u ON t.k = u.k AND t.ts >= u.ts WHERE t.ts IS NOT NULL`, 1},
	"counted":       {`SELECT time_bucket(INTERVAL '5 seconds', t.ts) AS b, count(*) AS c, sum(u.v) AS s FROM t JOIN u ON t.k = u.k AND u.ts BETWEEN t.ts - INTERVAL '3 seconds' AND t.ts + INTERVAL '2 seconds' GROUP BY b`, 3},
	"left_counted":  {`SELECT time_bucket(INTERVAL '5 seconds', t.ts) AS b, count(u.v) AS c, count(*) AS n FROM t LEFT JOIN u ON t.k = u.k AND u.ts BETWEEN t.ts AND t.ts + INTERVAL '2 seconds' GROUP BY b`, 3},
	"chain":         {`SELECT a.k, a.v, c.v AS w FROM t a JOIN u b ON a.k = b.k AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '2 seconds' JOIN t c ON b.k = c.k AND c.ts BETWEEN b.ts AND b.ts + INTERVAL '1 second'`, 4},
	"changing":      {`SELECT a.k, a.ts, a.c, b.v FROM (SELECT k, ts, count(*) AS c FROM t GROUP BY k, ts) a LEFT JOIN u b ON a.k = b.k AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '3 seconds'`, 3},
	"changing_in":   {`SELECT a.k, a.ts, a.c, b.v FROM (SELECT k, ts, count(*) AS c FROM t GROUP BY k, ts) a JOIN u b ON a.k = b.k AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '3 seconds'`, 2}, // the aggregate is shared
}

// TestIntervalJoinsEqualOneShot compares interval joins, whose states the watermark evicts, with one-shot
// DuckDB after every batch, with one source far behind the other, and wants as many states evicted as can be.
func TestIntervalJoinsEqualOneShot(t *testing.T) {
	var b strings.Builder
	source := fmt.Sprintf(sourceSQL, ", WATERMARK FOR ts AS ts - INTERVAL '4 seconds'")
	b.WriteString(source + strings.Replace(source, "SOURCE t ", "SOURCE u ", 1))
	var names []string
	for name := range intervals {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "CREATE MATERIALIZED VIEW %q AS %s;\n", name, intervals[name].sql)
	}
	p := plan(t, "intervals.sql", b.String())
	evicted := map[string]int{}
	for _, s := range p.Program.States {
		if s.EvictColumn >= 0 {
			evicted[s.Name[1:strings.LastIndex(s.Name, "_")]]++
		}
	}
	for _, v := range p.Views {
		if v.Fallback != "" {
			t.Errorf("view %s: %s", v.Name, v.Fallback)
		}
		if got := evicted[v.Name]; got != intervals[v.Name].evicted {
			t.Errorf("view %s has %d states that are evicted, want %d", v.Name, got, intervals[v.Name].evicted)
		}
	}
	for seed := int64(1); seed <= 2; seed++ {
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewSource(seed))
		sources := map[string]*rowsSource{}
		for i, name := range []string{"t", "u"} {
			most := 14 + 26*int((seed+int64(i))%2) // one source is ahead of the other
			sources[name] = &rowsSource{rows: generate(t, rowsQuery(120, seed*11+int64(i))), cut: func() int64 { return int64(rng.Intn(most)) }}
		}
		sink := newSink(t, p, sources)
		oracletest.Run(t, config(t, p, sources, sink), sink, oracletest.Options{Rand: rng, Fail: seed > 1, Replay: seed > 1})
	}
}

// TestIntervalJoinStateShrinks runs interval joins alone and wants their state to follow the interval, not
// the input.
func TestIntervalJoinStateShrinks(t *testing.T) {
	for _, name := range []string{"inner", "left", "full", "anti", "counted"} {
		source := fmt.Sprintf(sourceSQL, ", WATERMARK FOR ts AS ts - INTERVAL '4 seconds'")
		p := plan(t, "shrinks.sql", source+strings.Replace(source, "SOURCE t ", "SOURCE u ", 1)+"CREATE MATERIALIZED VIEW v AS "+intervals[name].sql+";")
		sources := map[string]*rowsSource{}
		for i, name := range []string{"t", "u"} {
			sources[name] = &rowsSource{rows: generate(t, rowsQuery(1000, int64(i))), cut: func() int64 { return 50 }}
		}
		sink := newSink(t, p, sources)
		cfg := config(t, p, sources, sink)
		cfg.UntilEnd = true
		running, err := microbatch.Open(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := running.Run(context.Background()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		// 2,000 rows span 300 seconds; interval and lateness take about 15 of them.
		if left := running.Progress().StateRows; left > 300 || left == 0 {
			t.Errorf("%s: the state ends with %d rows", name, left)
		}
		if err := running.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestIntervalJoinsOfChangesEqualOneShot is the same over weighted sources: a row that may still be deleted
// must be there to be deleted, and one whose delete is late stays in the result.
func TestIntervalJoinsOfChangesEqualOneShot(t *testing.T) {
	t.Parallel()
	watermark := ", WATERMARK FOR ts AS ts - INTERVAL '6 seconds'"
	text := changingSQL("t", "weighted", watermark) + changingSQL("u", "weighted", watermark)
	var names []string
	for name := range intervals {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		text += fmt.Sprintf("CREATE MATERIALIZED VIEW %q AS %s;\n", name, intervals[name].sql)
	}
	p := plan(t, "intervals.sql", text)
	evicted := 0
	for _, s := range p.Program.States {
		if s.EvictColumn >= 0 {
			evicted++
		}
	}
	if evicted < 30 {
		t.Errorf("only %d states are evicted", evicted)
	}
	rng := rand.New(rand.NewSource(9))
	sources := map[string]*rowsSource{}
	for i, name := range []string{"t", "u"} {
		sources[name] = &rowsSource{rows: changes(t, "weighted", 120, int64(90+i)), cut: func() int64 { return int64(rng.Intn(32)) }}
	}
	sink := newSink(t, p, sources)
	oracletest.Run(t, config(t, p, sources, sink), sink, oracletest.Options{Rand: rng, Replay: true})
}
