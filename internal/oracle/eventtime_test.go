package oracle_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-sql/sluice/internal/oracle/oracletest"
	"github.com/sluice-sql/sluice/microbatch"
)

// closing are views with EMIT ON WINDOW CLOSE over the sources t and u.
var closing = map[string]string{
	"tumbling":     `SELECT window_start, window_end, k, count(*) AS c, sum(v) AS sv FROM tumble(t, ts, INTERVAL '10 seconds') GROUP BY ALL`,
	"sessions":     `SELECT k, window_start, window_end, count(*) AS c, sum(v) AS sv FROM session(t, ts, INTERVAL '2 seconds', k) GROUP BY ALL`,
	"session_ends": `SELECT k, window_end, max(v) AS mv FROM session(t, ts, INTERVAL '1 second', k) GROUP BY ALL`,
	"hopping":      `SELECT window_start, count(*) AS c, count(DISTINCT k) AS ck, median(v) AS m FROM hop(t, ts, INTERVAL '2 seconds', INTERVAL '10 seconds') GROUP BY window_start`,
	"cumulating":   `SELECT window_end, k, max(v) AS mx FROM cumulate(t, ts, INTERVAL '5 seconds', INTERVAL '20 seconds') GROUP BY ALL`,
	"minutes":      `SELECT date_trunc('minute', ts) AS minute, s, count(*) AS c FROM t GROUP BY 1, 2`,
	"renamed":      `SELECT c, e AS until FROM (SELECT window_end AS e, count(*) AS c FROM tumble(t, ts, INTERVAL '7 seconds') GROUP BY ALL)`,
	"duplicates":   `SELECT window_start, c % 3 AS r FROM (SELECT window_start, k, count(*) AS c FROM tumble(t, ts, INTERVAL '10 seconds') GROUP BY ALL)`,
	"rows":         `SELECT ts, k, v FROM t WHERE v > 10`,
	"plain":        `SELECT window_end, k, v FROM tumble(t, ts, INTERVAL '10 seconds')`,
	"days":         `SELECT ts::DATE AS day, count(*) AS c FROM t GROUP BY 1`,
	"filtered":     `SELECT window_end, k, count(*) AS c FROM tumble(t, ts, INTERVAL '10 seconds') GROUP BY ALL HAVING count(*) > 1`,
	"top":          `SELECT window_start, k, c FROM (SELECT window_start, k, count(*) AS c FROM tumble(t, ts, INTERVAL '10 seconds') GROUP BY ALL) QUALIFY row_number() OVER (PARTITION BY window_start ORDER BY c DESC, k) <= 2`,
	"joined":       `SELECT a.window_end, a.k, a.c, b.c AS d FROM (SELECT window_end, k, count(*) AS c FROM tumble(t, ts, INTERVAL '10 seconds') GROUP BY ALL) a JOIN (SELECT window_end, k, count(*) AS c FROM tumble(u, ts, INTERVAL '10 seconds') GROUP BY ALL) b ON a.window_end = b.window_end AND a.k = b.k`,
	"left_joined":  `SELECT a.window_end, a.k, a.c, b.c AS d FROM (SELECT window_end, k, count(*) AS c FROM tumble(t, ts, INTERVAL '10 seconds') GROUP BY ALL) a LEFT JOIN (SELECT window_end, k, count(*) AS c FROM tumble(u, ts, INTERVAL '10 seconds') GROUP BY ALL) b ON a.window_end = b.window_end AND a.k = b.k`,
	"unioned":      `SELECT window_end, count(*) AS c FROM (SELECT window_end FROM tumble(t, ts, INTERVAL '5 seconds') UNION ALL SELECT window_end FROM tumble(u, ts, INTERVAL '5 seconds')) GROUP BY ALL`,
	"distinct":     `SELECT DISTINCT window_end, s FROM tumble(t, ts, INTERVAL '10 seconds')`,
	"rolled_up":    `SELECT window_end, k, s, count(*) AS c FROM tumble(t, ts, INTERVAL '10 seconds') GROUP BY window_end, ROLLUP (k, s)`,
	"counted":      `SELECT window_start, max(c) AS mx FROM (SELECT window_start, k, count(*) AS c FROM tumble(t, ts, INTERVAL '10 seconds') GROUP BY ALL) GROUP BY window_start`,
	"excepted":     `SELECT window_end, k, v FROM tumble(t, ts, INTERVAL '10 seconds') EXCEPT SELECT window_end, k, v FROM tumble(u, ts, INTERVAL '10 seconds')`,
}

// closingText declares the sources, with what stands in their columns and options, and the views.
func closingText(watermark, options string) string {
	var b strings.Builder
	source := strings.Replace(fmt.Sprintf(sourceSQL, ", WATERMARK FOR ts AS "+watermark), "'test'", "'test'"+options, 1)
	b.WriteString(source + strings.Replace(source, "SOURCE t ", "SOURCE u ", 1))
	var names []string
	for name := range closing {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "CREATE MATERIALIZED VIEW %q AS %s EMIT ON WINDOW CLOSE;\n", name, closing[name])
	}
	return b.String()
}

// TestEmitOnWindowClose compares, after every batch, what is emitted with what the query answers for closed
// windows in one shot: with rows out of order and late, and with an allowed lateness, where later rows correct
// what was shown; straight, and with the engine failing and starting again.
func TestEmitOnWindowClose(t *testing.T) {
	for i, tc := range []struct {
		name, watermark, options, mode string
		fail                           bool
	}{
		{"straight", "ts - INTERVAL '4 seconds'", "", "append", false},
		{"restarted", "ts - INTERVAL '4 seconds'", "", "append", true},
		{"lateness", "ts - INTERVAL '1 second'", ", allowed_lateness = '5 seconds'", "", false},
		{"lateness_restarted", "ts", ", allowed_lateness = '3 seconds'", "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := plan(t, "closing.sql", closingText(tc.watermark, tc.options))
			for _, o := range p.Program.Outputs {
				if got := o.Mode.String(); (got == "append") != (tc.mode == "append") {
					t.Errorf("output %s is %s", o.Name, got)
				}
			}
			seed := int64(i + 1)
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewSource(seed))
			sources := map[string]*rowsSource{}
			rows := 200
			if tc.fail {
				rows = 120 // restarts cost most
			}
			for i, name := range []string{"t", "u"} {
				sources[name] = &rowsSource{rows: generate(t, rowsQuery(rows, seed*5+int64(i))), cut: func() int64 { return int64(rng.Intn(40)) }}
			}
			sink := newSink(t, p, sources)
			oracletest.Run(t, config(t, p, sources, sink), sink, oracletest.Options{Rand: rng, Fail: tc.fail, Replay: tc.fail})
			if sink.Commits < 5 {
				t.Errorf("only %d batches were compared", sink.Commits)
			}
			for name := range closing {
				if name != "days" && name != "minutes" && sink.Rows(name) == 0 {
					t.Errorf("view %s never showed a row", name)
				}
			}
			if late := sink.Late(); late == 0 {
				t.Error("no row was late")
			}
		})
	}
}

// drain runs a pipeline to the end of its input in one go and returns its last progress.
func drain(t *testing.T, cfg microbatch.Config) microbatch.Progress {
	t.Helper()
	cfg.UntilEnd = true
	p, err := microbatch.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p.Progress()
}

// TestWatermarkKeepsStateSmall: the state follows what the watermark has left open, not the input.
func TestWatermarkKeepsStateSmall(t *testing.T) {
	var b strings.Builder
	source := fmt.Sprintf(sourceSQL, ", WATERMARK FOR ts AS ts - INTERVAL '4 seconds'")
	b.WriteString(source + strings.Replace(source, "SOURCE t ", "SOURCE u ", 1))
	for _, name := range []string{"tumbling", "hopping", "top", "joined", "left_joined", "unioned", "excepted"} {
		fmt.Fprintf(&b, "CREATE MATERIALIZED VIEW %q AS %s EMIT ON WINDOW CLOSE;\n", name, closing[name])
	}
	p := plan(t, "small.sql", b.String())
	var kept []int64
	for _, rows := range []int{300, 1500} {
		sources := map[string]*rowsSource{}
		for i, name := range []string{"t", "u"} {
			// Rows without an event time are in no window that ever closes.
			timed := "SELECT * FROM (" + rowsQuery(rows, int64(i+1)) + ") WHERE ts IS NOT NULL ORDER BY _seq"
			sources[name] = &rowsSource{rows: generate(t, timed), cut: func() int64 { return 50 }}
		}
		sink := newSink(t, p, sources)
		at := drain(t, config(t, p, sources, sink))
		if at.RowsWaiting == 0 || at.RowsWaiting >= at.StateRows || at.RowsLate == 0 {
			t.Errorf("after %d rows: %+v", rows, at)
		}
		kept = append(kept, at.StateRows)
	}
	t.Logf("state rows after 300 and 1500 rows of each source: %v", kept)
	if kept[1] > kept[0]*3/2 {
		t.Errorf("the state grows with the input: %v rows", kept)
	}
}

// TestFarFuture: one row of the year 9999 makes nothing late and is processed like any other, and with
// max_future = 'none' it is trusted.
func TestFarFuture(t *testing.T) {
	for _, tc := range []struct {
		options string
		late    bool
	}{{"", false}, {", max_future = 'none'", true}} {
		text := strings.Replace(fmt.Sprintf(sourceSQL, ", WATERMARK FOR ts AS ts - INTERVAL '20 seconds'"), "'test'", "'test'"+tc.options, 1) +
			"CREATE MATERIALIZED VIEW v AS " + closing["tumbling"] + " EMIT ON WINDOW CLOSE;\nCREATE MATERIALIZED VIEW n AS SELECT ts > '9000-01-01' AS far, count(*) AS c FROM t GROUP BY 1;\n"
		p := plan(t, "future.sql", text)
		rows := "SELECT * REPLACE (CASE WHEN _seq = 40 THEN TIMESTAMP '9999-12-31' ELSE ts END AS ts) FROM (" + rowsQuery(200, 3) + ") ORDER BY _seq"
		sources := map[string]*rowsSource{"t": {rows: generate(t, rows), cut: func() int64 { return 25 }}}
		sink := newSink(t, p, sources)
		at := drain(t, config(t, p, sources, sink))
		if got := at.RowsLate > 0; got != tc.late {
			t.Errorf("options %q: %d rows are late", tc.options, at.RowsLate)
		}
		if got := at.RowsFuture == 1; got == tc.late {
			t.Errorf("options %q: %d rows are in the far future", tc.options, at.RowsFuture)
		}
		if sink.Rows("v") == 0 || sink.Rows("n") < 2 {
			t.Errorf("options %q: %d windows, %d counts", tc.options, sink.Rows("v"), sink.Rows("n"))
		}
	}
}

// TestIdleSource: a source that delivers nothing for its idle timeout no longer holds the other back, in a
// batch without rows if need be; what it delivers afterwards behind the watermark is late, and replay, which
// has no clock, decides the same.
func TestIdleSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The clock stands at the year 2000 here, so that all rows are of the future.
		watermark := strings.Replace(fmt.Sprintf(sourceSQL, ", WATERMARK FOR ts AS ts - INTERVAL '20 seconds'"), "'test'", "'test', max_future = 'none'", 1)
		text := watermark + strings.Replace(strings.Replace(watermark, "SOURCE t ", "SOURCE u ", 1), "'test'", "'test', idle_timeout = '30 seconds'", 1) +
			"CREATE MATERIALIZED VIEW v AS " + closing["unioned"] + " EMIT ON WINDOW CLOSE;\n"
		p := plan(t, "idle.sql", text)
		start := time.Now()
		sources := map[string]*rowsSource{
			"t": {rows: generate(t, rowsQuery(200, 3)), cut: func() int64 { return 100 }},
			"u": {rows: generate(t, rowsQuery(60, 4)), cut: func() int64 {
				if time.Since(start) < time.Minute {
					return 0
				}
				return 30
			}},
		}
		sink := newSink(t, p, sources)
		cfg := config(t, p, sources, sink)
		pl, err := microbatch.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- pl.Run(context.Background()) }()
		shown := func(after time.Duration) (int, microbatch.Progress) {
			<-time.After(after)
			synctest.Wait()
			return sink.Rows("v"), pl.Progress()
		}
		if n, at := shown(25 * time.Second); n != 0 || at.RowsIn != 200 {
			t.Errorf("before the timeout: %d rows shown, %+v", n, at)
		}
		n, at := shown(10 * time.Second)
		if n == 0 || at.RowsIn != 200 {
			t.Errorf("after the timeout: %d rows shown, %+v", n, at)
		}
		if again, later := shown(60 * time.Second); later.RowsLate == 0 || again != n {
			t.Errorf("after the source is back: %d rows shown, %+v", again, later)
		}
		pl.Stop()
		if err := errors.Join(<-done, pl.Close()); err != nil {
			t.Error(err)
		}
		report, err := microbatch.Replay(context.Background(), cfg, microbatch.ReplayOptions{})
		if err != nil || report.Failed > 0 || report.Batches < 3 {
			t.Errorf("replay: %+v, %v", report, err)
		}
	})
}

// TestCloseOverRetractions: rows that are taken back before their window closes are not shown; what is taken
// back later than the watermark allows is late, as the row itself would be.
func TestCloseOverRetractions(t *testing.T) {
	for i, lateness := range []string{"", ", allowed_lateness = '3 seconds'"} {
		source := strings.Replace(fmt.Sprintf(sourceSQL, ", WATERMARK FOR ts AS ts - INTERVAL '2 seconds'"), "'test'", "'test', format = 'changelog'"+lateness, 1)
		var b strings.Builder
		b.WriteString(source + strings.Replace(source, "SOURCE t ", "SOURCE u ", 1))
		for _, name := range []string{"tumbling", "top", "joined", "rows", "filtered", "distinct", "excepted"} {
			fmt.Fprintf(&b, "CREATE MATERIALIZED VIEW %q AS %s EMIT ON WINDOW CLOSE;\n", name, closing[name])
		}
		p := plan(t, "retractions.sql", b.String())
		rng := rand.New(rand.NewSource(int64(i)))
		sources := map[string]*rowsSource{}
		for s, name := range []string{"t", "u"} {
			// Every fourth row is taken back, at once or up to 30 rows later.
			rows := "WITH r AS (" + rowsQuery(200, int64(10*i+s)) + "), c AS (SELECT * EXCLUDE (_seq), 1::BIGINT AS _w, _seq AS place, _seq FROM r UNION ALL " +
				"SELECT * EXCLUDE (_seq), -1::BIGINT, _seq + (hash(_seq) % 30)::BIGINT, _seq FROM r WHERE _seq % 4 = 0 AND ts IS NOT NULL) " +
				"SELECT * EXCLUDE (place, _seq), row_number() OVER (ORDER BY place, _seq, _w DESC) AS _seq FROM c ORDER BY _seq"
			sources[name] = &rowsSource{rows: generate(t, rows), cut: func() int64 { return int64(rng.Intn(40)) }}
		}
		sink := newSink(t, p, sources)
		oracletest.Run(t, config(t, p, sources, sink), sink, oracletest.Options{Rand: rng, Replay: true})
		for _, v := range p.Views {
			if sink.Rows(v.Name) == 0 {
				t.Errorf("view %s never showed a row", v.Name)
			}
		}
	}
}

// TestBatchTime: rows carry the time of their batch, whatever becomes of the engine in between, and windows of
// it close like others.
func TestBatchTime(t *testing.T) {
	source := strings.Replace(fmt.Sprintf(sourceSQL, ", seen TIMESTAMP METADATA FROM 'batch_time', WATERMARK FOR seen AS seen"), "k BIGINT, s VARCHAR",
		"early TIMESTAMPTZ METADATA FROM 'batch_time', k BIGINT, s VARCHAR", 1)
	p := plan(t, "batchtime.sql", source+`
CREATE MATERIALIZED VIEW seen AS SELECT seen, early, count(*) AS c, min(ts) AS ts FROM t GROUP BY ALL;
CREATE MATERIALIZED VIEW windows AS SELECT window_end, k, count(*) AS c FROM tumble(t, seen, INTERVAL '1 millisecond') GROUP BY ALL EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW kept AS SELECT k, s, seen FROM t WHERE v > 20;`)
	for seed := int64(1); seed <= 2; seed++ {
		rng := rand.New(rand.NewSource(seed))
		sources := map[string]*rowsSource{"t": {rows: generate(t, rowsQuery(200, seed)), cut: func() int64 { return 1 + int64(rng.Intn(40)) }}}
		sink := newSink(t, p, sources)
		oracletest.Run(t, config(t, p, sources, sink), sink, oracletest.Options{Rand: rng, Fail: seed > 1, Replay: true})
		if n := sink.Rows("seen"); n < 5 || sink.Rows("windows") == 0 {
			t.Errorf("seed %d: %d batch times, %d windows", seed, n, sink.Rows("windows"))
		}
	}
}

// TestRandomClosings puts EMIT ON WINDOW CLOSE behind the random queries that have a column which says when a
// row is final, with and without lateness, over rows that are only inserted and over rows that change.
func TestRandomClosings(t *testing.T) {
	first, n := soakRange(t, 120)
	sc := newScreen(t)
	accepted := 0
	for start := first; start < first+int64(n); start += 30 {
		tr := trial{seed: start, rows: 100, cut: 30, watermark: "ts - INTERVAL '1 second'", closing: true, fail: start/30%2 == 1}
		if start/30%4 >= 2 {
			tr.lateness = "3 seconds"
		}
		if start/30%3 == 2 {
			tr.kinds = [2]string{"weighted", ""}
		}
		trees := map[string]*query{}
		for seed := start; seed < start+30; seed++ {
			q := randomQuery(seed)
			if !strings.Contains(q.sql(), "ts") && !strings.Contains(q.sql(), "window_") || sc.answers(q.sql()) != nil {
				continue
			}
			one := tr
			one.queries = []namedQuery{{fmt.Sprintf("q%d", seed), q.sql()}}
			if _, err := tryPlan(one.text()); err != nil {
				if !strings.Contains(err.Error(), "cannot be emitted on window close") {
					t.Errorf("seed %d: %v", seed, err)
				}
				continue
			}
			trees[one.queries[0].name] = q
			tr.queries = append(tr.queries, one.queries...)
		}
		accepted += len(tr.queries)
		if len(tr.queries) == 0 {
			continue
		}
		if _, err := tr.run(t); err == nil {
			continue
		}
		for name, err := range tr.failing(t) {
			t.Errorf("seed %s (lateness %q, kinds %q, restarted %v, trial seed %d): %v\n%s", name, tr.lateness, tr.kinds, tr.fail, tr.seed, err, trees[name].sql())
		}
	}
	t.Logf("%d queries have a column that closes", accepted)
	if accepted < n/50 {
		t.Errorf("only %d of %d queries were tried", accepted, n)
	}
}
